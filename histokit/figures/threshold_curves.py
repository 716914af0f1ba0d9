"""ROC and precision-recall curves of runs: of classes, of folds, and with bands over resampled groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from histokit.errors import some
from histokit.figures.evaluations import heading_of, viewed
from histokit.figures.numbers import COLOURS
from histokit.figures.panels import WIDE, Panel, draw_panels, unit_square
from histokit.figures.sheet import Document, as_file
from histokit.layout import number_text

#: Of more classes than there are colours, as many are named: those of the lowest values.
_WORST = 5
#: Of classes without a curve so many are named.
_ABSENT = 8
_FOLD: dict[str, Any] = {"color": "#b0b0b0", "linewidth": 0.5}
_OTHERS: dict[str, Any] = {"color": "#c8c8c8", "linewidth": 0.5}
_CHANCE: dict[str, Any] = {"color": "grey", "linewidth": 0.8, "linestyle": ":"}
_ALONE, _AVERAGE = "#1f4e79", "black"
_CALLED = {"roc_auc": "AUC", "average_precision": "AP"}


def draw_roc(evaluations: Document | Sequence[Document]) -> Any:
    """Draw the ROC curves of each run and of each of its levels, a panel for each.

    Parameters
    ----------
    evaluations : Evaluation, or a sequence of them
        Made with the view ``roc``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError
        If an evaluation has no such view.
    """
    return draw_threshold_curves(evaluations, "roc")


def draw_precision_recall(evaluations: Document | Sequence[Document]) -> Any:
    """Draw the precision-recall curves of each run and of each of its levels; see `draw_roc`."""
    return draw_threshold_curves(evaluations, "precision-recall")


def draw_threshold_curves(evaluations: Document | Sequence[Document], view: str) -> Any:
    """Draw ROC curves, or precision-recall curves, by the name of the view."""
    found = viewed(evaluations, view)
    panels = [
        Panel(heading_of(evaluation, WIDE), _lines(document), partial(_draw, document=document))
        for evaluation, document in found
    ]
    return draw_panels(panels)


def _named(document: dict[str, Any]) -> dict[str, str]:
    """Return the classes that have a colour of their own."""
    defined = [curve for curve in document["curves"] if curve["value"] is not None]
    if len(document["curves"]) == 1:
        return {curve["class"]: _ALONE for curve in defined}
    if len(defined) > len(COLOURS):
        defined = sorted(defined, key=lambda curve: float(curve["value"]))[:_WORST]
    return dict(zip([curve["class"] for curve in defined], COLOURS, strict=False))


def _draw(axis: Any, document: dict[str, Any]) -> None:
    named, several = _named(document), len(document["curves"]) > 1
    steps = document["value"] == "average_precision"
    axis.plot(*_chance(document), **_CHANCE)
    for fold in document["folds"]["each"] if document["folds"] and not several else []:
        axis.plot(*_from_start(document["grid"], fold["y"], steps), **_FOLD)
    defined = [curve for curve in document["curves"] if curve["value"] is not None]
    for curve in sorted(defined, key=lambda curve: curve["class"] in named):
        colour = named.get(curve["class"])
        looks = {"color": colour, "linewidth": 1.0 if several else 1.5} if colour else _OTHERS
        x, y = _from_start(curve["x"], curve["y"], steps)
        axis.plot(x, y, drawstyle="steps-pre" if steps else "default", **looks)
    own, band = _AVERAGE if several else _ALONE, document["band"]
    if band and band["low"] is not None:
        low, high = (_from_start(document["grid"], band[side], steps) for side in ("low", "high"))
        axis.fill_between(low[0], low[1], high[1], color=own, alpha=0.15, linewidth=0)
    if several and document["average"]["y"]:
        axis.plot(*_from_start(document["grid"], document["average"]["y"], steps), color=own, linewidth=1.8)
    if document["folds"] and document["folds"]["mean"]["y"]:
        axis.plot(*_from_start(document["grid"], document["folds"]["mean"]["y"], steps), **_mean(several))
    unit_square(axis, *document["axes"])


def _mean(several: bool) -> dict[str, Any]:
    """Return what the mean over folds looks like; of several classes it is that of their mean."""
    return {"color": _AVERAGE if several else COLOURS[0], "linewidth": 1.3, "linestyle": "--"}


def _from_start(x: list[float], y: list[float], steps: bool) -> tuple[list[float], list[float]]:
    """Return a curve from its beginning: (0, 0), or of steps the height of the first one."""
    return [0.0, *x], [y[0] if steps else 0.0, *y]


def _chance(document: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return the line of scores that know nothing; that of precision differs from class to class."""
    if document["value"] == "roc_auc":
        return [0, 1], [0, 1]
    share = _share(document)
    return ([], []) if share is None else ([0, 1], [share, share])


def _share(document: dict[str, Any]) -> float | None:
    if len(document["curves"]) > 1:
        return None
    only = document["curves"][0]
    return float(only["positives"] / (only["positives"] + only["negatives"]))


def _lines(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return what the lines of a panel look like, and what they mean."""
    called, named = _CALLED[document["value"]], _named(document)
    several = len(document["curves"]) > 1
    shown = {curve["class"]: curve for curve in document["curves"]}
    found: list[tuple[dict[str, Any], str]] = []
    for name, colour in named.items():
        interval = "" if several else _interval(document)
        pooled = ", pooled" * bool(document["folds"])
        counts = f" ({shown[name]['positives']:,} of {shown[name]['positives'] + shown[name]['negatives']:,})"
        label = f"{name}{counts}{pooled}: {called} {number_text(shown[name]['value'], 3)}{interval}"
        found.append(({"color": colour, "linewidth": 1.5}, label))
    others = [curve for curve in shown.values() if curve["value"] is not None and curve["class"] not in named]
    if others:
        low, high = (number_text(bound(curve["value"] for curve in others), 3) for bound in (min, max))
        found.append((_OTHERS, f"{len(others)} other classes: {called} {low} to {high}"))
    if several and document["average"]["value"] is not None:
        value = number_text(document["average"]["value"], 3)
        mean = f"mean of {len(document['average']['classes'])} classes: {called} {value}"
        found.append(({"color": _AVERAGE, "linewidth": 1.8}, mean + _interval(document)))
    if document.get("unbanded"):
        found.append(({"linestyle": ""}, f"no band: {document['unbanded']}"))
    found += _fold_lines(document["folds"], called, several)
    if (share := _share(document)) is not None and document["value"] != "roc_auc":
        found.append((_CHANCE, f"share of the class: {number_text(share, 3)}"))
    undefined: dict[str, list[str]] = {}
    for curve in shown.values():
        if "undefined" in curve:
            undefined.setdefault(curve["undefined"], []).append(curve["class"])
    found += [({"linestyle": ""}, f"no curve: {some(names, _ABSENT)} ({why})") for why, names in undefined.items()]
    return found


def _fold_lines(folds: dict[str, Any] | None, called: str, several: bool) -> list[tuple[dict[str, Any], str]]:
    if not folds:
        return []
    defined = folds["count"] - folds["undefined"]
    if not defined:
        return [({"linestyle": ""}, f"undefined in each of {folds['count']} folds")]
    std = "" if folds["mean"]["std"] is None else f" ± {number_text(folds['mean']['std'], 3)}"
    lacking = f", undefined in {folds['undefined']}" * bool(folds["undefined"])
    part = f", {len(folds['each'])} of them drawn" * (len(folds["each"]) < defined)
    of = f"{'this mean over' if several else 'mean of'} {folds['count']} folds"
    mean = (_mean(several), f"{of}: {called} {number_text(folds['mean']['value'], 3)}{std}{lacking}")
    return [mean, *([] if several else [(_FOLD, f"each fold{part}")])]


def _interval(document: dict[str, Any]) -> str:
    band = document["band"]
    bounds = band and band["metrics"][document["value"]]
    if not bounds:
        return ""
    mark = "" if band["reliable"] else ", unreliable"
    return f" (95 % {' to '.join(number_text(bound, 3) for bound in bounds)}{mark})"


roc_figure = as_file(draw_roc)
precision_recall_figure = as_file(draw_precision_recall)
