"""Figures of scores: the confusion matrix of a run, and its metric in each fold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.errors import counted
from histokit.figures.evaluations import counts_of, score_text, title_of, with_levels
from histokit.figures.lettering import (
    drawable,
    folded,
    inches_of,
    line_height,
    longest,
    shortened_name,
    shortened_names,
)
from histokit.figures.numbers import SIDE, draw_points
from histokit.figures.panels import under
from histokit.figures.sheet import Document, Flow, as_file, new_sheet
from histokit.layout import natural_confusion
from histokit.protocol.number_metrics import ERRORS

#: Matrices of more classes have colours only, and small names.
_WITH_DIGITS = 12
_LEAST_SIDE = 2.9
#: A matrix is no larger, whatever its classes; where not all names have room, each second, fifth, tenth … has one.
_MOST_SIDE = 7.0
#: So many cells of a matrix of that side are still a pixel wide.
_MOST_CELLS = 600
#: How wide the axes of folds are, and what stands left of them: numbers and the name of the metric.
_FOLDS_WIDE, _FOLDS_BESIDE = 3.9, 0.8
#: How much more than those of panels numbers below them need; the mark before the meaning of a line.
_FOLDS_BELOW, _MARK = 0.05, 0.6
#: Bars are no wider than those of so many folds, and of more folds not each has a number.
_FEWEST, _TICKS = 4, 12
_TITLE, _SMALL, _KEY = 9, 7, 8
#: Names of classes are folded at the first of these widths, in inches, at which all have room.
_NAME_WIDE = (0.9, 1.4, 1.9, 2.6, 3.5)
#: The side of a cell that holds a count and a share, and of a small one, whose digits are small, too.
_CELL, _SMALL_CELL = 0.55, 0.4
#: What the scale of colours takes, and what is left for the meaning of lines below folds.
_SCALE, _LEAST_BELOW = 0.8, 1.2
_FEW = 6


def draw_scores(evaluations: Document | Sequence[Document]) -> Any:
    """Draw the confusion matrix and the scores by fold of each run, with those of each of its levels.

    Of a run that predicts numbers, predicted against true ones are drawn in place of a confusion matrix.

    Parameters
    ----------
    evaluations : Evaluation, or a sequence of them

    Returns
    -------
    matplotlib.figure.Figure
        For each run a confusion matrix and scores by fold, one run a row, or several where they have no room so. Of
        more than have room the first ones are drawn, and their number is told.
    """
    several = evaluations if isinstance(evaluations, Sequence) else [evaluations]
    listed, points = [], []
    for found in several:
        documents = [_in_natural_order(document) for document in with_levels(found.to_json())]
        listed += documents
        drawn = getattr(found, "points", {})
        points += [drawn.get(document.get("level", "")) for document in documents]
    places = [
        _Place.of(evaluation) if shown is None else _Place(0, [], 1, 0.0, False, "", SIDE, SIDE, SIDE)
        for evaluation, shown in zip(listed, points, strict=True)
    ]
    heights = [place.height for place in places]
    left, side = max(place.width for place in places), max(place.side for place in places)
    wide = left + _FOLDS_BESIDE + _FOLDS_WIDE
    flow = Flow.of(heights, wide)
    sheet = new_sheet(wide * flow.beside, flow.high)
    # Of axes alone: what names take beside them is left to the layout.
    ratios = [side, _FOLDS_WIDE] * flow.beside
    axes = sheet.subplots(
        len(flow.heights), 2 * flow.beside, squeeze=False, width_ratios=ratios, height_ratios=flow.heights
    ).reshape(-1, 2)
    flow.tell(sheet, "runs and levels")
    for (first, folds), evaluation, shown, place in zip(axes, listed, points, places, strict=False):
        if shown is None:
            _draw_confusion(first, evaluation, place)
        else:
            draw_points(first, evaluation, shown)
        _draw_folds(folds, evaluation)
    for axis in axes[flow.shown :].flat:
        axis.set_axis_off()
    return sheet


def _in_natural_order(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation whose confusion matrix shows class 2 before class 10."""
    if not evaluation["confusion"]:
        return evaluation
    return {**evaluation, "confusion": natural_confusion(evaluation["confusion"])}


class _Place(NamedTuple):
    """How a confusion matrix of some classes is laid out, in inches: the names at each tick can be read."""

    classes: int
    names: list[str]
    each: int
    size: float
    upright: bool
    title: str
    side: float
    width: float
    height: float

    @property
    def digits(self) -> float:
        """The size of digits in cells."""
        return 9.0 if self.classes <= _FEW else float(_SMALL)

    @property
    def ticks(self) -> range:
        """The places of the classes that have names."""
        return range(0, self.classes, self.each)

    @property
    def unnamed(self) -> str:
        """Which classes have names, where not all do."""
        return f" (each {_ordinal(self.each)} of {self.classes} classes is named)" if self.each > 1 else ""

    @classmethod
    def of(cls, evaluation: dict[str, Any]) -> _Place:
        names = [drawable(name) for name in evaluation["confusion"]["classes"]]
        few = len(names) <= _WITH_DIGITS
        size = 10.0 if few else 7.0
        cell = _CELL if len(names) <= _FEW else _SMALL_CELL
        side = min(_MOST_SIDE, max(_LEAST_SIDE, len(names) * (cell if few else line_height(size))))
        each = _each(len(names) * line_height(size) / side)
        classes, room = len(names), each * side / len(names)
        names = _in_lines(names[::each], size, room, each)
        label = longest("\n".join(names).split("\n"), size)
        upright = label > 0.9 * room
        title = folded(drawable(title_of(evaluation)), side, _TITLE)
        above = (title.count("\n") + 1) * line_height(_TITLE) + _SCALE * (not few)
        below = 1.05 * label if upright else max(name.count("\n") + 1 for name in names) * line_height(size)
        height = above + side + max(_LEAST_BELOW, below + 0.7)
        return cls(classes, names, each, size, upright, title, side, side + label + 0.8, height)


def _each(needed: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50 … that is as large as what is needed."""
    steps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    return next(step for step in steps if step >= needed - 1e-9)


def _ordinal(number: int) -> str:
    return {2: "second", 5: "fifth"}.get(number, f"{number}th")


def _in_lines(names: Sequence[str], size: float, room: float, each: int) -> list[str]:
    """Return names in lines that are as short as the rows of a matrix, so many inches high, have room for.

    Where there is no room, their middles are left out; if that makes them the same, they get the numbers of the
    classes, of which each so-and-so-many-th is named.
    """
    for inches in _NAME_WIDE:
        lines = [folded(name, inches, size) for name in names]
        if all((name.count("\n") + 1) * line_height(size) < room for name in lines):
            return lines
    letters = int(_NAME_WIDE[-1] / inches_of(" ", size))
    short = shortened_names(names, letters)
    if len(set(short)) == len(set(names)):
        return short
    return [f"{place}: {shortened_name(name, letters - 4)}" for place, name in zip(count(1, each), names)]


def _draw_confusion(axis: Any, evaluation: dict[str, Any], place: _Place) -> None:
    classes = evaluation["confusion"]["classes"]
    counts = np.array(evaluation["confusion"]["counts"], float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if place.each > 1:
        _draw_many(axis, shares)
    else:
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= _WITH_DIGITS:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            share = f"\n{_percent(shares[row, column])} %" if counts[row].any() else ""
            text = f"{counts[row, column]:,.0f}{share}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=place.digits)
    else:
        bar = axis.figure.colorbar(axis.images[0], ax=axis, shrink=0.5, aspect=30, location="top", pad=0.02)
        bar.set_label(f"share of the true class{', its square root as colour' * (place.each > 1)}", fontsize=_SMALL)
        bar.ax.tick_params(labelsize=_SMALL)
    axis.set_xticks(place.ticks, place.names, rotation=90 if place.upright else 0, fontsize=place.size)
    axis.set_yticks(place.ticks, place.names, fontsize=place.size)
    axis.set_xlabel(f"predicted{place.unnamed}")
    axis.set_ylabel("true")
    axis.set_title(place.title, fontsize=_TITLE)


def _percent(share: float) -> str:
    """Return a share in percent: only none and all are 0 and 100."""
    text = f"{100 * share:.0f}"
    return {("0", True): "<1", ("100", True): ">99"}.get((text, 0 < share < 1), text)


def _draw_many(axis: Any, shares: NDArray[np.float64]) -> None:
    """Draw the cells of many classes: the rare ones of a few pixels can still be seen."""
    from matplotlib.colors import PowerNorm

    classes = len(shares)
    block = -(-classes // _MOST_CELLS)
    shares = np.pad(shares, (0, -classes % block))
    cells = len(shares) // block
    highest = shares.reshape(cells, block, cells, block).max((1, 3))
    edges = (-0.5, len(shares) - 0.5, len(shares) - 0.5, -0.5)
    axis.imshow(highest, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", extent=edges)
    axis.set_xlim(-0.5, classes - 0.5)
    axis.set_ylim(classes - 0.5, -0.5)


def _draw_folds(axis: Any, evaluation: dict[str, Any]) -> None:
    metric = evaluation["metric"]
    each = [fold["metrics"][metric] for fold in evaluation["folds"]["each"]]
    values = [np.nan if value is None else value for value in each]
    axis.bar(range(len(values)), values, color="#7da7c9")
    beside = max(0, _FEWEST - len(values)) / 2
    axis.set_xlim(-0.6 - beside, len(values) - 0.4 + beside)
    places = [(fold["repeat"], fold["fold"]) for fold in evaluation["folds"]["each"]]
    repeated = any(repeat for repeat, _ in places)
    ticks = range(0, len(values), -(-len(values) // _TICKS))
    axis.set_xticks(ticks, [f"{places[k][0]}.{places[k][1]}" if repeated else f"{places[k][1]}" for k in ticks])
    if undefined := sum(value is None for value in each):
        axis.plot([], [], linestyle="", label=f"undefined in {undefined} of {counted(len(each), 'fold', 'folds')}")
    pooled = evaluation["metrics"][metric]
    if pooled is not None:
        axis.axhline(pooled, color="#b03a2e", label=f"pooled {score_text(pooled, metric)}")
    bounds = (evaluation["intervals"] or {}).get("metrics", {}).get(metric)
    if bounds:
        mark = "" if evaluation["intervals"]["reliable"] else ", unreliable"
        axis.axhspan(*bounds, color="#b03a2e", alpha=0.15, label=f"95 % interval{mark}")
    base = evaluation["baseline"]
    if base.get(metric) is not None:
        guess = f"{base['value']:.4g}" if "value" in base else drawable(base["class"])
        # A class that ends with a digit stands apart from the score.
        said = f"always {guess}{':' if guess[-1:].isdigit() else ''} {score_text(base[metric], metric)}"
        axis.axhline(base[metric], color="grey", linestyle=":", label=said)
    if metric in ERRORS:
        axis.set_ylim(bottom=0)
    else:
        # What is worse than guessing is below 0.
        lines = [value for value in (pooled, base.get(metric), *(bounds or ())) if value is not None]
        axis.set_ylim(min([0.0, *(1.05 * value for value in (*values, *lines) if value < 0)]), 1.02)
    axis.set_xlabel("repeat.fold" if repeated else "fold")
    axis.set_ylabel(metric.replace("_", " "))
    axis.set_title(folded(drawable(counts_of(evaluation)), _FOLDS_WIDE, _TITLE), fontsize=_TITLE)
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        # Below, where it hides no bar.
        place = {"bbox_to_anchor": (1, 0), "bbox_transform": under(axis, _FOLDS_BELOW)}
        lines = [folded(label, _FOLDS_WIDE - _MARK, _KEY) for label in labels]
        axis.legend(handles, lines, fontsize=_KEY, loc="upper right", frameon=False, **place)


scores_figure = as_file(draw_scores)
