"""Whether fast features are still the same features: cosines layer by layer, and what a classifier makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import set_threads
from contenders import DATASET, image_paths
from work import NETWORKS, layers

_GRID = {"C": [1e-4, 1e-3, 1e-2, 1e-1]}
_INNER_FOLDS = 3


def cosines(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return mean and minimum, over rows, of the cosine between the rows of two matrices."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    values = (a * b).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return float(values.mean()), float(values.min())


def compare(network: str, images: str, plain: str, exact: str, reduced: str, score: bool) -> dict[str, Any]:
    """Compare the plain loop's files with a float32 and a bfloat16 store.

    Returns
    -------
    dict
        ``layers``: module → mean and minimum of the cosines; ``accuracy``: precision → pooled accuracy of a linear
        SVM over patient-wise folds.
    """
    import histokit

    set_threads(1)
    name = NETWORKS[network].backbone
    ids = [path.relative_to(images).as_posix() for path in image_paths(Path(images))]
    stores = {"float32": histokit.open_store(exact), "bfloat16": histokit.open_store(reduced)}
    found: dict[str, Any] = {"layers": {}, "accuracy": {}}
    for module in layers(NETWORKS[network]):
        matrices = {}
        for precision, store in stores.items():
            features = store.features(DATASET, f"{name}/{module}")
            places = {sample: row for row, sample in enumerate(features.sample_ids)}
            matrices[precision] = features.X[[places[sample] for sample in ids]]
        loop = np.load(Path(plain, f"{module}.npy"))
        found["layers"][module] = {
            "float32_to_loop": cosines(matrices["float32"], loop),
            "bfloat16_to_float32": cosines(matrices["bfloat16"], matrices["float32"]),
        }
    for precision, store in stores.items() if score else ():
        (run,) = histokit.train(store, DATASET, f"{name}/last", "svm", split="cv", grid=_GRID, inner_folds=_INNER_FOLDS)
        found["accuracy"][precision] = histokit.evaluate(store, run.id)[0].metrics["accuracy"]
    return found
