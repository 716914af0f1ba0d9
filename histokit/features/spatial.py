"""Where samples lie in their images, as other programs take it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: The column of observations by which squidpy and scanpy tell slides apart.
LIBRARY = "library_id"

_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


def box_corners(samples: pa.Table) -> npt.NDArray[np.float64]:
    """Return x, y, width and height of the box of each sample, (n, 4), NaN where it has none."""
    found = np.full((len(samples), 4), np.nan)
    for row, box in enumerate(samples.column("box").to_pylist()):
        if box:
            found[row] = box
    return found


def centres(samples: pa.Table) -> npt.NDArray[np.float64] | None:
    """Return the centres of boxes in pixels of their images, (n, 2) of x and y; none where no sample has a box."""
    corners = box_corners(samples)
    if np.isnan(corners).all():
        return None
    return np.asarray(corners[:, :2] + corners[:, 2:] / 2)


def images_of(samples: pa.Table) -> list[str]:
    """Return the path of the image of each sample, with its part, those of its channels joined by ``;``."""
    paths = [";".join(image or ()) for image in samples.column("image").to_pylist()]
    return with_parts(paths, samples.column("part").to_pylist()) if "part" in samples.column_names else paths


def with_parts(paths: Sequence[str], parts: Sequence[str | None]) -> list[str]:
    """Return paths of images, each file followed by ``#`` and the part: scans and pages have places of their own.

    Parameters
    ----------
    paths : sequence of n str
        Those of the channels of an image are joined by ``;``.
    parts : sequence of n str or None
    """
    return [
        path if part is None else ";".join(f"{file}#{part}" for file in path.split(";"))
        for path, part in zip(paths, parts, strict=True)
    ]


def add_coordinates(annotated: Any, samples: pa.Table) -> list[str]:
    """Give an AnnData the centres of boxes as ``obsm["spatial"]``, and which image each is of as ``obs["library_id"]``.

    Returns
    -------
    list of str
        The columns of ``obs`` that are new.
    """
    found = centres(samples)
    if found is None:
        return []
    annotated.obsm["spatial"] = found
    if LIBRARY in annotated.obs:
        return []
    import pandas as pd

    annotated.obs[LIBRARY] = pd.Categorical(images_of(samples))
    return [LIBRARY]


def file_stems(images: Iterable[str]) -> dict[str, str]:
    """Return what files are to be called that hold what belongs to each image.

    That is the name of the image without suffix; with it, or with the folders before it, where two have the same.
    """
    paths = {image: PurePosixPath(image.partition(";")[0]) for image in dict.fromkeys(images)}
    for naming in (_bare, lambda path: path.name, lambda path: str(path.parent / _bare(path)), str):
        stems = {image: _NOT_IN_NAMES.sub("_", naming(path)) for image, path in paths.items()}
        if max(Counter(stem.lower() for stem in stems.values()).values(), default=1) == 1:
            return stems
    return {image: f"{stem}_{number}" for number, (image, stem) in enumerate(stems.items())}


def _bare(path: PurePosixPath) -> str:
    stem = path.stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def rows_by_image(images: Sequence[str]) -> Mapping[str, npt.NDArray[np.intp]]:
    """Return the rows of each image, in the order in which images come first."""
    found: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        found.setdefault(image, []).append(row)
    return {image: np.array(rows, np.intp) for image, rows in found.items()}
