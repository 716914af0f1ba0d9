"""The splits of the data: random over nuclei, and with whole images held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from histokit.plugin import PublishedSplit, Sample

TEST_SHARE = 1 / 6
LEAKS = (
    "Random over nuclei, as in Bayramoglu & Heikkilä 2016: nuclei of one image, whose windows overlap, "
    "are in the training and in the test set, and so are the images of one patient."
)


def make_splits(samples: Iterable[Sample]) -> dict[str, PublishedSplit]:
    """Make ``grouped`` and ``paper``; neither where there are too few nuclei or images for it."""
    samples = list(samples)
    splits = {}
    images = list(dict.fromkeys(sample.metadata["image_id"] for sample in samples))
    if len(images) > 1:
        held_out = {images[index] for index in np.flatnonzero(choose_images(_counts(samples, images)))}
        tested = [sample.metadata["image_id"] in held_out for sample in samples]
        splits["grouped"] = _split(samples, tested, group="image_id")
    if len(samples) > 1:
        count = max(1, round(len(samples) * TEST_SHARE))
        drawn = set(sorted((sample.id for sample in samples), key=_lot)[:count])
        splits["paper"] = _split(samples, [sample.id in drawn for sample in samples], leaks=LEAKS)
    return splits


def choose_images(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Choose test images so that they hold as nearly a sixth of each class as whole images allow.

    Starts with the best single image, then adds, removes or exchanges images as long as that helps.

    Parameters
    ----------
    counts : (images, classes) int64 array
        At least two images.

    Returns
    -------
    (images,) bool array
        At least one true and one false.
    """
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    target = TEST_SHARE * (counts.sum(axis=0) > 0)
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[np.argmin(((shares - target) ** 2).sum(axis=1))] = True
    best = _miss(shares, chosen, target)
    while True:
        tries = [_toggled(chosen, change) for change in _changes(chosen)]
        tries = [t for t in tries if t.any() and not t.all()]
        misses = [_miss(shares, t, target) for t in tries]
        if not misses or min(misses) >= best - 1e-12:
            return chosen
        best, chosen = min(misses), tries[int(np.argmin(misses))]


def _changes(chosen: npt.NDArray[np.bool_]) -> list[list[int]]:
    exchanges = [[int(a), int(b)] for a in np.flatnonzero(chosen) for b in np.flatnonzero(~chosen)]
    return [[index] for index in range(len(chosen))] + exchanges


def _toggled(chosen: npt.NDArray[np.bool_], change: list[int]) -> npt.NDArray[np.bool_]:
    toggled = chosen.copy()
    toggled[change] = ~toggled[change]
    return toggled


def _miss(shares: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_], target: npt.NDArray[np.float64]) -> float:
    return float(((shares[chosen].sum(axis=0) - target) ** 2).sum())


def _counts(samples: Sequence[Sample], images: list[str]) -> npt.NDArray[np.int64]:
    labels = sorted({str(sample.label) for sample in samples})
    counts = np.zeros((len(images), len(labels)), dtype=np.int64)
    row, column = {name: i for i, name in enumerate(images)}, {name: i for i, name in enumerate(labels)}
    for sample in samples:
        counts[row[sample.metadata["image_id"]], column[str(sample.label)]] += 1
    return counts


def _lot(sample_id: str) -> bytes:
    # Digests, unlike a random generator's numbers, are the same in every version of every library.
    return blake2b(f"paper {sample_id}".encode(), digest_size=16).digest()


def _split(
    samples: Sequence[Sample], tested: Sequence[bool], group: str | None = None, leaks: str | None = None
) -> PublishedSplit:
    train = [sample.id for sample, test in zip(samples, tested, strict=True) if not test]
    test = [sample.id for sample, test in zip(samples, tested, strict=True) if test]
    return PublishedSplit.holdout(train, test, group=group, leaks=leaks)
