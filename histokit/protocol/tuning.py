"""Grid search by group-wise inner folds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.protocol.classifiers import classifier
from histokit.protocol.estimators import converged, fit, scores
from histokit.protocol.folds import inner_folds
from histokit.protocol.scorers import Scorer, defined

#: Below this many numbers to be read by all fits, starting processes costs more than it saves.
_WORTH_PROCESSES = 100_000_000
_TIE = 1e-12


@dataclass(frozen=True)
class Problem:
    """A classification problem.

    Parameters
    ----------
    X : (n, d) float array
    y : (n,) array of int
        Numbers of classes.
    groups : (n,) array, optional
    classes : int
    positive : int, optional
        The positive one of two classes.
    metric : str
    seed : int
    """

    X: NDArray[np.floating]
    y: NDArray[np.intp]
    groups: NDArray[Any] | None
    classes: int
    positive: int | None
    metric: str
    seed: int = 0

    def score(self, true: NDArray[np.intp], found: NDArray[np.float64]) -> dict[str, float]:
        """Return the metric and the accuracy of scores, NaN where undefined."""
        scorer = Scorer(true, found.argmax(1), found, self.positive)
        return scorer.values(dict.fromkeys([self.metric, "accuracy"]))


@dataclass(frozen=True)
class Tuned:
    """What a grid search found.

    Parameters
    ----------
    parameters : dict
        The best setting.
    score : float, optional
        Its mean over the inner folds; none where there was nothing to choose.
    metric : str
        What decided.
    table : list of dict
        Of each setting: ``parameters``, ``mean``, ``std``, ``scores`` by fold.
    folds : int
    fits, stopped : int
        The number of fits, and of those that stopped before they converged.
    notes : list of str
    """

    parameters: dict[str, Any]
    score: float | None = None
    metric: str = ""
    table: list[dict[str, Any]] = field(default_factory=list)
    folds: int = 0
    fits: int = 0
    stopped: int = 0
    notes: list[str] = field(default_factory=list)


def tune(
    name: str,
    problem: Problem,
    rows: NDArray[np.intp],
    grid: Sequence[dict[str, Any]],
    *,
    folds: int = 5,
    class_weight: str | None = None,
    columns: NDArray[np.intp] | None = None,
    step: Callable[[], None] | None = None,
) -> Tuned:
    """Choose the best setting of a classifier by its mean score over inner folds.

    Parameters
    ----------
    name : str
        The classifier.
    problem : Problem
    rows : (m,) array of int
        The training samples; no other row of the problem is looked at.
    grid : sequence of dict
        From simple to complex: of equally good settings the first is taken.
    folds : int
        Capped by the number of groups.
    class_weight : str, optional
    columns : array of int, optional
        The columns of `X` to be used; all where not given.
    step : callable, optional
        Called after each fit.

    Returns
    -------
    Tuned
    """
    if len(grid) == 1 or len(rows) < 2:
        return Tuned(dict(grid[0]))
    X = problem.X[rows] if columns is None else problem.X[np.ix_(rows, columns)]
    y = problem.y[rows]
    groups = None if problem.groups is None else problem.groups[rows]
    fold, notes = inner_folds(y, groups, folds, problem.seed)
    count = int(fold.max()) + 1
    tasks = [(number, setting) for number in range(count) for setting in reversed(range(len(grid)))]
    work = ((name, problem, X, y, fold != n, grid[s], class_weight) for n, s in tasks)
    found = np.full((2, len(grid), count), np.nan)
    stopped = 0
    for (number, setting), (values, reached) in zip(
        tasks, parallel(_fit_and_score, work, classifier(name).threaded, X.size * len(tasks)), strict=True
    ):
        found[:, setting, number] = values[problem.metric], values["accuracy"]
        stopped += not reached
        if step is not None:
            step()
    metric, table = decide(found, problem.metric, notes)
    means = mean_of(table)
    best = int(np.flatnonzero(means >= means.max() - _TIE)[0])
    listed = [
        {
            "parameters": setting,
            "mean": float(mean),
            "std": float(np.nanstd(line)),
            "scores": [defined(v) for v in line],
        }
        for setting, mean, line in zip(grid, means, table, strict=True)
    ]
    return Tuned(dict(grid[best]), float(means[best]), metric, listed, count, len(tasks), stopped, notes)


def decide(found: NDArray[np.float64], metric: str, notes: list[str]) -> tuple[str, NDArray[np.float64]]:
    """Return the metric that decides, and its scores; the accuracy where the wanted one is undefined in every fold.

    Parameters
    ----------
    found : (2, settings, folds) array
        Of the metric and of the accuracy.
    metric : str
    notes : list of str
        Gets a note where the accuracy decides.
    """
    if not np.isnan(found[0]).all(1).any():
        return metric, found[0]
    notes.append(f"{metric} is undefined in the inner folds, the accuracy decided")
    return "accuracy", found[1]


def mean_of(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row over the folds where it is defined."""
    means: NDArray[np.float64] = np.nanmean(table, axis=1)
    return means


def _fit_and_score(
    name: str,
    problem: Problem,
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    train: NDArray[np.bool_],
    parameters: dict[str, Any],
    class_weight: str | None,
) -> tuple[dict[str, float], bool]:
    estimator = fit(name, parameters, X[train], y[train], seed=problem.seed, class_weight=class_weight)
    values = problem.score(y[~train], scores(name, estimator, X[~train], problem.classes))
    return values, converged(name, estimator)


def parallel(function: Callable[..., Any], work: Iterable[tuple[Any, ...]], threaded: bool, size: int) -> Iterator[Any]:
    """Call a function on many arguments, on all cores where that is worth it, and yield results in order.

    Parameters
    ----------
    function : callable
    work : iterable of tuple
    threaded : bool
        Whether the function lets other threads run.
    size : int
        How many numbers all calls read, which tells whether processes are worth their start.
    """
    cores = os.cpu_count() or 1
    if cores == 1 or not (threaded or size > _WORTH_PROCESSES):
        return (function(*arguments) for arguments in work)
    from sklearn.utils.parallel import Parallel, delayed

    pool = Parallel(n_jobs=cores, prefer="threads" if threaded else "processes", return_as="generator")
    results: Iterator[Any] = pool(delayed(function)(*arguments) for arguments in work)
    return results
