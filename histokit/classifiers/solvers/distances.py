"""The nearest samples by each distance: one implementation for tuning and for the model that is kept.

Everything is computed in float64. Of equally near samples those that come first are taken. Where a distance is not
defined, it is as if the two had nothing in common: a vector of zeros is at cosine distance 1 of everything, and so is
a constant one for the correlation. The Bray-Curtis distance is scikit-learn's: of numbers below 0, their sizes count
(scipy's has those of the sums, which may be near 0), and two vectors of zeros are at distance 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

#: Squares of smaller numbers, or of larger ones than 1 by it, leave what float64 holds.
_SMALLEST = 1e-100

#: The names of those that scipy computes pair by pair.
_PAIRWISE = {"manhattan": "cityblock", "chebyshev": "chebyshev", "braycurtis": "cityblock", "canberra": "canberra"}


def nearest(rows: Floats, samples: Floats, metric: str, count: int) -> Rows:
    """Return the nearest samples of each row, in order.

    Parameters
    ----------
    rows : (m, d) array
    samples : (n, d) array
    metric : str
        One of `histokit.classifiers.table.DISTANCES`.
    count : int
        At most n.

    Returns
    -------
    (m, count) array of int
    """
    if metric in _PAIRWISE:
        distances = _pairwise(rows, samples, _PAIRWISE[metric])
        if metric == "braycurtis":
            sizes = np.abs(rows).sum(1)[:, None] + np.abs(samples).sum(1)
            distances = np.divide(distances, sizes, out=distances, where=sizes > 0)
        return _first(distances, count)
    if metric == "euclidean":
        # Columns that are the same everywhere leave nothing, however large they are.
        origin = samples[0]
        rows, samples = rows - origin, samples - origin
        lift = _lift(max(np.abs(rows).max(initial=0.0), np.abs(samples).max(initial=0.0)))
        if lift != 1:
            rows, samples = rows * lift, samples * lift
        return _by_products(rows, samples, np.einsum("ij,ij->i", samples, samples), count, _squared)
    if metric == "correlation":
        rows, samples = _centred(rows), _centred(samples)
    # A vector of zeros counts as one of length 1 at a right angle to all others.
    return _by_products(_directions(rows), _directions(samples), np.ones(len(samples)), count, _between_directions)


def _pairwise(rows: Floats, samples: Floats, name: str) -> Floats:
    from scipy.spatial.distance import cdist

    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = cdist(rows, samples, name)
    # Nothing in either vector: 0 / 0.
    found[np.isnan(found)] = 0.0
    return found


def _centred(rows: Floats) -> Floats:
    """Return rows less their means; nothing of a constant row, whose mean may be rounded."""
    centred = rows - rows.mean(1, keepdims=True)
    centred[np.ptp(rows, axis=1) == 0] = 0.0
    return centred


def _directions(rows: Floats) -> Floats:
    """Return rows at unit length; zeros stay zeros."""
    lift = _lift(np.abs(rows).max(1, initial=0.0))
    if (lift != 1).any():
        rows = rows * lift[:, None]
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    found: Floats = rows / np.where(length > 0, length, 1.0)[:, None]
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
    error = np.finfo(float).eps * rows.shape[1] * (np.einsum("ij,ij->i", rows, rows) + squares.max())
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
