"""Grid search by group-wise inner folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.fitting import Fitting, cross_scores
from histokit.protocol.folds import inner_folds
from histokit.protocol.scorers import Scorer, defined, spread

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
    fitting: Fitting,
    problem: Problem,
    rows: NDArray[np.intp],
    grid: Sequence[dict[str, Any]],
    *,
    folds: int = 5,
    columns: NDArray[np.intp] | None = None,
    scored: bool = False,
    step: Callable[[], None] | None = None,
) -> Tuned:
    """Choose the best setting of a classifier by its mean score over inner folds.

    Parameters
    ----------
    fitting : Fitting
    problem : Problem
    rows : (m,) array of int
        The training samples; no other row of the problem is looked at.
    grid : sequence of dict
        From simple to complex: of equally good settings the first is taken.
    folds : int
        Capped by the number of groups.
    columns : array of int, optional
        The columns of `X` to be used; all where not given.
    scored : bool
        Score a single setting as well, where there is nothing to choose.
    step : callable, optional
        Called after each fit.

    Returns
    -------
    Tuned
    """
    if (len(grid) == 1 and not scored) or len(rows) < 2:
        return Tuned(dict(grid[0]))
    X = problem.X[rows] if columns is None else problem.X[np.ix_(rows, columns)]
    y = problem.y[rows]
    groups = None if problem.groups is None else problem.groups[rows]
    fold, notes = inner_folds(y, groups, folds, problem.seed)
    count = int(fold.max()) + 1
    places = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
    found = np.full((2, len(grid), count), np.nan)
    stopped = 0
    for number, setting, scores, reached in cross_scores(fitting, X, y, places, grid, problem.classes):
        values = problem.score(y[places[number][1]], scores)
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
            "std": spread(line),
            "scores": [defined(v) for v in line],
        }
        for setting, mean, line in zip(grid, means, table, strict=True)
    ]
    return Tuned(dict(grid[best]), float(means[best]), metric, listed, count, len(grid) * count, stopped, notes)


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
