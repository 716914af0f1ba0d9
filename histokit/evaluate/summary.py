"""The metrics of predictions: pooled, by class, by fold, and their bootstrap intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Codes, Frame
from histokit.protocol.metrics import class_metrics, ratio
from histokit.protocol.number_metrics import ERRORS, NumberScorer, undefined_reasons
from histokit.protocol.scorers import Scorer, defined, reasons, spread

LEVEL = 0.95
#: Intervals of fewer groups are marked unreliable.
ENOUGH_GROUPS = 10
#: Of classes that are in more groups, hardly any resample is without a sample: one of 10 to the 13th.
_RARE = 30
#: More than this share of them moves the bounds of intervals.
FEW_LACKING = 0.01
#: The mean of the areas in each fold: decision values of different folds share no scale.
FOLD_AREA = "roc_auc_fold_mean"


def summarise(frame: Frame, resampling: Resampling) -> dict[str, Any]:
    """Return the metrics of predictions as JSON-serialisable data.

    Parameters
    ----------
    frame : Frame
    resampling : Resampling

    Returns
    -------
    dict
        ``n``, ``groups``, ``metrics`` (none where undefined), ``undefined`` (metric → reason), ``per_class`` and
        ``confusion`` (empty of numbers), ``folds``, ``baseline``, ``intervals``.
    """
    units, grouped = frame.units()
    folds = _folds(frame)
    return {
        "n": len(frame),
        "groups": int(units.max()) + 1 if grouped else None,
        **(_of_numbers(frame) if frame.numbers else _of_classes(frame, folds)),
        "folds": folds,
        "intervals": intervals(frame, resampling) if resampling.resamples else {},
    }


def _of_classes(frame: Frame, folds: dict[str, Any]) -> dict[str, Any]:
    scorer = _class_scorer(frame)
    values = scorer.values()
    metrics = {name: defined(value) for name, value in values.items()} | {FOLD_AREA: folds["mean"]["roc_auc"]}
    undefined = reasons(values, frame.present)
    if metrics[FOLD_AREA] is None:
        undefined[FOLD_AREA] = "every fold has samples of one class only"
    return {
        "metrics": metrics,
        "undefined": undefined,
        "per_class": _per_class(frame, scorer),
        "confusion": {"classes": list(frame.classes), "counts": scorer.confusion()[0].astype(int).tolist()},
        "baseline": _baseline(frame),
    }


def _of_numbers(frame: Frame) -> dict[str, Any]:
    values = frame.scorer().values()
    mean = np.full(len(frame), frame.true.mean())
    guessed = NumberScorer(frame.true, mean).values(("r2", *ERRORS))
    return {
        "metrics": {name: defined(value) for name, value in values.items()},
        "undefined": undefined_reasons(values, frame.true, frame.predicted),
        "per_class": {},
        "confusion": {},
        "baseline": {"value": float(mean[0]), **{name: defined(value) for name, value in guessed.items()}},
    }


def _class_scorer(frame: Frame) -> Scorer:
    scorer = frame.scorer()
    assert isinstance(scorer, Scorer)
    return scorer


def _per_class(frame: Frame, scorer: Scorer) -> dict[str, dict[str, Any]]:
    each, areas = class_metrics(scorer.confusion()[0]), scorer.areas
    why = {"precision": "never predicted", "recall": "no such sample", "f1": "neither there nor predicted"}
    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(frame.classes):
        area = float(areas.get(k, next(iter(areas.values())))[0])
        values = {metric: float(each[metric][k]) for metric in why} | {"roc_auc": area}
        document: dict[str, Any] = {metric: defined(value) for metric, value in values.items()}
        document["support"] = int(each["support"][k])
        causes = why | {"roc_auc": "all samples are of one class, or none is of this one"}
        undefined = {metric: causes[metric] for metric, value in values.items() if np.isnan(value)}
        found[name] = document | ({"undefined": undefined} if undefined else {})
    return found


def _folds(frame: Frame) -> dict[str, Any]:
    each = [(r, f, len(rows), frame.take(rows).scorer().values()) for r, f, rows in frame.folds()]
    table = {name: np.array([values[name] for *_, values in each]) for name in frame.metrics}
    known = {name: column[~np.isnan(column)] for name, column in table.items()}
    return {
        "count": len(each),
        "mean": {name: float(v.mean()) if len(v) else None for name, v in known.items()},
        "std": {name: spread(column) for name, column in table.items()},
        "undefined": {name: len(each) - len(v) for name, v in known.items() if len(v) < len(each)},
        "each": [
            {"repeat": r, "fold": f, "n": n, "metrics": {name: defined(v) for name, v in values.items()}}
            for r, f, n, values in each
        ],
    }


def absent_classes(frame: Frame) -> list[str]:
    """Say in how many folds a class has no sample: means over classes are of the others there."""
    folds, every = frame.folds(), len(np.unique(frame.true))
    lacking = sum(len(np.unique(frame.true[rows])) < every for *_, rows in folds) if frame.classes else 0
    if not lacking or len(folds) < 2:
        return []
    lack = "lacks" if lacking == 1 else "lack"
    return [
        f"{lacking} of {len(folds)} folds {lack} samples of some class: their balanced_accuracy, roc_auc and macro "
        "metrics are of the others, or undefined, and the means over folds are of what there is"
    ]


def _baseline(frame: Frame) -> dict[str, Any]:
    """Return what always guessing the most frequent class scores."""
    counts = np.bincount(frame.true, minlength=len(frame.classes))
    return {
        "class": frame.classes[int(counts.argmax())],
        "accuracy": float(counts.max() / counts.sum()),
        "balanced_accuracy": float(1 / (counts > 0).sum()),
    }


def draw_weights(groups: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each group is drawn, (resamples, groups), when as many are drawn as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def intervals(frame: Frame, resampling: Resampling) -> dict[str, Any]:
    """Return percentile bootstrap intervals of all metrics, resampling groups."""
    units, grouped = frame.units()
    count = int(units.max()) + 1
    weights = draw_weights(count, resampling.resamples, resampling.seed)
    values = frame.scorer(units).resample(weights)
    if not frame.numbers:
        values[FOLD_AREA] = fold_mean(frame, units, weights, "roc_auc")
    found = interval_document(values, count, resampling, (resampling.group or "group") if grouped else frame.unit)
    lacking = lacking_resamples(frame, units, weights)
    return found | ({"lacking_resamples": lacking} if lacking else {})


def lacking_resamples(frame: Frame, units: Codes, weights: NDArray[np.float64]) -> int:
    """Return in how many resamples a class has no sample: means over classes are of the others there."""
    lacking = np.zeros(len(weights), bool)
    for k in np.unique(frame.true) if frame.classes else ():
        owners = np.unique(units[frame.true == k])
        if len(owners) <= _RARE:
            lacking |= weights[:, owners].sum(1) == 0
    return int(lacking.sum())


def fold_mean(frame: Frame, units: Codes, weights: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Return the mean over folds of a metric in (B, groups) resamples."""
    total, known = np.zeros(len(weights)), np.zeros(len(weights))
    for *_, rows in frame.folds():
        value = frame.take(rows).scorer(units[rows]).resample(weights, [metric])[metric]
        total += np.nan_to_num(value)
        known += ~np.isnan(value)
    return ratio(total, known)


def interval_document(
    values: dict[str, NDArray[np.float64]], count: int, resampling: Resampling, unit: str
) -> dict[str, Any]:
    """Return the percentile interval of each metric's resampled values, and how far to trust them."""
    found = {name: percentile_interval(column) if count > 1 else None for name, column in values.items()}
    undefined = {name: int(np.isnan(column).sum()) for name, column in values.items() if np.isnan(column).any()}
    return {
        "level": LEVEL,
        "resamples": resampling.resamples,
        "seed": resampling.seed,
        "unit": unit,
        "groups": count,
        "reliable": count >= ENOUGH_GROUPS,
        "metrics": found,
        "undefined_resamples": undefined,
    }


def percentile_interval(values: NDArray[np.float64]) -> list[float] | None:
    """Return the bounds of the central 95 % of the defined values."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def percentile_intervals(values: NDArray[np.float64]) -> list[list[float] | None]:
    """Return what `percentile_interval` gives of each row."""
    whole: NDArray[np.bool_] = ~np.isnan(values).any(1) & (values.shape[1] > 0)
    bounds = np.empty((0, 2))
    if whole.any():
        bounds = np.quantile(values[whole], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1).T
    known = iter(bounds.tolist())
    return [next(known) if each else percentile_interval(row) for each, row in zip(whole.tolist(), values, strict=True)]
