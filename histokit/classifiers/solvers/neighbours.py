"""Nearest neighbours: all numbers of neighbours of a distance from one look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import Folds, Scored, spread
from histokit.classifiers.solvers.distances import nearest_by_distance


def cross_scores(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    folds: Folds,
    settings: Sequence[Mapping[str, Any]],
    classes: int,
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Iterator[Scored]:
    """Score all numbers of neighbours and all distances on all folds.

    Votes are uniform, as in scikit-learn's ``KNeighborsClassifier``. Distances and ties are those of
    `histokit.classifiers.solvers.distances`. There are never more neighbours than samples.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``k`` and ``metric`` of each.
    classes : int
    class_weight : str, optional
        Not used: votes have no weights.
    seed : int
        Not used: nothing is drawn.

    Yields
    ------
    fold, setting : int
    scores : (test rows, classes) float64 array
        Shares of votes.
    converged : bool
        Always true.
    """
    for number, (train, test) in enumerate(folds):
        known, codes = np.unique(y[train], return_inverse=True)
        belongs = np.eye(len(known), dtype=np.intp)[codes]
        found = np.empty((len(settings), len(test), len(known)))
        for part, nearest, asked in nearest_by_distance(X, train, test, settings):
            votes = belongs[nearest].cumsum(1)
            for place, k in asked:
                found[place, part] = votes[:, k - 1] / k
        for place, one in enumerate(found):
            yield number, place, spread(one, known, classes, "probability"), True


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted `histokit.classifiers.solvers.nearest.NearestNeighbours`.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
    settings : dict
        ``k``, at most n of which are asked, and ``metric``.
    class_weight : str, optional
        Not used: votes have no weights.
    seed : int
        Not used: nothing is drawn.
    """
    from histokit.classifiers.solvers.nearest import NearestNeighbours

    return NearestNeighbours(min(settings["k"], len(X)), metric=settings["metric"]).fit(X, y)
