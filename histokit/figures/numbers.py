"""Figures of predicted numbers: predicted against true, in a colour for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histokit.figures.evaluations import title_of
from histokit.figures.lettering import drawable, folded, in_legend
from histokit.protocol.number_metrics import direction

#: Colours that differ for most eyes (Okabe and Ito 2008); more groups than these have no legend.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#787878")
_MARKERS = "osD^v<>P"
_ALONE = "#1f4e79"
#: More points than these are drawn in part: evenly taken, and told.
_POINTS = 20_000
_TITLE = 9
#: So many lines can be told apart: solid and dashed ones in each colour.
_APART = 2 * len(COLOURS)
#: How the others look, behind them.
GREY: dict[str, Any] = {"color": "#c8c8c8", "linewidth": 0.5, "zorder": 1}
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


def looks_of(scores: Sequence[float | None], metric: str) -> list[dict[str, Any]]:
    """Return how lines look: of more than can be told apart, the best ones stand out and all others are grey.

    Parameters
    ----------
    scores : sequence of float
        The best score of each line; none is worse than any.
    metric : str
        Whose scores they are.
    """
    value = [-np.inf if score is None else direction(metric) * score for score in scores]
    best = sorted(sorted(range(len(value)), key=lambda number: -value[number])[:_APART])
    looks = {line: line_looks(number) for number, line in enumerate(best)}
    return [looks.get(line, GREY) for line in range(len(value))]


def key_of(looks: Sequence[dict[str, Any]], names: Sequence[str], what: str) -> list[tuple[dict[str, Any], str]]:
    """Return how lines look and what they mean; grey ones are one entry, which counts them."""
    found = [(look, name) for look, name in zip(looks, names, strict=True) if look is not GREY]
    grey = len(names) - len(found)
    return [*found, *([(GREY, f"{grey} more {what}, none of a better score")] * bool(grey))]


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
        label = in_legend(drawable(name)) if listed else None
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
