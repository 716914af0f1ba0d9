"""The nearest samples by each distance: one implementation for tuning and for the model that is kept.

Everything is computed in float64. Of equally near samples those that come first are taken. Where a distance is not
defined, it is as if the two had nothing in common: a vector of zeros is at cosine distance 1 of everything, and so is
a constant one for the correlation. The Bray-Curtis distance is scikit-learn's: of numbers below 0, their sizes count
(scipy's has those of the sums, which may be near 0), and two vectors of zeros are at distance 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import blocks

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

#: Squares of smaller numbers, or of larger ones than 1 by it, leave what float64 holds.
_SMALLEST = 1e-100

#: The names of those that scipy computes pair by pair.
_PAIRWISE = {"manhattan": "cityblock", "chebyshev": "chebyshev", "braycurtis": "cityblock", "canberra": "canberra"}


class NearestSamples:
    """Seeks the nearest samples of rows; what it needs of the samples is computed once.

    Parameters
    ----------
    samples : (n, d) array
    metric : str
        One of `histokit.classifiers.table.DISTANCES`.
    """

    def __init__(self, samples: NDArray[np.floating], metric: str):
        self._metric = metric
        # A copy, which is worked on in place.
        self._samples: Floats = np.array(samples, np.float64)
        self._sizes, self._squares = np.empty(0), np.empty(0)
        if metric == "braycurtis":
            self._sizes = np.abs(self._samples).sum(1)
        elif metric == "euclidean":
            # Columns that are the same everywhere leave nothing, however large they are.
            self._origin = self._samples[0].copy()
            self._samples -= self._origin
            self._largest = max(self._samples.max(initial=0.0), -self._samples.min(initial=0.0))
            self._squares = _squares(self._samples)
        elif metric not in _PAIRWISE:
            # A vector of zeros counts as one of length 1 at a right angle to all others.
            self._samples, self._squares = self._directions(self._samples), np.ones(len(samples))

    def nearest(self, rows: NDArray[np.floating], count: int) -> Rows:
        """Return the nearest samples of each row, in order.

        Parameters
        ----------
        rows : (m, d) array
        count : int
            At most n.

        Returns
        -------
        (m, count) array of int
        """
        own: Floats = np.array(rows, np.float64)
        if self._metric in _PAIRWISE:
            distances = _pairwise(own, self._samples, _PAIRWISE[self._metric])
            if self._metric == "braycurtis":
                sizes = np.abs(own).sum(1)[:, None] + self._sizes
                distances = np.divide(distances, sizes, out=distances, where=sizes > 0)
            return _first(distances, count)
        if self._metric != "euclidean":
            return _by_products(self._directions(own), self._samples, self._squares, count, _between_directions)
        own -= self._origin
        lift = _lift(max(np.abs(own).max(initial=0.0), self._largest))
        if lift == 1:
            return _by_products(own, self._samples, self._squares, count, _squared)
        lifted = self._samples * lift
        return _by_products(own * lift, lifted, _squares(lifted), count, _squared)

    def _directions(self, rows: Floats) -> Floats:
        """Return rows at unit length, those of correlations less their means; zeros stay zeros. They are not kept."""
        if self._metric == "correlation":
            # Nothing is left of a constant row, whose mean may be rounded.
            constant = np.ptp(rows, axis=1) == 0
            rows -= rows.mean(1, keepdims=True)
            rows[constant] = 0.0
        lift = _lift(np.maximum(rows.max(1, initial=0.0), -rows.min(1, initial=0.0)))
        if (lift != 1).any():
            rows *= lift[:, None]
        length = np.sqrt(_squares(rows))
        rows /= np.where(length > 0, length, 1.0)[:, None]
        return rows


def nearest_by_distance(
    X: NDArray[np.floating], train: Rows, test: Rows, settings: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[slice, Rows, list[tuple[int, int]]]]:
    """Seek the nearest training rows of test rows, once for all settings that share a distance.

    Parameters
    ----------
    X : (n, d) array
    train, test : arrays of int
    settings : sequence of dict
        ``k`` and ``metric`` of each.

    Yields
    ------
    part : slice
        Of the test rows.
    nearest : (part, largest k) array of int
        Places in `train`, in order.
    asked : list of (setting, k)
        The settings of this distance; k is never more than there are training rows.
    """
    by_metric: dict[str, list[tuple[int, int]]] = {}
    for place, setting in enumerate(settings):
        by_metric.setdefault(setting["metric"], []).append((place, min(setting["k"], len(train))))
    for metric, asked in by_metric.items():
        samples, most = NearestSamples(X[train], metric), max(k for _, k in asked)
        for part in blocks(len(test), len(train)):
            yield part, samples.nearest(X[test[part]], most), asked


def _pairwise(rows: Floats, samples: Floats, name: str) -> Floats:
    from scipy.spatial.distance import cdist

    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = cdist(rows, samples, name)
    # Nothing in either vector: 0 / 0.
    found[np.isnan(found)] = 0.0
    return found


def _squares(rows: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", rows, rows)
    return found


def _lift(sizes: Any) -> Any:
    """Return the power of 2 that brings numbers to a size whose squares can be held; 1 where they can."""
    extreme = (sizes > 0) & ((sizes < _SMALLEST) | (sizes > 1 / _SMALLEST))
    exponents = np.where(extreme, np.frexp(np.where(sizes > 0, sizes, 1.0))[1], 0)
    return np.ldexp(1.0, -exponents.clip(-1000, 1000))


def _squared(row: Floats, samples: Floats) -> Floats:
    found: Floats = ((samples - row) ** 2).sum(1)
    return found


def _between_directions(row: Floats, samples: Floats) -> Floats:
    """Return twice the cosine distances, without the cancellation of 1 - cos."""
    found = _squared(row, samples)
    found[~samples.any(1)] = 2.0
    return found if row.any() else np.full(len(samples), 2.0)


def _by_products(
    rows: Floats, samples: Floats, squares: Floats, count: int, distance: Callable[[Floats, Floats], Floats]
) -> Rows:
    """Return the nearest samples by products of matrices, and one by one where rounding may have put them in order.

    What products say of two equal samples depends on where these lie in memory, and tells little of two that are
    near each other and far from the origin.
    """
    roughly = squares - 2.0 * (rows @ samples.T)
    error = np.finfo(float).eps * rows.shape[1] * (_squares(rows) + squares.max())
    ordered = _first(roughly, min(count + 1, len(samples)))
    sizes = np.take_along_axis(roughly, ordered, 1)
    found = ordered[:, :count]
    for number in np.flatnonzero(~(np.diff(sizes, axis=1) > 8.0 * error[:, None]).all(1)):
        near = np.flatnonzero(roughly[number] <= sizes[number, count - 1] + 4.0 * error[number])
        found[number] = near[distance(rows[number], samples[near]).argsort(kind="stable")[:count]]
    return found


def _first(distances: Floats, count: int) -> Rows:
    """Return the columns of the smallest distances of each row in order; of equal ones the first."""
    if count == distances.shape[1]:
        return distances.argsort(1, kind="stable")
    near = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
    chosen = np.take_along_axis(distances, near, 1)
    near = np.take_along_axis(near, chosen.argsort(1, kind="stable"), 1)
    tied = np.flatnonzero((distances <= chosen.max(1, keepdims=True)).sum(1) > count)
    near[tied] = distances[tied].argsort(1, kind="stable")[:, :count]
    return near
