"""Outlines of regions: polygons with holes or run-length encoded masks, as texts and as pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.datasets.regions.boxes import Extent
from histokit.plugin.images import Box

#: Corners (x, y), as an (n, 2) array.
Ring = npt.NDArray[np.float64]
#: Its border, then its holes.
Polygon = Sequence[Ring]
Mask = npt.NDArray[np.bool_]

_BETWEEN = re.compile(r"\)\s*\)\s*,\s*\(\s*\(")
_RING = re.compile(r"\(([^()]+)\)")
_RUNS = "RLE"


class Runs:
    """A mask of an image as COCO has it: runs of pixels outside and inside in turn, column by column.

    Parameters
    ----------
    height, width : int
    counts : sequence of int
        The first is outside.

    Raises
    ------
    ValueError
        If they do not add up to the image.
    """

    def __init__(self, height: int, width: int, counts: Sequence[int]):
        if min(height, width) < 1 or min(counts, default=-1) < 0 or sum(counts) != height * width:
            raise ValueError(f"runs of {sum(counts):,} pixels for a mask of {width} × {height}")
        self.height, self.width, self.counts = height, width, counts

    @classmethod
    def packed(cls, height: int, width: int, text: str) -> Runs:
        """Unpack the text that pycocotools writes: six bits a letter, each run less the last but one."""
        counts: list[int] = []
        value = shift = 0
        for letter in text:
            bits = ord(letter) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"the letter {letter!r} in packed runs")
            value |= (bits & 0x1F) << shift
            shift += 5
            if bits & 0x20:
                continue
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
        return cls(height, width, counts)

    @classmethod
    def of(cls, inside: Mask, left: int, top: int) -> Runs:
        """Return the runs of what is inside a box that begins at (left, top); the image ends where the box does."""
        column = np.pad(inside, ((top, 0), (0, 0))).T.ravel()
        turns = np.flatnonzero(np.diff(column, prepend=False))
        counts = np.diff([0, *turns, len(column)]).tolist()
        height, width = inside.shape
        return cls(top + height, left + width, [counts[0] + left * (top + height), *counts[1:]])

    def extent(self) -> Extent | None:
        """Return the bounding box of what is inside, none where nothing is."""
        ends = list(accumulate(self.counts))
        inside = [(start, end) for start, end in zip(ends[0::2], ends[1::2], strict=False) if end > start]
        if not inside:
            return None
        left, right = inside[0][0] // self.height, (inside[-1][1] - 1) // self.height
        whole = any((end - 1) // self.height > start // self.height for start, end in inside)
        top = 0 if whole else min(start % self.height for start, _ in inside)
        bottom = self.height - 1 if whole else max((end - 1) % self.height for _, end in inside)
        return Extent(left, top, right - left + 1, bottom - top + 1)

    def text(self) -> str:
        """Return them as a text that `covered` reads."""
        return f"{_RUNS} {self.height} {self.width} {' '.join(map(str, self.counts))}"

    def mask(self) -> Mask:
        """Return them as an (H, W) bool array."""
        inside = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T


def as_ring(corners: Any) -> Ring:
    """Return corners, as numbers or their texts, as a ring; what follows x and y is passed over.

    Raises
    ------
    ValueError, TypeError
        If they are none, or fewer than three.
    """
    ring = np.array(corners, dtype=np.float64)
    if ring.ndim != 2 or len(ring) < 3 or ring.shape[1] < 2 or not np.isfinite(ring).all():
        raise ValueError(f"{len(corners)} corners")
    return ring[:, :2]


def extent_of(polygons: Sequence[Polygon]) -> Extent:
    """Return the bounding box of polygons."""
    rings = [ring for polygon in polygons for ring in polygon]
    corners = rings[0] if len(rings) == 1 else np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Extent(left, top, right - left, bottom - top)


def as_text(polygons: Sequence[Polygon]) -> str:
    """Return polygons as well-known text."""
    texts = [f"({', '.join(map(_ring_text, polygon))})" for polygon in polygons]
    return f"POLYGON {texts[0]}" if len(texts) == 1 else f"MULTIPOLYGON ({', '.join(texts)})"


def from_text(text: str) -> list[Polygon]:
    """Return the polygons of a well-known text.

    Raises
    ------
    ValueError
        If it is no POLYGON or MULTIPOLYGON.
    """
    if not re.match(r"\s*(MULTI)?POLYGON\s*[( ]", text, re.IGNORECASE):
        raise ValueError(text[:40])
    return [[_ring(found) for found in _RING.findall(f"(({part}))")] for part in _BETWEEN.split(text)]


def covered(text: str, box: Box) -> Mask:
    """Return which pixels of a box have their middle inside an outline.

    Parameters
    ----------
    text : str
        Well-known text, in pixels of the image, or that of `Runs`.
    box : (x, y, width, height)

    Returns
    -------
    (height, width) bool array
    """
    x, y, width, height = box
    inside = np.zeros((height, width), dtype=bool)
    if text.startswith(_RUNS):
        rows, columns, *counts = map(int, text.split()[1:])
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
        if left < right and top < bottom:
            cut = Runs(rows, columns, counts).mask()[top:bottom, left:right]
            inside[top - y : bottom - y, left - x : right - x] = cut
        return inside
    for polygon in from_text(text):
        inside |= _filled(polygon, box)
    return inside


def _filled(polygon: Polygon, box: Box) -> Mask:
    """Fill a polygon row by row: a pixel is inside where an odd number of edges is left of its middle."""
    x, y, width, height = box
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    for ring in polygon:
        starts = ring - (x, y)
        ends = np.roll(starts, -1, axis=0)
        low, high = np.sort([starts[:, 1], ends[:, 1]], axis=0)
        first, last = (np.clip(np.ceil(edge - 0.5), 0, height).astype(np.int64) for edge in (low, high))
        counts = last - first
        edges = np.repeat(np.arange(len(starts)), counts)
        rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
        (x0, y0), (x1, y1) = starts[edges].T, ends[edges].T
        places = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(crossings, (rows, np.clip(np.ceil(places - 0.5), 0, width).astype(np.int64)), 1)
    filled: Mask = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return filled


def _ring_text(ring: Ring) -> str:
    corners = ring.tolist()
    # Well-known text ends rings where they begin; many files do not.
    closed = corners if corners[0] == corners[-1] else [*corners, corners[0]]
    return f"({', '.join(f'{_plain(x)} {_plain(y)}' for x, y in closed)})"


def _plain(number: float) -> str:
    return repr(number).removesuffix(".0")


def _ring(text: str) -> Ring:
    return as_ring([corner.split()[:2] for corner in text.strip("() ").split(",")])
