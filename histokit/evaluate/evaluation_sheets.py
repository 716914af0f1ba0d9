"""Evaluations as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from histokit.errors import counted
from histokit.layout import Pieces, Sheet, natural_confusion, number_text
from histokit.protocol.metrics import is_shown

if TYPE_CHECKING:
    from histokit.evaluate.evaluate import Evaluation

#: Whether there is no room for all columns of a table.
Narrow = Callable[[list[Any], list[list[Any]]], bool]

_CONFUSION_COLUMNS = 12
_CONFUSIONS = 20
#: Of more classes those of the lowest and of the highest F1 are shown.
_CLASSES, _WORST, _BEST = 50, 20, 5


def evaluation_sheets(evaluation: Evaluation, only: str | None, is_narrow: Narrow) -> Iterator[Sheet]:
    """Yield the tables of an evaluation: metrics, those of units, classes and confusions.

    Parameters
    ----------
    evaluation : Evaluation
    only : str, optional
        The metric that is shown alone.
    is_narrow : callable
        Whether there is no room for a table, given its columns and rows.
    """
    yield _metrics(evaluation, only)
    # Of each sample there are as many as repeats.
    several = "predictions" * any(fold["repeat"] for fold in evaluation.folds["each"])
    for name, entry in evaluation.by.items():
        yield _units(name, entry, evaluation, only)
        if only is None and entry["kind"] == "level" and entry["per_class"]:
            yield from _classes(f"{several or 'units'} of {name}", entry["per_class"], entry["confusion"], is_narrow)
    if only is None and evaluation.per_class:
        yield from _classes(several or "samples", evaluation.per_class, evaluation.confusion, is_narrow)


def _metrics(evaluation: Evaluation, only: str | None) -> Sheet:
    facts = (evaluation.run, evaluation.dataset, evaluation.address, evaluation.classifier, evaluation.split)
    counts = {"predictions": evaluation.n, "groups": evaluation.groups, "folds": evaluation.folds["count"]}
    shown = {what: count for what, count in counts.items() if count and (count > 1 or what != "folds")}
    sizes = ", ".join(counted(count, what.removesuffix("s"), what) for what, count in shown.items())
    title = f"{'  '.join(filter(None, facts))}  ({sizes})"
    columns: list[Any] = ["metric", "pooled", "mean over folds", "std"] + ["95 % interval"] * bool(evaluation.intervals)
    folds = evaluation.folds
    rows = [
        [name, evaluation.metrics[name], mean, folds["std"][name], *_interval(evaluation.intervals, name)]
        for name, mean in folds["mean"].items()
        if _is_wanted(name, evaluation, only)
    ]
    rows += [
        [
            Pieces([f"{name},", "always", *evaluation.guess.split(" ")]),
            value,
            None,
            None,
            *[None] * bool(evaluation.intervals),
        ]
        for name, value in evaluation.baseline.items()
        if name in folds["mean"] and _is_wanted(name, evaluation, only)
    ]
    return Sheet(title, columns, rows)


def _units(name: str, entry: dict[str, Any], evaluation: Evaluation, only: str | None) -> Sheet:
    kind = "scores of units" if entry["kind"] == "level" else "metric inside each unit"
    inner = [
        [metric, value, *_undefined(entry, metric), *_interval(entry.get("intervals") or {}, metric)]
        for metric, value in entry["metrics"].items()
        if _is_wanted(metric, evaluation, only)
    ]
    extra = ["undefined in"] * (entry["kind"] == "per-unit") + ["95 % interval"] * bool(entry.get("intervals"))
    units = counted(entry["units"], "unit", "units")
    predicted = entry.get("n", 0)
    units += f", {predicted:,} predictions" * (predicted > entry["units"])
    return Sheet(f"by {name}: {kind}, {units}", ["metric", "value", *extra], inner)


def _is_wanted(metric: str, evaluation: Evaluation, only: str | None) -> bool:
    return is_shown(metric, evaluation.metric) if only is None else metric == only


def _classes(
    what: str, per_class: dict[str, dict[str, Any]], confusion: dict[str, Any], is_narrow: Narrow
) -> Iterator[Sheet]:
    confusion = natural_confusion(confusion)
    classes = confusion["classes"]
    per_class = {name: per_class[name] for name in classes if name in per_class}
    few = len(classes) <= _CONFUSION_COLUMNS
    measures = ("precision", "recall", "f1", "roc_auc", "support")
    each = [[name, *(values[m] for m in measures)] for name, values in per_class.items()]
    columns: list[Any] = ["true class", *measures]
    wide = [[*row, *counts] for row, counts in zip(each, confusion["counts"], strict=True)]
    heads = [*columns, *(Pieces(["as", name]) for name in classes)]
    if few and not is_narrow(heads, wide):
        yield Sheet(f"{what} by class, and confusion", heads, wide)
        return
    yield from _each_class(what, columns, each)
    pairs = [
        [true, predicted, count]
        for true, counts in zip(classes, confusion["counts"], strict=True)
        for predicted, count in zip(classes, counts, strict=True)
        if count and (few or true != predicted)
    ]
    pairs = pairs if few else sorted(pairs, key=lambda pair: -pair[2])
    title = f"confusion of {what} (of other pairs there are none)" if few else f"most frequent confusions of {what}"
    hidden = (
        f" ({_CONFUSIONS} of {len(pairs)}; all: --figure or --json)" if len(pairs) > _CONFUSIONS and not few else ""
    )
    yield Sheet(title + hidden, ["true", "predicted", "count"], pairs if few else pairs[:_CONFUSIONS])


def _each_class(what: str, columns: list[Any], each: list[list[Any]]) -> Iterator[Sheet]:
    """Yield the measures of each class; of many, of the worst and of the best ones."""
    if len(each) <= _CLASSES:
        yield Sheet(f"{what} by class", columns, each)
        return
    place = columns.index("f1")
    ranked = sorted((row for row in each if row[place] is not None), key=lambda row: float(row[place]))
    worst, best = ranked[:_WORST], ranked[max(_WORST, len(ranked) - _BEST) :]
    title = f"{what} by class: the {len(worst)} of {len(each)} with the lowest f1 (all: --json)"
    yield Sheet(title, columns, worst)
    if best:
        yield Sheet(f"{what} by class: the {len(best)} with the highest f1", columns, best)


def _interval(intervals: dict[str, Any], metric: str) -> list[Pieces | None]:
    if not intervals:
        return []
    bounds = intervals["metrics"].get(metric)
    mark = [] if intervals["reliable"] else ["(unreliable)"]
    return [Pieces([f"{number_text(bounds[0])} to {number_text(bounds[1])}", *mark]) if bounds else None]


def _undefined(entry: dict[str, Any], metric: str) -> list[int]:
    return [entry["undefined_units"][metric]] if entry["kind"] == "per-unit" else []
