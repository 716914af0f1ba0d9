"""The files of a dataset's images: their pixels, and what besides their content decides on these."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import is_not
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from histokit.files import suffix_of
from histokit.plugin.images import Box, Pixels, crop, read_image
from histokit.plugin.intensities import parse_scale
from histokit.plugin.raw_images import foreign_mark
from histokit.plugin.raw_numbers import raw_mark
from histokit.plugin.reader_marks import DEEP_NETPBM, MARKED, NETPBM, NUMBERED, is_unmarked, reader_mark
from histokit.plugin.recent_images import Opened, RecentImages
from histokit.plugin.sample_pixels import RGB, ChannelSource, fitted_limits, from_16_bits


class Imaged(Protocol):
    """What of a dataset decides on its pixels; see `histokit.plugin.Dataset`."""

    root: Path
    channels: Sequence[str]
    file_channels: Sequence[str]
    bits: int | None
    scale: str
    scale_over: str
    state: Any

    @property
    def marks_ahead(self) -> dict[str, bytes]:
        """What is known of images that come next."""
        ...


class ImageFiles:
    """Reads images for a dataset, whose attributes say how.

    Parameters
    ----------
    dataset : Dataset
    """

    def __init__(self, dataset: Imaged):
        self.dataset = dataset
        self._recent = RecentImages()
        self._kept: tuple[tuple[Any, ...], ChannelSource] | None = None
        self._foreign: dict[str, bytes] = {}
        self._last_mark = "", b""

    def pixels(self, image: Sequence[str], part: str | None, box: Box | None) -> Pixels:
        """Return an image, a part of it or a box of it as (H, W, C), with as much of `bits` for white as are declared.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        source, root, bits = self.source, self.dataset.root, self.dataset.bits
        if source.plain and box is None and part is None and not self._reader(image[0]):
            # Texts, because paths as objects take a part of the time of decoding a small image.
            return from_16_bits(read_image(os.path.join(root, image[0]), bits, deep=True), bits)
        paths = [root / path for path in image]
        if box is None:
            return from_16_bits(source.pixels(paths, part), bits)
        if self.dataset.scale_over == "crop":
            numbers, told = self._recent.read(paths, part, lambda: Opened(*source.numbers(paths, part)))
            return from_16_bits(source.intensities(crop(numbers, box), told, str(paths[0])), bits)
        whole = self._recent.read(paths, part, lambda: Opened(source.pixels(paths, part)))
        return from_16_bits(crop(whole.numbers, box), bits)

    @property
    def over_dataset(self) -> bool:
        """Whether black and white are sought over the whole dataset."""
        return self.dataset.scale_over == "dataset" and parse_scale(self.dataset.scale).of_the_data

    def limits(self, images: Iterable[tuple[Sequence[str], str | None]]) -> Mapping[str, Any]:
        """Return what is black and white over many images, as the state of their dataset.

        Raises
        ------
        DataError
            If none of them can be read.
        """
        root, source = self.dataset.root, self.source
        files = (([root / path for path in image], part) for image, part in images)
        return self.limits_of(partial(_numbers, source, paths, part) for paths, part in files)

    def limits_of(self, images: Iterable[Callable[[], npt.NDArray[Any]]]) -> Mapping[str, Any]:
        """Return what `limits` does, of images that are read otherwise than from files of their own.

        Raises
        ------
        DataError
            If none of them can be read.
        """
        return {_LIMITS: fitted_limits(self.source, images)}

    @property
    def limits_found(self) -> Mapping[str, Any] | None:
        """Black and white of the dataset as `limits` found them; none where they are not sought over it."""
        limits = self.source.limits
        return None if limits is None else {_LIMITS: [list(pair) for pair in limits]}

    @property
    def unusual(self) -> list[Any]:
        """What alters pixels besides the number of bits, as JSON-serialisable data; empty where nothing does."""
        if self.source._replace(bits=None) == ChannelSource():
            return []
        return [self.source.described, self.dataset.scale, self.dataset.scale_over]

    def mark(self, path: str) -> bytes:
        """Return bytes that change with the reader of a file, empty where it is read as ever."""
        plain = self.source.plain
        if plain and is_unmarked(path):
            return b""
        if not is_unmarked(path) and (foreign := self._reader(path)):
            return foreign
        # Boxes of one image come one after the other.
        if self._last_mark[0] != path:
            full, mark = os.path.join(self.dataset.root, path), self.dataset.marks_ahead.pop(path, None)
            mark = reader_mark(full) if mark is None else mark
            if not plain:
                # A scale was given their own numbers before.
                mark = raw_mark(full) if mark == DEEP_NETPBM else mark + raw_mark(full)
            self._last_mark = path, mark
        return self._last_mark[1]

    def altered(self, path: str, revision: int) -> bool:
        """Return whether a file is read otherwise than by an earlier revision of the reader."""
        full, plain = self.dataset.root / path, self.source.plain
        if revision < MARKED and reader_mark(full):
            return True
        if plain:
            return revision < NETPBM and reader_mark(full) == DEEP_NETPBM
        return revision < NUMBERED and bool(raw_mark(full))

    def _reader(self, path: str) -> bytes:
        """Return what stands for the reader of a file where that is a plugin's."""
        suffix = suffix_of(path)
        if suffix not in self._foreign:
            self._foreign[suffix] = foreign_mark(suffix)
        return self._foreign[suffix]

    @property
    def source(self) -> ChannelSource:
        """What becomes of the numbers of an image, with black and white over the dataset where they were sought."""
        dataset = self.dataset
        given = (
            *(dataset.channels, dataset.file_channels, dataset.bits),
            *(dataset.scale, dataset.scale_over, dataset.state),
        )
        # By identity, because this is asked for each image; attributes that are made anew only cost time.
        if self._kept is None or any(map(is_not, self._kept[0], given)):
            self._kept = given, self._described()
        return self._kept[1]

    def _described(self) -> ChannelSource:
        dataset = self.dataset
        state = dataset.state if self.over_dataset and isinstance(dataset.state, Mapping) else {}
        found, channels = state.get(_LIMITS), tuple(dataset.channels)
        limits = None if found is None else tuple((low, high) for low, high in found)
        scale = parse_scale(dataset.scale)
        return ChannelSource(channels, tuple(dataset.file_channels), dataset.bits, scale, channels == RGB, limits)


def _numbers(source: ChannelSource, paths: Sequence[Path], part: str | None) -> npt.NDArray[Any]:
    return source.numbers(paths, part)[0]


#: Under which black and white of each channel stand in the state of a dataset.
_LIMITS = "limits"
