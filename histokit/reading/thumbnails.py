"""Small pictures of samples, for people: what a sample shows, fitted into a square."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.plugin.deep_colours import to_8_bits
from histokit.plugin.images import Pixels
from histokit.reading.ingested_files import open_files
from histokit.reading.reader import THREADS, read_samples, rebuild_sample
from histokit.store import DatasetRecord, Store
from histokit.store.database import quote
from histokit.store.records import IMPORT_PLUGIN

#: (side, side, 3) uint8.
Square = NDArray[np.uint8]

#: Pixels along a side.
SIDE = 128

_COLOURS = 3
_PAPER = 255
_AHEAD = 16


def as_square(pixels: Pixels, side: int = SIDE) -> Square:
    """Return an image fitted into a white square, its proportions kept.

    Parameters
    ----------
    pixels : (H, W, C) array
        uint8, or uint16 of which 65535 is white. One channel is grey; of several the first three are red, green and
        blue.
    side : int

    Returns
    -------
    (side, side, 3) uint8 array
    """
    from PIL import Image

    shown = as_colours(to_8_bits(pixels))
    height, width = shown.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BICUBIC))
    square = np.full((side, side, _COLOURS), _PAPER, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def as_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, C) pixels as (H, W, 3) colours: one channel is grey, two are red and green, of more come three."""
    shown = pixels[:, :, :_COLOURS]
    if shown.shape[2] == 1:
        shown = shown.repeat(_COLOURS, axis=2)
    elif shown.shape[2] < _COLOURS:
        shown = np.concatenate([shown, np.zeros_like(shown[:, :, :1])], axis=2)
    return np.ascontiguousarray(shown)


def read_squares(
    store: Store, record: DatasetRecord, samples: Iterable[Mapping[str, Any]], side: int = SIDE
) -> list[Square | None]:
    """Read samples as they are, before any network's preprocessing, as small squares.

    Parameters
    ----------
    store : Store
    record : DatasetRecord
    samples : iterable of mapping
        Rows of the dataset's samples.
    side : int

    Returns
    -------
    list of (side, side, 3) uint8 array or None
        None where an image cannot be read, or where a dataset was made from vectors.

    Raises
    ------
    DataError
        If not some images but the whole root cannot be read.
    """
    listed = [rebuild_sample(row) for row in samples]
    if record.plugin == IMPORT_PLUGIN or not listed:
        return [None] * len(listed)
    files = open_files(store, record)
    results = read_samples(files, enumerate(listed), THREADS, _AHEAD)
    squares = [None if result.pixels is None else as_square(result.pixels, side) for result in results]
    if any(square is None for square in squares):
        files.check_root()
    return squares


def squares_by_id(
    store: Store, record: DatasetRecord, ids: Iterable[str], side: int = SIDE
) -> dict[str, Square | None]:
    """Read samples by their ids; see `read_squares`. Those that are in the dataset no more are left out."""
    rows = rows_by_id(store, record, ids)
    return dict(zip((row["id"] for row in rows), read_squares(store, record, rows, side), strict=True))


def rows_by_id(store: Store, record: DatasetRecord, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of samples by their ids, in the order of the dataset."""
    listed = ", ".join(map(quote, dict.fromkeys(ids)))
    return store.samples(record.name, where=f"id IN ({listed})").to_pylist() if listed else []
