"""Recursive feature elimination, ranked by the importances of extremely randomised trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError
from histokit.protocol.estimators import fit, scores
from histokit.protocol.folds import inner_folds
from histokit.protocol.methods import parallel
from histokit.protocol.tuning import Problem, decide, mean_of

_TREES = {"max_features": "sqrt", "trees": 100}


@dataclass(frozen=True)
class Elimination:
    """What recursive elimination kept.

    Parameters
    ----------
    columns : list of int
        The smallest subset whose score is within the tolerance of the best, ascending.
    ranking : list of int
        The rank of every column; 1 was kept longest.
    curve : list of [size, mean, std]
        The score by subset size over the inner folds, from large to small.
    k_best, k_min : int
        The size with the best score (the smallest of equals), and that of `columns`.
    metric : str
        What decided.
    notes : list of str
    """

    columns: list[int]
    ranking: list[int]
    curve: list[list[float]]
    k_best: int
    k_min: int
    metric: str
    notes: list[str]


def subset_sizes(columns: int, step: float) -> list[int]:
    """Return the subset sizes from all columns down to one.

    Parameters
    ----------
    columns : int
    step : float
        How many columns go at a time: a fraction of those left below 1, else a count (4 in paper 003).

    Raises
    ------
    UsageError
        If the step is not positive, or neither a fraction nor a whole number.
    """
    if step <= 0 or (step > 1 and step != int(step)):
        raise UsageError(
            f"The step {step} is no step.", next="Give a fraction such as --step 0.2, or a count such as 4."
        )
    sizes = [columns]
    while sizes[-1] > 1:
        gone = max(1, int(step * sizes[-1])) if step < 1 else int(step)
        sizes.append(max(1, sizes[-1] - gone))
    return sizes


def eliminate(
    problem: Problem,
    rows: NDArray[np.intp],
    *,
    tolerance: float = 0.005,
    step: float = 0.2,
    folds: int = 5,
    report: Callable[[], None] | None = None,
) -> Elimination:
    """Eliminate the least important columns, and keep the smallest subset that is as good as the best.

    The order of elimination is found anew in every inner fold for the curve, and once more on all rows for
    the columns that are kept (Mormont et al. 2018, paper 003).

    Parameters
    ----------
    problem : Problem
    rows : (m,) array of int
        The training samples; no other row of the problem is looked at.
    tolerance : float
        How far below the best score a smaller subset may lie.
    step : float
        See `subset_sizes`.
    folds : int
        Capped by the number of groups.
    report : callable, optional
        Called after each of the paths, of which there is one more than inner folds.

    Returns
    -------
    Elimination
    """
    X, y = problem.X[rows], problem.y[rows]
    groups = None if problem.groups is None else problem.groups[rows]
    fold, notes = inner_folds(y, groups, folds, problem.seed)
    sizes, count = subset_sizes(X.shape[1], step), int(fold.max()) + 1
    masks = [fold != number for number in range(count)] + [np.ones(len(y), bool)]
    found = np.full((2, len(sizes), count), np.nan)
    paths = parallel(_path, ((problem, X, y, mask, sizes) for mask in masks), True, X.size)
    orders = []
    for number, (order, values) in enumerate(paths):
        orders.append(order)
        if number < count:
            found[:, :, number] = values
        if report is not None:
            report()
    metric, table = decide(found, problem.metric, notes)
    means = mean_of(table)
    best = int(np.flatnonzero(means == means.max())[-1])
    least = int(np.flatnonzero(means >= means[best] - tolerance)[-1])
    order = orders[-1]
    ranking = np.empty(len(order), np.intp)
    ranking[order] = np.arange(1, len(order) + 1)
    curve = [[size, float(m), float(s)] for size, m, s in zip(sizes, means, np.nanstd(table, axis=1), strict=True)]
    kept = sorted(int(c) for c in order[: sizes[least]])
    return Elimination(kept, ranking.tolist(), curve, sizes[best], sizes[least], metric, notes)


def _path(
    problem: Problem, X: NDArray[np.floating], y: NDArray[np.intp], train: NDArray[np.bool_], sizes: list[int]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the columns from the most to the least important, and the scores by size on the other rows."""
    left, gone = np.arange(X.shape[1]), []
    values = np.full((2, len(sizes)), np.nan)
    parameters: dict[str, Any] = _TREES
    for position, size in enumerate(sizes):
        inside = X[:, left]
        trees = fit("et", parameters, inside[train], y[train], seed=problem.seed)
        if not train.all():
            scored = problem.score(y[~train], scores("et", trees, inside[~train], problem.classes))
            values[:, position] = scored[problem.metric], scored["accuracy"]
        importances = getattr(trees, "feature_importances_", np.ones(size))
        left = left[np.argsort(-importances, kind="stable")]
        following = sizes[position + 1] if position + 1 < len(sizes) else 0
        gone.append(left[following:])
        left = np.sort(left[:following])
    return np.concatenate(gone[::-1]), values
