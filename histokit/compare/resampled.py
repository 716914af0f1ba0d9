"""A metric in thousands of resamples of groups, from what adds up over groups or pairs of groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histokit.evaluate.frame import Codes, Frame
from histokit.protocol.metrics import count_metrics, ratio

Floats = NDArray[np.float64]


def resample_counts(frame: Frame, units: Codes, weights: Floats, metric: str) -> tuple[Floats, Floats]:
    """Return a metric that follows from the confusion matrix: in each resample, and in each fold.

    Parameters
    ----------
    frame : Frame
    units : (n,) array of int
        The group of each prediction.
    weights : (B, groups) array
        How often each group was drawn.
    metric : str

    Returns
    -------
    (B,) array, (folds,) array
        NaN where undefined.
    """
    k = len(frame.classes)
    cells = frame.true * k + frame.predicted
    values = frame.scorer(units).resample(weights, [metric])[metric]
    each = []
    for *_, rows in frame.folds():
        confusion = np.bincount(cells[rows], minlength=k * k).reshape(k, k).astype(float)
        each.append(count_metrics(confusion, [metric])[metric])
    return values, np.array(each)


def resample_numbers(frame: Frame, units: Codes, weights: Floats, metric: str) -> tuple[Floats, Floats]:
    """Return a metric of predicted numbers: in each resample, and in each fold; see `resample_counts`."""
    values = frame.scorer(units).resample(weights, [metric])[metric]
    each = [frame.take(rows).scorer().values([metric])[metric] for *_, rows in frame.folds()]
    return values, np.array(each)


def resample_areas(frame: Frame, units: Codes, weights: Floats) -> tuple[Floats, Floats]:
    """Return the mean over folds of the area under the ROC curve in each resample, and the area in each fold.

    The first row of `weights` is that of the data as they are.
    """
    by_fold = np.array([_area(frame.take(rows), units[rows], weights) for *_, rows in frame.folds()])
    known = ~np.isnan(by_fold)
    return ratio(np.nan_to_num(by_fold).sum(0), known.sum(0)), by_fold[:, 0]


def _area(frame: Frame, units: Codes, weights: Floats) -> Floats:
    """Return the (B,) areas of the positive one of two classes, or the mean over classes where they are defined."""
    if np.isnan(frame.scores).any():
        return np.full(len(weights), np.nan)
    return frame.scorer(units).resample(weights, ["roc_auc"])["roc_auc"]
