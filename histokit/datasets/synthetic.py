"""H&E-like tissue that is drawn rather than photographed, for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from histokit.datasets.tissue import KINDS, Slide, draw_tissue, make_slide
from histokit.errors import UsageError
from histokit.plugin.dataset import Dataset, PublishedSplit, Sample, SplitRow
from histokit.plugin.digests import digest_bytes
from histokit.plugin.images import Pixels

_RANDOM_FOLDS = 5
#: Keeps the split's random numbers apart from those of slides.
_RANDOM_SPLIT = 2**31


class Synthetic(Dataset):
    """Drawn patches of H&E-like tissue around nuclei of three kinds, from slides that differ in stain.

    Each slide has stain colours, a brightness and a mixture of kinds of its own, so that folds which
    cut through slides overestimate how well a classifier does on a new slide. Nothing is read from
    the root.

    Parameters
    ----------
    root : path
        Not used; need not exist.
    slides : int
        At least 1.
    per_slide : int
        Patches of each slide, at least 1.
    size : int
        Side of a patch in pixels of 0.5 µm, at least 16.
    seed : int
        Not negative.

    Raises
    ------
    UsageError
        If a number is too small.
    """

    name = "synthetic"
    #: Raised with every change of what is drawn.
    version = "1"
    classes: Sequence[str] | None = tuple(KINDS)
    columns: Mapping[str, type] = {"slide": str}
    group: str | None = "slide"
    needs_data = False
    pixel_options: Sequence[str] | None = ("size", "seed")

    def __init__(
        self, root: str | Path = ".", slides: int = 8, per_slide: int = 30, size: int = 64, seed: int = 0
    ) -> None:
        super().__init__(root)
        for option, value, least in (("slides", slides, 1), ("per_slide", per_slide, 1), ("size", size, 16)):
            if value < least:
                raise UsageError(f"The option {option}={value} is too small.", next=f"Give at least {least}.")
        if seed < 0:
            raise UsageError(f"The option seed={seed} is negative.", next="Give 0 or more.")
        self.slides, self.per_slide, self.size, self.seed = slides, per_slide, size, seed

    def samples(self) -> Iterator[Sample]:
        """Yield the patches, slide by slide."""
        for number in range(self.slides):
            kinds = np.array(list(KINDS))
            slide = _slide(self.seed, number)
            for index in range(self.per_slide):
                kind = _generator(self.seed, number, index).choice(kinds, p=slide.mixture)
                name = f"slide{number + 1:02d}"
                yield Sample(f"{name}/{index + 1:04d}", (), label=str(kind), mpp=0.5, metadata={"slide": name})

    def read(self, sample: Sample) -> Pixels:
        """Draw a patch.

        Returns
        -------
        (size, size, 3) uint8 array
        """
        slide, index = (int(text) - 1 for text in sample.id.removeprefix("slide").split("/"))
        generator = _generator(self.seed, slide, index)
        kind = generator.choice(np.array(list(KINDS)), p=_slide(self.seed, slide).mixture)
        return draw_tissue(str(kind), self.size, _slide(self.seed, slide), generator)

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return ``random``: five folds that cut through slides, to be compared with slide-wise ones."""
        ids = [sample.id for sample in self.samples()]
        folds = min(_RANDOM_FOLDS, len(ids))
        if folds < 2:
            return {}
        fold_of = np.random.default_rng([self.seed, _RANDOM_SPLIT]).permutation(len(ids)) % folds
        rows = [
            SplitRow(0, fold, sample_id, "test" if fold_of[i] == fold else "train")
            for fold in range(folds)
            for i, sample_id in enumerate(ids)
        ]
        return {"random": PublishedSplit(rows, leaks="patches of one slide are on both sides")}

    def pixel_key(self, sample: Sample) -> bytes:
        """Return bytes that differ from sample to sample, for no file tells them apart."""
        return digest_bytes(super().pixel_key(sample), sample.id.encode())


def _generator(seed: int, slide: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, slide, 1 + index])


@lru_cache(maxsize=256)
def _slide(seed: int, number: int) -> Slide:
    return make_slide(np.random.default_rng([seed, number, 0]))
