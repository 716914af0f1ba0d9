"""Means of nearest neighbours: all numbers of neighbours of a distance from one look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import Folds, Scored, mean_of_rows
from histokit.classifiers.solvers.distances import nearest_by_distance


def cross_scores(
    X: NDArray[np.floating],
    y: NDArray[np.float64],
    folds: Folds,
    settings: Sequence[Mapping[str, Any]],
    classes: int = 1,
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Iterator[Scored]:
    """Predict by all numbers of neighbours and all distances on all folds.

    Each neighbour counts the same, as in scikit-learn's ``KNeighborsRegressor``. There are never more neighbours than
    samples.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) float64 array
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``k`` and ``metric`` of each.
    classes, class_weight, seed
        Not used.

    Yields
    ------
    fold, setting : int
    values : (test rows, 1) float64 array
    converged : bool
        Always true.
    """
    for number, (train, test) in enumerate(folds):
        found = np.empty((len(settings), len(test), 1))
        known = y[train]
        for part, nearest, asked in nearest_by_distance(X, train, test, settings):
            for place, k in asked:
                found[place, part, 0] = mean_of_rows(known[nearest[:, :k]])
        for place, one in enumerate(found):
            yield number, place, one, True


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.float64],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted `histokit.classifiers.solvers.nearest.NearestMeans`.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) float64 array
    settings : dict
        ``k``, at most n of which are asked, and ``metric``.
    class_weight, seed
        Not used.
    """
    from histokit.classifiers.solvers.nearest import NearestMeans

    return NearestMeans(min(settings["k"], len(X)), metric=settings["metric"]).fit(X, y)
