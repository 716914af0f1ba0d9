"""The metrics of `--metric` as a table of data, each higher for better predictions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Divide, with NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


class Counts:
    """What confusion matrices count.

    Parameters
    ----------
    confusion : (..., K, K) array
        Counts or weights, true classes in rows.

    Attributes
    ----------
    hits, support, predicted : (..., K) arrays
        Of each class: right predictions, samples, predictions.
    precision, recall, f1 : (..., K) arrays
        NaN where undefined.
    right, total, classes, either : (...) arrays
        Right predictions and samples of all classes; how many classes have samples, and samples or predictions.
    mean_recall : (...) array
        The mean over the classes that have samples.
    """

    def __init__(self, confusion: Floats):
        self.hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        self.support, self.predicted = confusion.sum(-1), confusion.sum(-2)
        self.right, self.total = self.hits.sum(-1), confusion.sum((-2, -1))
        self.classes = (self.support > 0).sum(-1)
        self.either = (self.support + self.predicted > 0).sum(-1)

    @cached_property
    def precision(self) -> Floats:
        return ratio(self.hits, self.predicted)

    @cached_property
    def recall(self) -> Floats:
        return ratio(self.hits, self.support)

    @cached_property
    def mean_recall(self) -> Floats:
        return ratio(np.nan_to_num(self.recall).sum(-1), self.classes)

    @cached_property
    def f1(self) -> Floats:
        return ratio(2 * self.hits, self.support + self.predicted)

    def macro(self, each: Floats) -> Floats:
        """Return the mean over the classes that occur or are predicted, of which undefined values count as zero."""
        return ratio(np.nan_to_num(each).sum(-1), self.either)

    def weighted(self, each: Floats) -> Floats:
        """Return the mean over classes by their samples, undefined values counting as zero."""
        return ratio((np.nan_to_num(each) * self.support).sum(-1), self.total)


#: The one metric that is of the order of scores, not of counts.
AREA = "roc_auc"


class Metric(NamedTuple):
    """A row of the table of metrics.

    Parameters
    ----------
    value : callable, optional
        Of counts, as scikit-learn defines it; NaN where it is undefined. None for what is of scores.
    over_classes : bool
        Whether it is over the classes that occur, be they rare or not, so that it jumps as the last sample of one goes.
    """

    value: Callable[[Counts], Floats] | None
    over_classes: bool = True


METRICS: dict[str, Metric] = {
    "accuracy": Metric(lambda counts: ratio(counts.right, counts.total), over_classes=False),
    "balanced_accuracy": Metric(lambda counts: counts.mean_recall),
    AREA: Metric(None),
    "precision_macro": Metric(lambda counts: counts.macro(counts.precision)),
    "recall_macro": Metric(lambda counts: counts.macro(counts.recall)),
    "f1_macro": Metric(lambda counts: counts.macro(counts.f1)),
    "precision_weighted": Metric(lambda counts: counts.weighted(counts.precision), over_classes=False),
    "recall_weighted": Metric(lambda counts: counts.weighted(counts.recall), over_classes=False),
    "f1_weighted": Metric(lambda counts: counts.weighted(counts.f1), over_classes=False),
    "eta_p": Metric(lambda counts: ratio(counts.right, counts.total), over_classes=False),
    "eta_w": Metric(lambda counts: counts.mean_recall),
    "eta_total": Metric(lambda counts: ratio(counts.right, counts.total) * counts.mean_recall),
    "eta_w_precision": Metric(lambda counts: counts.macro(counts.precision)),
}

#: Those of Kimia Path24 (Babaie et al. 2017): the share of right patches, its mean over scans, and their product. Its
#: scorer in MATLAB divides by the patches of a scan, as ``eta_w`` does; that in Python by those assigned to it, which
#: is ``eta_w_precision``, and NaN there where a scan is never predicted.
RETRIEVAL = ("eta_p", "eta_w", "eta_total", "eta_w_precision")


def is_shown(name: str, metric: str) -> bool:
    """Return whether tables for people show a metric beside the one that counts."""
    return name not in RETRIEVAL or metric in RETRIEVAL


def class_metrics(confusion: Floats) -> dict[str, Floats]:
    """Return precision, recall, F1 and support of each class.

    Parameters
    ----------
    confusion : (..., K, K) array
        Counts or weights, true classes in rows.

    Returns
    -------
    dict of (..., K) arrays, NaN where undefined.
    """
    counts = Counts(confusion)
    return {name: getattr(counts, name) for name in ("precision", "recall", "f1", "support")}


def count_metrics(confusion: Floats, wanted: Iterable[str] = METRICS) -> dict[str, Floats]:
    """Return the metrics that follow from a confusion matrix, or those of them that are wanted.

    Parameters
    ----------
    confusion : (..., K, K) array
    wanted : iterable of str

    Returns
    -------
    dict of (...) arrays, NaN where there are no samples.
    """
    counts = Counts(confusion)
    return {name: value(counts) for name in wanted if (value := METRICS[name].value) is not None}


class ResampledMetrics:
    """The metrics of a set of predictions, and of thousands of resamples of it.

    Parameters
    ----------
    count : int
        Of samples, at least 1.
    units : (n,) array of int, optional
        What is resampled as a whole: numbers of groups from 0. Every sample on its own where not given.
    """

    #: The names of all metrics, and how many weights of samples are worked with at once.
    known: ClassVar[Collection[str]]
    weights_at_once: ClassVar[int]

    def __init__(self, count: int, units: NDArray[np.intp] | None):
        self.count = count
        self.units = np.arange(count) if units is None else np.asarray(units)
        self.unit_count = int(self.units.max()) + 1

    def resample(self, unit_weights: Floats, metrics: Iterable[str] | None = None) -> dict[str, Floats]:
        """Return metrics, or all, for (B, units) weights, such as how often each group was drawn.

        Returns
        -------
        dict of (B,) arrays, NaN where undefined.
        """
        wanted = list(self.known if metrics is None else metrics)
        rows = max(1, self.weights_at_once // self.count)
        parts = [
            self._metrics(unit_weights[i : i + rows][:, self.units], wanted) for i in range(0, len(unit_weights), rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _metrics(self, weights: Floats, wanted: Sequence[str]) -> dict[str, Floats]:
        """Return metrics for (B, n) weights of samples."""
        raise NotImplementedError

    def values(self, metrics: Iterable[str] | None = None) -> dict[str, float]:
        """Return the metrics of the predictions themselves, NaN where undefined."""
        found = self.resample(np.ones((1, self.unit_count)), metrics)
        return {name: float(value[0]) for name, value in found.items()}
