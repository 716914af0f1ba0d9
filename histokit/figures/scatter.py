"""Samples as points of a plane, a panel for each column that tells their colour."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from histokit.errors import counted
from histokit.figures.lettering import (
    drawable,
    folded,
    in_legend,
    line_height,
    longest,
    of_groups,
    shortened_name,
    shortened_names,
)
from histokit.figures.numbers import COLOURS, drawn_points
from histokit.figures.panels import SMALL, TITLE, under
from histokit.figures.sheet import Document, as_file, new_sheet, open_frame
from histokit.layout import natural

#: Shapes, so that more kinds than colours can be told apart; and how many kinds are at most.
_MARKERS = "osD^vPX*"
_MOST = len(COLOURS) * 5
_POINT: dict[str, Any] = {"s": 10, "alpha": 0.75, "linewidths": 0}
_REST: dict[str, Any] = {**_POINT, "s": 8, "color": "#9a9a9a", "marker": "x", "linewidths": 0.7}
#: Names are cut to so many letters.
_LETTERS = 24
#: A panel, in inches; its height without title and legend.
_WIDE, _HIGH = 4.6, 4.5
_ENTRY = 1.35
#: So many panels stand side by side.
_BESIDE = 2


def draw_scatter(scatter: Document) -> Any:
    """Draw samples as points of a plane.

    Parameters
    ----------
    scatter : ScatterPlot

    Returns
    -------
    matplotlib.figure.Figure
        Kinds in colours and shapes, numbers on a scale of colours.
    """
    document = scatter.to_json()
    points = np.column_stack([document["x"], document["y"]])
    kept = drawn_points(len(points))
    heading = _heading(document, len(kept))
    keys = [_key(values) for values in document["by"].values()]
    columns = [max(1, int((_WIDE - 0.2) / (longest(list(key), SMALL) + 0.35))) for key in keys]
    lines = [max(1, -(-len(key) // beside)) * _ENTRY for key, beside in zip(keys, columns, strict=True)]
    heading_high = (heading.count("\n") + 2) * line_height(TITLE)
    rows = [lines[start : start + _BESIDE] for start in range(0, len(lines), _BESIDE)]
    heights = [_HIGH + max(row) * line_height(SMALL) + heading_high for row in rows]
    sheet = new_sheet(_WIDE * len(rows[0]), sum(heights))
    axes = iter(sheet.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=heights).flat)
    for (name, values), key, beside in zip(document["by"].items(), keys, columns, strict=True):
        axis = next(axes)
        axis.set_title(f"{heading}\n{shortened_name(drawable(name), _LETTERS)}", fontsize=TITLE)
        axis.set_xlabel(drawable(document["axes"][0]), fontsize=SMALL + 1)
        axis.set_ylabel(drawable(document["axes"][1]), fontsize=SMALL + 1)
        axis.tick_params(labelsize=SMALL)
        open_frame(axis)
        own = np.empty(len(values), object)
        own[:] = values
        if key:
            _draw_kinds(axis, points, own, kept, key, beside)
        else:
            _draw_numbers(axis, points, own, kept)
    for axis in axes:
        axis.set_axis_off()
    return sheet


def _heading(document: dict[str, Any], drawn: int) -> str:
    count = counted(document["samples"], "sample", "samples") + of_groups(document["groups"])
    part = f" · {drawn:,} points are drawn" if drawn < document["samples"] else ""
    texts = (f"{document['dataset']} · {document['features']}", f"{count}{part}")
    return "\n".join(folded(drawable(text), _WIDE - 0.6, TITLE) for text in texts)


def _key(values: list[Any]) -> dict[str, tuple[str | None, dict[str, Any]]]:
    """Return label → value and how it looks; nothing of numbers. Of too many kinds the most frequent have a look."""
    counts = Counter(v for v in values if isinstance(v, str))
    if not counts and any(v is not None for v in values):
        return {}
    often = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST]
    key: dict[str, tuple[str | None, dict[str, Any]]] = {}
    often = _ordered(often)
    shown = shortened_names([drawable(name) for name in often], _LETTERS)
    for place, (name, short) in enumerate(zip(often, shown, strict=True)):
        looks = {**_POINT, "color": COLOURS[place % len(COLOURS)], "marker": _MARKERS[place // len(COLOURS)]}
        key[_free(in_legend(f"{short} ({counts[name]:,})"), key)] = (name, looks)
    rest = len(values) - sum(counts[name] for name in often)
    if rest:
        others = len(counts) - len(often)
        label = counted(others, "other", "others") if others else "none"
        label += " and none" * (others > 0 and sum(counts.values()) < len(values))
        key[_free(f"{label} ({rest:,})", key)] = (None, _REST)
    return key


def _ordered(names: list[str]) -> list[str]:
    """Return numbers by their size, and behind them names as people count."""
    numbers = {name for name in names if re.fullmatch(r"-?\d+(?:\.\d+)?", name)}
    return [*sorted(numbers, key=lambda name: (float(name), name)), *natural(sorted(set(names) - numbers))]


def _free(label: str, taken: dict[str, Any]) -> str:
    while label in taken:
        label += " "
    return label


def _draw_kinds(axis: Any, points: Any, values: Any, kept: Any, key: dict[str, Any], beside: int) -> None:
    shown = {name for name, _ in key.values() if name is not None}
    places: dict[str | None, list[int]] = {}
    for place in kept.tolist():
        places.setdefault(values[place] if values[place] in shown else None, []).append(place)
    for label, (name, looks) in sorted(key.items(), key=lambda entry: entry[1][0] is not None):
        mine = places.get(name, [])
        axis.scatter(points[mine, 0], points[mine, 1], label=label, zorder=1 + (name is not None), **looks)
    handles, labels = axis.get_legend_handles_labels()
    order = {label: place for place, label in enumerate(key)}
    both = sorted(zip(labels, handles, strict=True), key=lambda pair: order[pair[0]])
    where: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under(axis)}
    axis.legend([h for _, h in both], [text for text, _ in both], fontsize=SMALL, ncols=beside, frameon=False, **where)


def _draw_numbers(axis: Any, points: Any, values: Any, kept: Any) -> None:
    known = np.array([i for i in kept.tolist() if values[i] is not None], int)
    without = np.setdiff1d(kept, known)
    axis.scatter(points[without, 0], points[without, 1], **_REST)
    lacking = sum(value is None for value in values.tolist())
    if lacking:
        where: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under(axis)}
        axis.legend([f"none ({lacking:,})"], fontsize=SMALL, frameon=False, **where)
    numbers = np.array([float(values[i]) for i in known])
    drawn = axis.scatter(points[known, 0], points[known, 1], s=10, linewidths=0, c=numbers, cmap="viridis")
    bar = axis.figure.colorbar(drawn, ax=axis, shrink=0.8)
    bar.ax.tick_params(labelsize=SMALL)


scatter_figure = as_file(draw_scatter)
