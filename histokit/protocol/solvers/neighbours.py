"""Nearest neighbours: all numbers of neighbours and both distances from one product of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.protocol.solvers.common import Folds, Scored, blocks, spread

Array = NDArray[np.float64]


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

    Votes are uniform, as in scikit-learn's ``KNeighborsClassifier``. Distances are computed in float64; of equally
    near samples those that come first in the training rows are taken. There are never more neighbours than samples.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``k`` and ``metric`` of each: ``cosine``, ``euclidean`` or any distance that scikit-learn knows.
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
    precise = X.astype(np.float64, copy=False)
    most: dict[str, int] = {}
    for setting in settings:
        most[setting["metric"]] = max(setting["k"], most.get(setting["metric"], 1))
    for number, (train, test) in enumerate(folds):
        known, codes = np.unique(y[train], return_inverse=True)
        belongs = np.eye(len(known), dtype=np.intp)[codes]
        found = np.empty((len(settings), len(test), len(known)))
        samples = precise[train]
        for part in blocks(len(test), len(train)):
            for metric, distances in _distances(precise[test[part]], samples, list(most)):
                votes = belongs[_nearest(distances, min(most[metric], len(train)))].cumsum(1)
                for place, setting in enumerate(settings):
                    if setting["metric"] == metric:
                        k = min(setting["k"], len(train))
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
    """Return a fitted ``KNeighborsClassifier``.

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
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(settings["k"], len(X)), metric=settings["metric"], algorithm="brute").fit(X, y)


def _distances(rows: Array, samples: Array, metrics: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Give, for each distance, numbers that order the samples of each row as the distance does."""
    shared = [metric for metric in metrics if metric in ("cosine", "euclidean")]
    products = rows @ samples.T if shared else np.empty(0)
    squares = np.einsum("ij,ij->i", samples, samples)
    for metric in metrics:
        if metric == "euclidean":
            yield metric, squares - 2 * products
        elif metric == "cosine":
            yield metric, products / -np.sqrt(np.where(squares == 0, 1, squares))
        else:
            from sklearn.metrics import pairwise_distances

            yield metric, pairwise_distances(rows, samples, metric=metric)


def _nearest(distances: Array, count: int) -> NDArray[np.intp]:
    """Return the columns of the smallest distances of each row in order; of equal ones the first."""
    if count == distances.shape[1]:
        return distances.argsort(1, kind="stable")
    near = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
    chosen = np.take_along_axis(distances, near, 1)
    near = np.take_along_axis(near, chosen.argsort(1, kind="stable"), 1)
    tied = np.flatnonzero((distances <= chosen.max(1, keepdims=True)).sum(1) > count)
    near[tied] = distances[tied].argsort(1, kind="stable")[:, :count]
    return near
