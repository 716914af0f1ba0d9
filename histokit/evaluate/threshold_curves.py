"""ROC and precision-recall curves: what each threshold on a score gives, pooled, by fold and over resampled groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Frame
from histokit.evaluate.summary import draw_weights, interval_document, percentile_interval
from histokit.protocol.metrics import ratio
from histokit.protocol.scorers import Ranking, Scorer, area_below, counts_above, defined, spread

Floats = NDArray[np.float64]

#: A curve has no more points than these, and a view the curves of no more folds: evenly taken.
_POINTS = 200
_FOLDS = 50
#: Of more classes there are no bands: a thousand resamples of hundreds of classes take an hour.
_BANDED = 50
_CHUNK = 4_000_000


class _Kind(NamedTuple):
    """A kind of curve of samples counted from the highest score down.

    Parameters
    ----------
    axes : tuple of 2 str
    value : str
        The number that sums a curve up.
    grid : (G,) array
        Where curves are averaged: fixed values of x.
    points : callable
        (T,) counts of positives and negatives → x and y of the curve.
    heights : callable
        (B, T) counts of both → y on the grid, (B, G).
    values : callable
        (B, T) counts of both → the (B,) values.
    """

    axes: tuple[str, str]
    value: str
    grid: Floats
    points: Callable[[Floats, Floats], tuple[Floats, Floats]]
    heights: Callable[[Floats, Floats], Floats]
    values: Callable[[Floats, Floats], Floats]


def _roc_points(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return the corners of the curve, what lies on a line between two of them left out."""
    x, y = np.concatenate([[0.0], negative]), np.concatenate([[0.0], positive])
    inner = np.diff(x)[:-1] * np.diff(y)[1:] != np.diff(x)[1:] * np.diff(y)[:-1]
    corners = np.concatenate([[True], inner, [True]])
    return x[corners] / x[-1], y[corners] / y[-1]


def _roc_heights(positive: Floats, negative: Floats) -> Floats:
    """Return the highest true positive rate at each false positive rate, on the straight lines between thresholds."""
    grid, found = _ROC_GRID, np.empty((len(positive), len(_ROC_GRID)))
    for row, counts in enumerate(zip(negative, positive, strict=True)):
        across, up = (np.concatenate([[0.0], each / each[-1]]) for each in counts)
        left = np.searchsorted(across, grid, side="right") - 1
        right = np.minimum(left + 1, len(across) - 1)
        share = np.nan_to_num(ratio(grid - across[left], across[right] - across[left]))
        found[row] = up[left] + share * (up[right] - up[left])
    return found


def _recall_points(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return recall and precision wherever the recall grows: between two of them, the curve is a step."""
    grows = np.diff(positive, prepend=0.0) > 0
    return positive[grows] / positive[-1], positive[grows] / (positive + negative)[grows]


def _recall_heights(positive: Floats, negative: Floats) -> Floats:
    """Return the precision at the highest threshold that reaches each recall."""
    found = np.empty((len(positive), len(_RECALL_GRID)))
    for row, each in enumerate(positive):
        places = np.searchsorted(each / each[-1], _RECALL_GRID, side="left")
        found[row] = ratio(each[places], each[places] + negative[row, places])
    return found


def _average_precision(positive: Floats, negative: Floats) -> Floats:
    precision = positive + negative
    np.divide(positive, precision, out=precision, where=precision > 0)
    found: Floats = np.einsum("ij,ij->i", np.diff(positive, axis=1, prepend=0.0), precision)
    return found / positive[:, -1]


_ROC_GRID = np.arange(101) / 100
_RECALL_GRID = np.arange(1, 101) / 100
KINDS = {
    "roc": _Kind(
        ("false positive rate", "true positive rate"), "roc_auc", _ROC_GRID, _roc_points, _roc_heights, area_below
    ),
    "precision-recall": _Kind(
        ("recall", "precision"),
        "average_precision",
        _RECALL_GRID,
        _recall_points,
        _recall_heights,
        _average_precision,
    ),
}


def threshold_curves(frame: Frame, resampling: Resampling, name: str) -> dict[str, Any]:
    """Return the ROC or precision-recall curves of predictions: of each class against the rest, or of the positive one.

    Curves are averaged vertically (Fawcett 2006, An introduction to ROC analysis, algorithm 4): at fixed false positive
    rates the mean of the true positive rates, between thresholds on a straight line; at fixed recalls the mean of the
    precisions, a step between thresholds, where a straight line would be too high (Davis and Goadrich 2006). The
    average precision is the sum of the precisions at each threshold, weighted by the growth of the recall. Bands are
    the central 95 % of resamples of groups at each of the same places.

    Parameters
    ----------
    frame : Frame
        Of classes.
    resampling : Resampling
    name : str
        ``roc`` or ``precision-recall``.

    Returns
    -------
    dict
        ``axes``, ``value`` (``roc_auc`` or ``average_precision``), ``scores`` (their kind), ``curves`` (``class``,
        ``positives``, ``negatives``, ``value``, and ``x`` and ``y`` of at most 200 points, or ``undefined``: why);
        ``grid``, and on it ``average`` (of the classes that are defined; with two classes the curve of the positive
        one), ``folds`` (``mean``, and ``each`` of at most 50) and ``band``; ``unbanded``, why there is none although
        groups are resampled. What there is not is none.
    """
    kind = KINDS[name]
    many = len(frame.classes) > _BANDED and bool(resampling.resamples)
    scorer = _class_scorer(frame)
    curves = [_curve(kind, frame.classes[k], ranking) for k, ranking in scorer.rankings.items()]
    value, heights = next(_averages(kind, scorer, np.ones((1, scorer.unit_count))))
    average = {"value": defined(value[0]), "classes": [c["class"] for c in curves if c["value"] is not None]}
    return {
        "axes": list(kind.axes),
        "value": kind.value,
        "scores": frame.kind,
        "curves": curves,
        "grid": kind.grid.tolist(),
        "average": {**average, "y": _drawn(heights[0])},
        "folds": _folds(kind, frame),
        "band": _band(kind, frame, resampling) if resampling.resamples and not many else None,
        "unbanded": f"of more than {_BANDED} classes" if many else None,
    }


def _class_scorer(frame: Frame, units: NDArray[np.intp] | None = None) -> Scorer:
    scorer = frame.scorer(units)
    assert isinstance(scorer, Scorer)
    return scorer


def _curve(kind: _Kind, name: str, ranking: Ranking) -> dict[str, Any]:
    every = ranking.shares(np.zeros(len(ranking.order), np.intp), 1)
    positive, negative = (counts_above(part, np.ones((1, 1))) for part in every)
    counts = {"positives": int(positive[0, -1]), "negatives": int(negative[0, -1])}
    if not all(counts.values()):
        why = "no such sample" if counts["negatives"] else "all samples are of this class"
        return {"class": name, **counts, "value": None, "undefined": why}
    x, y = _thinned(*kind.points(positive[0], negative[0]))
    value = float(kind.values(positive, negative)[0])
    return {"class": name, **counts, "value": value, "x": x.tolist(), "y": y.tolist()}


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return no more points than are drawn, evenly taken along the curve."""
    if len(x) <= _POINTS:
        return x, y
    along = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _POINTS)))
    return x[kept], y[kept]


def _averages(kind: _Kind, scorer: Scorer, weights: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield the (B,) means of values and (B, G) of heights over the classes that are defined, some resamples at a time.

    Parameters
    ----------
    weights : (B, units) array
    """
    rows = max(1, _CHUNK // scorer.count)
    classes = [ranking.shares(scorer.units, weights.shape[1]) for ranking in scorer.rankings.values()]
    for start in range(0, len(weights), rows):
        part = weights[start : start + rows]
        value, heights = np.zeros(len(part)), np.zeros((len(part), len(kind.grid)))
        known = np.zeros(len(part))
        for shares in classes:
            positive, negative = (counts_above(each, part) for each in shares)
            there = (positive[:, -1] > 0) & (negative[:, -1] > 0)
            if not there.all():
                positive, negative = positive[there], negative[there]
            value[there] += kind.values(positive, negative)
            heights[there] += kind.heights(positive, negative)
            known += there
        yield ratio(value, known), ratio(heights, known[:, None])


def _folds(kind: _Kind, frame: Frame) -> dict[str, Any] | None:
    places = frame.folds()
    if len(places) == 1:
        return None
    values, heights = np.empty(len(places)), np.empty((len(places), len(kind.grid)))
    for number, (_, _, rows) in enumerate(places):
        scorer = _class_scorer(frame.take(rows))
        value, y = next(_averages(kind, scorer, np.ones((1, scorer.unit_count))))
        values[number], heights[number] = value[0], y[0]
    known = np.flatnonzero(~np.isnan(values))
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _FOLDS)).astype(int))]
    return {
        "count": len(places),
        "undefined": len(places) - len(known),
        "mean": {
            "value": float(values[known].mean()) if len(known) else None,
            "std": spread(values),
            "y": heights[known].mean(0).tolist() if len(known) else None,
        },
        "each": [
            {"repeat": places[k][0], "fold": places[k][1], "value": float(values[k]), "y": heights[k].tolist()}
            for k in shown
        ],
    }


def _band(kind: _Kind, frame: Frame, resampling: Resampling) -> dict[str, Any]:
    """Return the interval of the value, and at each place of the grid that of the curve."""
    units, grouped = frame.units()
    count = int(units.max()) + 1
    parts = list(_averages(kind, _class_scorer(frame, units), draw_weights(count, *resampling[:2])))
    values, heights = (np.concatenate(column) for column in zip(*parts, strict=True))
    unit = (resampling.group or "group") if grouped else frame.unit
    document = interval_document({kind.value: values}, count, resampling, unit)
    bounds = [percentile_interval(column) for column in heights.T] if count > 1 else []
    low, high = ([bound[side] for bound in bounds if bound] for side in (0, 1))
    there = bool(bounds) and len(low) == len(bounds)
    return {**document, "low": low if there else None, "high": high if there else None}


def _drawn(heights: Floats) -> list[float] | None:
    return None if np.isnan(heights).any() else heights.tolist()
