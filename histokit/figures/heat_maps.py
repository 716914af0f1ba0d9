"""Figures of where models look: each image, and its map over it, in groups of columns by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.figures.lettering import drawable, folded, line_height
from histokit.figures.sheet import Document, new_sheet, save_sheet

#: Perceptually uniform, and of maps with signs diverging; both can be told apart by most eyes.
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
ALPHA = 0.55

#: Weights of red, green and blue (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)

#: In inches.
_WIDE, _LARGEST, _GAP, _MARGIN = 7.1, 1.4, 0.05, 0.12
_BETWEEN = 0.22
_BAR_WIDE, _BAR_HIGH = 2.4, 0.1
#: Pairs of an image and its map side by side.
_ACROSS = 4
_SMALL, _TITLE = 7, 9
#: Lines that an id, and the name of a class, may take.
_LINES = 5
_WRONG = "#b8453c"
#: What colours mean: of a number or not, with signs or not.
_MEANINGS = {
    (False, False): "of each map, its least to its largest: what speaks for the class",
    (True, False): "of each map, its least to its largest: what raises the number",
    (False, True): "share of the largest value of each map: above 0 speaks for the class, below 0 against it",
    (True, True): "share of the largest value of each map: above 0 raises the number, below 0 lowers it",
}


def heat_maps_figure(explanation: Document, path: str | Path) -> Path:
    """Draw images and their maps: a group of columns for each class.

    Parameters
    ----------
    explanation : Explanation
    path : path
        The ending decides the format: .png, .svg or .pdf.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return save_sheet(draw_heat_maps(explanation), path)


def over_image(image: NDArray[np.uint8], heat: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    """Return the (H, W, 3) picture of a map over its image, whose own colours would be taken for those of the map.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    heat : (H, W) array
        0 to 1, or -1 to 1 where it has signs.
    signed : bool
    """
    from matplotlib import colormaps

    coloured = colormaps[DIVERGING if signed else SEQUENTIAL]((heat + 1) / 2 if signed else heat)[..., :3] * 255
    grey = image @ np.array(_LUMINANCE)
    found: NDArray[np.uint8] = np.rint((1 - ALPHA) * grey[..., None] + ALPHA * coloured).astype(np.uint8)
    return found


class _Pair(NamedTuple):
    """An image and its map, and what stands below them."""

    sample: Any
    lines: list[tuple[str, bool]]


class _Band(NamedTuple):
    """Groups of pairs that stand beside each other, each with its heading."""

    headings: list[str]
    rows: list[list[_Pair | None]]


def draw_heat_maps(explanation: Any) -> Any:
    """Return the matplotlib figure of `heat_maps_figure`: of each image two axes, itself and its map over it."""
    groups: dict[str, list[Any]] = {}
    for sample in explanation.samples:
        groups.setdefault(sample.group, []).append(sample)
    order = [name for name in explanation.classes if name in groups]
    groups = {name: groups[name] for name in [*order, *(name for name in groups if name not in order)]}
    across = min(_ACROSS, max(len(groups), 2) if len(groups) > 1 else len(explanation.samples))
    side = min(_LARGEST, (_WIDE - 2 * _MARGIN - (across - 1) * _BETWEEN - across * _GAP) / (2 * across))
    pair = 2 * side + _GAP
    bands = _bands(groups, across, pair, explanation)
    width = max(_WIDE * 0.62, 2 * _MARGIN + across * pair + (across - 1) * _BETWEEN)
    title = folded(drawable(_title(explanation)), width - 2 * _MARGIN, _TITLE)
    top = 0.1 + (title.count("\n") + 1.4) * line_height(_TITLE)
    high = top + sum(_height(band, side) for band in bands) + 0.62
    sheet = new_sheet(width, high)
    sheet.set_layout_engine("none")
    sheet.text(_MARGIN / width, 1 - 0.08 / high, title, fontsize=_TITLE, va="top")
    place = top
    for band in bands:
        _draw_band(sheet, band, place, side, explanation.signed)
        place += _height(band, side)
    _draw_bar(sheet, explanation)
    return sheet


def _title(explanation: Any) -> str:
    count = len(explanation.samples)
    facts = [
        f"{explanation.dataset}, {explanation.split}" if explanation.split else explanation.dataset,
        f"run {explanation.run}",
        f"{explanation.method} of {explanation.backbone}, layer {explanation.layer}",
        f"{count} image{'s' * (count > 1)}",
    ]
    return " · ".join(facts)


def _bands(groups: dict[str, list[Any]], across: int, wide: float, explanation: Any) -> list[_Band]:
    """Return a column for each class, so many beside each other; a class alone takes all columns."""
    pairs = {name: [_Pair(s, _lines(s, wide, explanation)) for s in samples] for name, samples in groups.items()}
    if len(pairs) == 1:
        ((name, members),) = pairs.items()
        filled = [*members, *[None] * (-len(members) % across)]
        rows = [list(filled[start : start + across]) for start in range(0, len(filled), across)]
        return [_Band([_heading(name, across * wide)], rows)]
    found = []
    for start in range(0, len(pairs), across):
        chosen = list(pairs.items())[start : start + across]
        deepest = max(len(members) for _, members in chosen)
        rows = [[m[row] if row < len(m) else None for _, m in chosen] for row in range(deepest)]
        found.append(_Band([_heading(name, wide) for name, _ in chosen], rows))
    return found


def _heading(name: str, wide: float) -> str:
    return _cut(folded(drawable(name), wide, _SMALL + 1))


def _cut(text: str) -> str:
    lines = text.split("\n")
    # Names differ at their ends more often than in the middle.
    return text if len(lines) <= _LINES else "\n".join([*lines[:2], "…", *lines[-2:]])


def _lines(sample: Any, wide: float, explanation: Any) -> list[tuple[str, bool]]:
    """Return what stands below an image: id, what was predicted, the score that is explained; and what is wrong."""
    said = [(sample.id + " (trained on)" * sample.seen, False)]
    if sample.explained is None:
        true = "" if sample.true is None else f"true {sample.true:.4g}, "
        said.append((f"{true}predicted {sample.score:.4g}", False))
    else:
        said.append((f"predicted {sample.predicted}", sample.wrong))
        what = "decision value" if explanation.kind == "decision" else "score"
        what = what if sample.explained == sample.predicted else f"{sample.explained}: {what}"
        said.append((f"{what} {sample.score:.2f}" + " (no map)" * sample.constant, False))
    return [(line, wrong) for text, wrong in said for line in _cut(folded(drawable(text), wide, _SMALL)).split("\n")]


def _height(band: _Band, side: float) -> float:
    return _heading_height(band) + sum(_row_height(row, side) for row in band.rows) + 0.08


def _heading_height(band: _Band) -> float:
    return max(heading.count("\n") + 1 for heading in band.headings) * line_height(_SMALL + 1) + 0.05


def _row_height(row: Sequence[_Pair | None], side: float) -> float:
    return side + max(len(pair.lines) for pair in row if pair) * line_height(_SMALL) + 0.1


def _draw_band(sheet: Any, band: _Band, top: float, side: float, signed: bool) -> None:
    width, high = sheet.get_size_inches()
    step = 2 * side + _GAP + _BETWEEN
    first = top + _heading_height(band)
    for column, heading in enumerate(band.headings):
        x = _MARGIN + column * step
        sheet.text(x / width, 1 - (first - 0.04) / high, heading, fontsize=_SMALL + 1, fontweight="bold", va="bottom")
    for row in band.rows:
        for column, pair in enumerate(row):
            if pair:
                _draw_pair(sheet, pair, (_MARGIN + column * step, first), side, signed)
        first += _row_height(row, side)


def _draw_pair(sheet: Any, pair: _Pair, corner: tuple[float, float], side: float, signed: bool) -> None:
    width, high = sheet.get_size_inches()
    (x, y), sample = corner, pair.sample
    for number, picture in enumerate((sample.image, over_image(sample.image, sample.heat, signed))):
        left = x + number * (side + _GAP)
        axis = sheet.add_axes((left / width, 1 - (y + side) / high, side / width, side / high))
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
    for number, (line, wrong) in enumerate(pair.lines):
        at = y + side + 0.03 + number * line_height(_SMALL)
        colour = _WRONG if wrong else "black"
        sheet.text(x / width, 1 - at / high, line, fontsize=_SMALL, va="top", color=colour)


def _draw_bar(sheet: Any, explanation: Any) -> None:
    """Draw what colours mean, at the bottom."""
    width, high = sheet.get_size_inches()
    axis = sheet.add_axes((_MARGIN / width, 0.42 / high, _BAR_WIDE / width, _BAR_HIGH / high))
    low = -1.0 if explanation.signed else 0.0
    shown = over_image(
        np.full((1, 256, 3), 255, np.uint8), np.linspace(low, 1, 256, dtype=np.float32)[None], explanation.signed
    )
    axis.imshow(shown, extent=(low, 1, 0, 1), aspect="auto")
    axis.set_yticks([])
    axis.set_xticks(np.linspace(low, 1, 5))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.tick_params(labelsize=_SMALL, length=2)
    axis.set_xlabel(_MEANINGS[explanation.kind == "value", explanation.signed], fontsize=_SMALL, loc="left")
