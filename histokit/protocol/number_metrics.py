"""Metrics of predicted numbers: of one set of predictions, or of thousands of resamples of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from histokit.protocol.metrics import Floats, ResampledMetrics, ratio


class Moments:
    """Sums over the samples of each resample.

    Parameters
    ----------
    true, predicted : (n,) or (B, n) arrays
    weights : (B, n) array
        How often each sample counts.
    """

    def __init__(self, true: Floats, predicted: Floats, weights: Floats):
        self.weights, self.total = weights, weights.sum(1)
        self._true, self._predicted = np.atleast_2d(true), np.atleast_2d(predicted)

    @cached_property
    def errors(self) -> Floats:
        """The (B or 1, n) differences of prediction and truth."""
        return self._predicted - self._true

    @cached_property
    def squared_error(self) -> Floats:
        """The (B,) sums of squared differences."""
        found: Floats = (self.weights * self.errors**2).sum(1)
        return found

    @cached_property
    def deviations(self) -> tuple[Floats, Floats]:
        """The (B, n) deviations of truth and of predictions from their means."""
        return self._deviations(self._true), self._deviations(self._predicted)

    @cached_property
    def variation(self) -> Floats:
        """The (B,) sums of squared deviations of the truth: NaN where it has one value only."""
        return self._variation(self._true, self.deviations[0])

    @property
    def correlation(self) -> Floats:
        """The (B,) correlations of truth and predictions: NaN where either has one value only."""
        true, predicted = self.deviations
        product = (self.weights * true * predicted).sum(1)
        return ratio(product, np.sqrt(self.variation * self._variation(self._predicted, predicted)))

    def _deviations(self, values: Floats) -> Floats:
        means = ratio((self.weights * values).sum(1), self.total)
        found: Floats = values - means[:, None]
        return found

    def _variation(self, values: Floats, deviations: Floats) -> Floats:
        counted = self.weights > 0
        low, high = np.where(counted, values, np.inf).min(1), np.where(counted, values, -np.inf).max(1)
        # Of equal numbers a mean may be a hair beside them.
        return np.where(low < high, (self.weights * deviations**2).sum(1), np.nan)


#: Metric → its value, as scikit-learn and scipy define it; NaN where it is undefined. Spearman's is of ranks alone.
NUMBER_METRICS: dict[str, Callable[[Moments], Floats] | None] = {
    "r2": lambda sums: 1 - ratio(sums.squared_error, sums.variation),
    "pearson": lambda sums: sums.correlation,
    "spearman": None,
    "mae": lambda sums: ratio((sums.weights * np.abs(sums.errors)).sum(1), sums.total),
    "rmse": lambda sums: np.sqrt(ratio(sums.squared_error, sums.total)),
}

#: What rounding adds to equal predictions, as a share of them.
_ROUNDED = 64 * float(np.finfo(float).eps)

#: Those that are in the units of the target, and lower for better predictions.
ERRORS = ("mae", "rmse")


def direction(metric: str) -> int:
    """Return 1 for a metric that is higher for better predictions, -1 for one that is lower."""
    return -1 if metric in ERRORS else 1


def scale_of(metric: str, means: Floats) -> float:
    """Return by what means of a metric are divided to be without units: of errors the smallest, else 1.

    By the largest, which may be that of predictions far off, all others would be equal.
    """
    return float(np.nanmin(means, where=means > 0, initial=np.inf)) if metric in ERRORS and (means > 0).any() else 1.0


class _Ranks:
    """The ranks of some numbers in any resample of them; equal numbers share the mean of theirs."""

    def __init__(self, values: Floats):
        self._order = np.argsort(values, kind="stable")
        ranked = values[self._order]
        first = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        self._starts, self._tie = np.flatnonzero(first), np.empty(len(values), np.intp)
        self._tie[self._order] = np.cumsum(first) - 1

    def of(self, weights: Floats) -> Floats:
        """Return the (B, n) ranks where samples count as often as (B, n) weights say."""
        tied = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        found: Floats = (np.cumsum(tied, axis=1) - (tied - 1) / 2)[:, self._tie]
        return found


def _settled(predicted: Floats) -> Floats:
    """Return predictions, all of them the first where no more than rounding tells them apart, which is no order."""
    alike = np.ptp(predicted) <= _ROUNDED * np.abs(predicted).max()
    return np.full_like(predicted, predicted[0]) if alike else predicted


class NumberScorer(ResampledMetrics):
    """The metrics of a set of predicted numbers.

    Parameters
    ----------
    true, predicted : (n,) arrays
        Finite; n is at least 1.
    units : (n,) array of int, optional
        What is resampled as a whole: numbers of groups from 0. Every sample on its own where not given.
    """

    known = NUMBER_METRICS
    weights_at_once = 2_000_000

    def __init__(self, true: Floats, predicted: Floats, units: NDArray[np.intp] | None = None):
        self.true, self.predicted = np.asarray(true, float), _settled(np.asarray(predicted, float))
        super().__init__(len(self.true), units)
        self._ranks = _Ranks(self.true), _Ranks(self.predicted)

    def _metrics(self, weights: Floats, wanted: Sequence[str]) -> dict[str, Floats]:
        sums, found = Moments(self.true, self.predicted, weights), {}
        for name in wanted:
            metric = NUMBER_METRICS[name]
            if metric is None:
                true, predicted = (each.of(weights) for each in self._ranks)
                found[name] = Moments(true, predicted, weights).correlation
            else:
                found[name] = metric(sums)
        return found


def undefined_reasons(values: dict[str, float], true: Floats, predicted: Floats) -> dict[str, str]:
    """Say why metrics of numbers are undefined.

    Parameters
    ----------
    values : dict
        Metric → number, NaN where undefined.
    true, predicted : (n,) arrays
    """
    if len(true) == 1:
        why = "there is a single sample"
    elif np.ptp(true) == 0:
        why = f"all true values are {true[0]:g}"
    else:
        why = f"all predictions are {predicted[0]:g}"
    return {name: why for name, value in values.items() if np.isnan(value)}
