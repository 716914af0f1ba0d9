"""What figures show, in words for those who cannot see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from histokit.compare.compare import Comparison
from histokit.errors import counted
from histokit.evaluate.curves import RunCurves
from histokit.evaluate.evaluate import Evaluation
from histokit.figures.ranks import shown_methods
from histokit.layout import number_text


def describe_scores(found: Evaluation) -> str:
    """Return what stands in the figure of scores: over all, and in folds."""
    shown = "Confusion matrix" if found.per_class else "Predicted against true numbers"
    values = [fold["metrics"][found.metric] for fold in found.folds["each"]]
    folds = f"{_range(values)} in {counted(len(values), 'fold', 'folds')}"
    metric = found.metric.replace("_", " ")
    return (
        f"{shown} and {metric} by fold of the run {found.run}: {_number(found.metrics[found.metric])} over all, {folds}"
    )


def describe_view(found: Evaluation, name: str, what: str) -> str:
    """Return what stands in the figure of a view, by the name of the view and what it shows."""
    view = found.views[name]
    said = _VIEWS[name](view)
    return f"{what} of the run {found.run}: {said}"


def describe_training(found: RunCurves) -> str:
    """Return what stands in the figure of training curves: where each begins and ends."""
    said = []
    for series, measure in found.measures:
        means = [epoch[series][measure]["mean"] for epoch in found.epochs if measure in epoch[series]]
        name = f"{series} {measure.replace('_', ' ')}"
        said.append(f"{name} from {_number(means[0])} to {_number(means[-1])}")
    epochs = counted(len(found.epochs), "epoch", "epochs")
    return f"Training curves of the run {found.run} over {epochs}: {', '.join(said)}"


def describe_comparison(found: Comparison) -> str:
    """Return what stands in the figure of a comparison: the best and the worst of the methods that it shows."""
    first, *others = shown_methods(found.to_json(pairs=False))
    if found.ranking:
        values = [(method["average_rank"], method["method"]) for method in first.methods]
        count, where = len(first.every), "over datasets"
        what = "Average ranks"
    else:
        column = first.columns[0]["column"]
        scores = [method["cells"][column]["score"] for method in first.every]
        values = [(score, m["method"]) for score, m in zip(scores, first.methods, strict=False) if score is not None]
        count, where = sum(score is not None for score in scores), f"on {column}"
        what = "Scores"
        where += f", and on {counted(len(found.columns) - 1, 'more column', 'more columns')}" * bool(others)
    drawn = f" (drawn: {first.left_out})" * bool(first.left_out)
    ends = [f"{name} {_number(value)}" for value, name in dict.fromkeys([*values[:1], *values[-1:]])]
    text = f"{what} of {counted(count, 'method', 'methods')} {where}{drawn}"
    return f"{text}: {' to '.join(ends)}" if ends else text


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    few = f"{value:.3g}"
    return number_text(value, 3) if few == "1" and value < 1 else few


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "undefined"
    low, high = _number(min(known)), _number(max(known))
    return low if low == high else f"{low} to {high}"


def _curves(view: Mapping[str, Any]) -> str:
    called = view["value"].replace("_", " ")
    of = f" of {len(view['curves'])} classes" * (len(view["curves"]) > 1)
    return f"{called} {_range([curve['value'] for curve in view['curves']])}{of}"


def _calibration(view: Mapping[str, Any]) -> str:
    return f"expected calibration error {_number(view['ece'])}, Brier score {_number(view['brier'])}"


def _groups(view: Mapping[str, Any]) -> str:
    worst, best = view["groups"][0], view["groups"][-1]
    return f"from {_number(worst['score'])} in {worst['group']} to {_number(best['score'])} in {best['group']}"


_VIEWS = {"roc": _curves, "precision-recall": _curves, "calibration": _calibration, "groups": _groups}
