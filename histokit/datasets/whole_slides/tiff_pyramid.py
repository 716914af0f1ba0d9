"""Pyramidal TIFF and OME-TIFF, as tifffile reads them: only those tiles are decoded that are asked for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.whole_slides.pyramid import Pyramid, SlideLevel, over_paper
from histokit.datasets.whole_slides.tiff_facts import coarse_first, refusal, told_resolution
from histokit.datasets.whole_slides.tile_cache import TileCache
from histokit.errors import DataError, UsageError
from histokit.plugin.images import Box, Pixels
from histokit.plugin.tiff_pieces import piece_damage

#: A tile or strip of more pixels is not decoded for the sake of a part of it.
_LARGEST_SEGMENT = 1 << 27

#: The numbers of Zstandard.
_ZSTANDARD = (34926, 50000)

#: Values of ExtraSamples that say transparency, and what tells slides that have it from how they once were read.
_TRANSPARENT, _MARK = (1, 2), b"over-white-1"

_keys = itertools.count()

_AGAIN = "Copy the slide again, or take it out of the folder; then ingest the dataset again."
_SAVE = "Save it as a tiled pyramid of 8-bit RGB, for instance with: vips tiffsave IN OUT.tif --tile --pyramid"


@dataclass(frozen=True)
class TiffLevel:
    """Where the tiles or strips of a level lie in the file, and how they are decoded.

    Parameters
    ----------
    width, height : int
    tile : (width, height)
        Of a tile; of a strip, its width is that of the level.
    offsets, counts : tuple of int
        Of the bytes of each, row by row.
    compression : int
        As TIFF numbers it; 0 where bits are turned round.
    decode : callable
        From bytes and number to what tifffile gives.
    tables : bytes, optional
        That all tiles of JPEG share.
    inverted : bool
        Whether 0 is white.
    alpha : int
        What TIFF calls the transparency behind the colours: 1 where these hold it, 2 where they do not; 0 for none.
    """

    width: int
    height: int
    tile: tuple[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    compression: int
    decode: Callable[..., Any]
    tables: bytes | None
    inverted: bool
    alpha: int


class TiffPyramid(Pyramid):
    """A slide in a TIFF file; many threads may read it at once.

    Parameters
    ----------
    path : Path
    cache : TileCache
        Of decoded tiles, which several slides share.

    Raises
    ------
    DataError
        If it is none, damaged, or of pixels that have no one meaning as RGB of 8 bits.
    UsageError
        If its compression needs a package that is not installed.
    """

    def __init__(self, path: Path, cache: TileCache):
        self.path, self._cache, self._key = path, cache, next(_keys)
        self._file = -1
        pages, self.mpp = _described(path)
        self._levels = pages
        width, height = pages[0].width, pages[0].height
        self.levels = [
            SlideLevel(page.width, page.height, (width / page.width + height / page.height) / 2) for page in pages
        ]
        self.mark = _MARK if pages[0].alpha in _TRANSPARENT else b""
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def region(self, level: int, box: Box) -> Pixels:
        """Return a box of a level; tiles that are not in the file are white.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        page = self._levels[level]
        x, y, width, height = box
        across, down = page.tile
        found = np.empty((height, width, 3), np.uint8)
        for row in range(y // down, -(-(y + height) // down)):
            for column in range(x // across, -(-(x + width) // across)):
                tile = self._tile(level, row * -(-page.width // across) + column)
                left, top = column * across, row * down
                here = np.s_[max(y, top) - y : top + down - y, max(x, left) - x : left + across - x]
                there = tile[max(y - top, 0) : y + height - top, max(x - left, 0) : x + width - left]
                found[here][: there.shape[0], : there.shape[1]] = there
        return found

    def _tile(self, level: int, number: int) -> Pixels:
        return self._cache.get((self._key, level, number), lambda: self._decoded(self._levels[level], number))

    def _decoded(self, page: TiffLevel, number: int) -> Pixels:
        across, down = page.tile
        count = page.counts[number] if number < len(page.counts) else 0
        if not count:
            return np.full((down, across, 3), 255, np.uint8)
        try:
            data = os.pread(self._file, count, page.offsets[number])
            if len(data) < count:
                raise ValueError("the file ends before it")
            if found := piece_damage(page.compression, data, page.tables or b""):
                raise ValueError(found)
            segment = page.decode(data, number, jpegtables=page.tables)[0][0]
        except MemoryError:
            raise
        except Exception as error:  # Decoders raise whatever they stumble upon in a damaged file.
            where = f"tile {number} of {page.width} × {page.height} pixels"
            raise DataError(f"{self.path.name} cannot be read: {where}: {error}.", next=_AGAIN) from error
        if page.alpha in _TRANSPARENT:
            return over_paper(segment, held=page.alpha == 1)
        grey = np.repeat(segment, 3, axis=2) if segment.shape[2] < 3 else segment[..., :3]
        return np.ascontiguousarray(255 - grey if page.inverted else grey)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()


def _described(path: Path) -> tuple[list[TiffLevel], tuple[float, float] | None]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            # What a slide is, not its label or its thumbnail.
            series = file.series[0]
            page = series.keyframe
            reason = refusal(series, page) or coarse_first(file, page)
            if reason is not None:
                raise DataError(f"{path.name} {reason}.", next=_SAVE)
            _require_codec(path, page)
            return [_level(path, each) for each in _reduced(file, page)], told_resolution(file, page)
    except (DataError, UsageError, MemoryError):
        raise
    except Exception as error:  # As above.
        raise DataError(f"{path.name} cannot be opened: {str(error).rstrip('.')}.", next=_AGAIN) from error


def _reduced(file: Any, first: Any) -> Iterator[Any]:
    """Yield the first level and those below it: in SubIFDs, or as pages after it that are called reduced or tiled."""
    yield first
    last = first
    for page in [*(first.pages or ()), *_following(file, first)]:
        page = page.aspage()
        ratio = last.imagewidth / page.imagewidth
        alike = page.dtype == first.dtype and page.samplesperpixel == first.samplesperpixel
        proportional = abs(last.imagelength / page.imagelength - ratio) <= 0.02 * ratio + 2 / page.imagelength
        if alike and proportional and ratio > 1.05 and page.compression == first.compression:
            last = page
            yield page


def _following(file: Any, first: Any) -> Iterator[Any]:
    for page in list(file.pages)[1:]:
        page = page.aspage()
        if page.index != first.index and (page.is_reduced or (page.is_tiled and first.is_tiled)):
            yield page


def _level(path: Path, page: Any) -> TiffLevel:
    tile = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    tile = tile[0], min(tile[1], page.imagelength) if not page.is_tiled else tile[1]
    if tile[0] * tile[1] > _LARGEST_SEGMENT:
        raise DataError(f"{path.name} is not tiled: {tile[0]} × {tile[1]} pixels are in one piece.", next=_SAVE)
    ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True))
    if max(ends, default=0) > os.stat(path).st_size:
        where = f"{page.imagewidth} × {page.imagelength}"
        raise DataError(f"{path.name} is cut short: the file ends before its tiles of {where} pixels do.", next=_AGAIN)
    return TiffLevel(
        page.imagewidth,
        page.imagelength,
        tile,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
        int(page.compression) if page.fillorder == 1 else 0,
        page.decode,
        page.jpegtables,
        page.photometric == 0,
        int(page.extrasamples[0]) if page.samplesperpixel == 4 and page.extrasamples else 0,
    )


def _require_codec(path: Path, page: Any) -> None:
    import tifffile

    try:
        if page.compression != 1:
            codec = tifffile.TIFF.DECOMPRESSORS[page.compression]
            if page.compression in _ZSTANDARD:
                _look_for_needs(codec)
    except (KeyError, ImportError):
        raise UsageError(
            f"{path.name} is compressed by {getattr(page.compression, 'name', page.compression)}, "
            "which needs the package imagecodecs.",
            next="Install it with: pip install 'histokit[codecs]'",
        ) from None


def _look_for_needs(codec: Callable[[bytes], Any]) -> None:
    """Raise an `ImportError` where a codec lacks what it looks for only when it is called."""
    try:
        codec(b"")
    except ImportError:
        raise
    except Exception:  # That there is nothing to decode, each package says in its own way.
        return
