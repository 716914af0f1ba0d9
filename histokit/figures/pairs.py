"""Sheets of pairs of pictures, with a heading above groups of them and lines below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.figures.lettering import drawable, folded, line_height
from histokit.figures.sheet import new_sheet

#: In inches.
WIDE, MARGIN = 7.1, 0.12
_LARGEST, _GAP, _BETWEEN = 1.4, 0.05, 0.22
#: Pairs beside each other.
_ACROSS = 4
SMALL, TITLE = 7, 9
#: Lines that a heading, or a text below a pair, may take.
_LINES = 5

Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures side by side.

    Parameters
    ----------
    left, right : (H, W, 3) uint8 array
    lines : sequence of (text, colour)
        Below them.
    """

    left: Picture
    right: Picture
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _Band:
    """Pairs in rows, with a heading above each column, or one above all."""

    headings: list[str]
    rows: list[list[Pair | None]]


def draw_pairs(title: str, groups: Sequence[tuple[str, Sequence[Pair]]], *, columns: bool, below: float) -> Any:
    """Return a matplotlib figure of pairs of pictures, two axes each.

    Parameters
    ----------
    title : str
    groups : sequence of (heading, pairs)
    columns : bool
        Whether groups are columns beside each other, where there are several; else they stand one below the other.
    below : float
        Inches that are left free at the bottom.
    """
    as_columns = columns and len(groups) > 1
    across = min(_ACROSS, len(groups) if as_columns else max(len(pairs) for _, pairs in groups))
    side = min(_LARGEST, (WIDE - 2 * MARGIN - (across - 1) * _BETWEEN - across * _GAP) / (2 * across))
    wide = 2 * side + _GAP
    bands = _columns(groups, across, wide) if as_columns else [_flowing(*group, across, wide) for group in groups]
    width = max(WIDE * 0.62, 2 * MARGIN + across * wide + (across - 1) * _BETWEEN)
    text = folded(drawable(title), width - 2 * MARGIN, TITLE)
    place = 0.1 + (text.count("\n") + 1.4) * line_height(TITLE)
    high = place + sum(_height(band, side) for band in bands) + below
    sheet = new_sheet(width, high)
    # Every place is known in inches: there is nothing to lay out.
    sheet.set_layout_engine("none")
    sheet.text(MARGIN / width, 1 - 0.08 / high, text, fontsize=TITLE, va="top")
    for band in bands:
        _draw_band(sheet, band, place, side)
        place += _height(band, side)
    return sheet


def _columns(groups: Sequence[tuple[str, Sequence[Pair]]], across: int, wide: float) -> list[_Band]:
    found = []
    for start in range(0, len(groups), across):
        chosen = groups[start : start + across]
        deepest = max(len(pairs) for _, pairs in chosen)
        rows = [[_broken(m[row], wide) if row < len(m) else None for _, m in chosen] for row in range(deepest)]
        found.append(_Band([_heading(name, wide) for name, _ in chosen], rows))
    return found


def _flowing(name: str, pairs: Sequence[Pair], across: int, wide: float) -> _Band:
    filled = [*(_broken(pair, wide) for pair in pairs), *[None] * (-len(pairs) % across)]
    rows = [list(filled[start : start + across]) for start in range(0, len(filled), across)]
    return _Band([_heading(name, across * wide)], rows)


def _heading(name: str, wide: float) -> str:
    return _cut(folded(drawable(name), wide, SMALL + 1))


def _broken(pair: Pair, wide: float) -> Pair:
    """Return a pair with its lines broken where they are wider than it."""
    texts = [(_cut(folded(drawable(text), wide, SMALL)), colour) for text, colour in pair.lines]
    return Pair(pair.left, pair.right, [(line, colour) for text, colour in texts for line in text.split("\n")])


def _cut(text: str) -> str:
    lines = text.split("\n")
    # Names differ at their ends more often than in the middle.
    return text if len(lines) <= _LINES else "\n".join([*lines[:2], "…", *lines[-2:]])


def _height(band: _Band, side: float) -> float:
    return _heading_height(band) + sum(_row_height(row, side) for row in band.rows) + 0.08


def _heading_height(band: _Band) -> float:
    return max(heading.count("\n") + 1 for heading in band.headings) * line_height(SMALL + 1) + 0.05


def _row_height(row: Sequence[Pair | None], side: float) -> float:
    return side + max(len(pair.lines) for pair in row if pair) * line_height(SMALL) + 0.1


def _draw_band(sheet: Any, band: _Band, top: float, side: float) -> None:
    width, high = sheet.get_size_inches()
    step = 2 * side + _GAP + _BETWEEN
    first = top + _heading_height(band)
    for column, heading in enumerate(band.headings):
        x = MARGIN + column * step
        sheet.text(x / width, 1 - (first - 0.04) / high, heading, fontsize=SMALL + 1, fontweight="bold", va="bottom")
    for row in band.rows:
        for column, pair in enumerate(row):
            if pair:
                _draw_pair(sheet, pair, (MARGIN + column * step, first), side)
        first += _row_height(row, side)


def _draw_pair(sheet: Any, pair: Pair, corner: tuple[float, float], side: float) -> None:
    width, high = sheet.get_size_inches()
    x, y = corner
    for number, picture in enumerate((pair.left, pair.right)):
        left = x + number * (side + _GAP)
        axis = sheet.add_axes((left / width, 1 - (y + side) / high, side / width, side / high))
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
    for number, (line, colour) in enumerate(pair.lines):
        at = y + side + 0.03 + number * line_height(SMALL)
        sheet.text(x / width, 1 - at / high, line, fontsize=SMALL, va="top", color=colour)
