"""Figures of predicted numbers: predicted against true, in a colour for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histokit.figures.evaluations import title_of
from histokit.figures.lettering import drawable, folded

#: Colours that differ for most eyes (Okabe and Ito 2008); more groups than these have no legend.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#787878")
_MARKERS = "osD^v<>P"
_ALONE = "#1f4e79"
#: More points than these are drawn in part: evenly taken, and told.
_POINTS = 20_000
_TITLE = 9
#: What units of a level are of that do not lie in one group.
_SEVERAL = "several groups"

#: How wide and high it is, in inches.
SIDE = 4.2


def line_looks(number: int) -> dict[str, Any]:
    """Return how a line looks among others, by its number: from the ninth on, lines are dashed."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 1.2,
        "linestyle": "-" if number < len(COLOURS) else "--",
    }


def drawn_points(count: int) -> np.ndarray[Any, Any]:
    """Return which of so many points are drawn: all of them, or 20,000 that are evenly taken."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(int))


def draw_points(axis: Any, evaluation: Mapping[str, Any], points: Mapping[str, Sequence[Any]]) -> None:
    """Draw predicted against true numbers, and the line on which they are equal.

    Parameters
    ----------
    axis : matplotlib axes
    evaluation : mapping
        An evaluation, or one of the same form of the units of a level.
    points : mapping
        ``true``, ``predicted`` and ``group``.
    """
    true, predicted = (np.asarray(points[name], float) for name in ("true", "predicted"))
    groups = np.array([_SEVERAL if group is None else str(group) for group in points["group"]], object)
    kept = drawn_points(len(true))
    names = sorted(set(groups.tolist()))
    listed = 1 < len(names) <= len(COLOURS)
    low, high = (float(edge) for edge in (min(true.min(), predicted.min()), max(true.max(), predicted.max())))
    axis.plot([low, high], [low, high], color="grey", linewidth=0.8, linestyle=":")
    for number, name in enumerate(names):
        own = kept[groups[kept] == name]
        colour = COLOURS[number % len(COLOURS)] if len(names) > 1 else _ALONE
        label = drawable(name) if listed else None
        axis.scatter(true[own], predicted[own], s=9, color=colour, alpha=0.7, linewidths=0, label=label)
    axis.set_xlabel("true")
    axis.set_ylabel("predicted")
    axis.set_aspect("equal", adjustable="datalim")
    part = f" · {len(kept):,} of {len(true):,} points" if len(kept) < len(true) else ""
    title = title_of(evaluation) + part
    axis.set_title(folded(drawable(title), SIDE - 0.7, _TITLE), fontsize=_TITLE)
    if listed:
        # Below, where it hides no point.
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, frameon=False)
