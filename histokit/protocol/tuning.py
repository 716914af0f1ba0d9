"""Grid search by group-wise inner folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.fitting import Fitting, cross_scores
from histokit.protocol.folds import inner_folds
from histokit.protocol.number_metrics import direction, scale_of
from histokit.protocol.scorers import defined, first_best, spread
from histokit.protocol.targets import ClassTarget, NumberTarget, Target


@dataclass(frozen=True)
class Problem:
    """What is to be learned.

    Parameters
    ----------
    X : (n, d) float array
    y : (n,) array of int or float64
        Numbers of classes, or the numbers that are to be predicted.
    groups : (n,) array, optional
    classes : int
        1 of numbers: scores have a column for each class, or one for the predicted value.
    positive : int, optional
        The positive one of two classes.
    metric : str
    seed : int
    numbers : bool
        Whether numbers are predicted in place of classes.
    """

    X: NDArray[np.floating]
    y: NDArray[Any]
    groups: NDArray[Any] | None
    classes: int
    positive: int | None
    metric: str
    seed: int = 0
    numbers: bool = False

    @property
    def target(self) -> Target:
        """How what is learned is spread over folds, and scored."""
        return NumberTarget() if self.numbers else ClassTarget(self.classes, self.positive)

    def score(self, true: NDArray[Any], found: NDArray[np.float64]) -> dict[str, float]:
        """Return the metric of scores, and the one that decides where it is undefined; NaN where undefined."""
        return self.target.scorer(true, found).values(dict.fromkeys([self.metric, self.target.fallback]))

    def inner_folds(self, rows: NDArray[np.intp], folds: int) -> tuple[NDArray[np.intp], list[str]]:
        """Return the number of the inner fold that tests each row, and notes."""
        groups = None if self.groups is None else self.groups[rows]
        strata = self.target.strata(self.y[rows], folds)
        return inner_folds(strata, groups, folds, self.seed, classes=not self.numbers)


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
        Of each setting: ``parameters``, ``mean``, ``std``, ``scores`` by fold, see `decide`.
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
    fold, notes = problem.inner_folds(rows, folds)
    count = int(fold.max()) + 1
    places = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(count)]
    found = np.full((2, len(grid), count), np.nan)
    stopped = 0
    for number, setting, scores, reached in cross_scores(fitting, X, y, places, grid, problem.classes):
        values = problem.score(y[places[number][1]], scores)
        found[:, setting, number] = values[problem.metric], values[problem.target.fallback]
        stopped += not reached
        if step is not None:
            step()
    metric, table = decide(found, problem, notes)
    means = mean_of(table)
    best = first_best(direction(metric) * means / scale_of(metric, means))
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


def decide(found: NDArray[np.float64], problem: Problem, notes: list[str]) -> tuple[str, NDArray[np.float64]]:
    """Return the metric that decides, and its scores; the one to fall back on where the metric is undefined everywhere.

    Settings are compared on the same folds, see `comparable`.

    Parameters
    ----------
    found : (2, settings, folds) array
        Of the metric of the problem, and of the one to fall back on: accuracy, or of numbers the mean absolute error.
    problem : Problem
    notes : list of str
        Gets a note where the latter decides.
    """
    metric, fallback = problem.metric, problem.target.fallback
    table = comparable(found[0])
    if not np.isnan(table).all():
        return metric, table
    name = "mean absolute error" if problem.numbers else fallback
    notes.append(f"{metric} is undefined in the inner folds, the {name} decided")
    return fallback, found[1]


def comparable(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of several predictions of the same folds, each defined on the folds on which any of them is.

    Parameters
    ----------
    scores : (settings, folds) array
        NaN where undefined. What others have a score of is undefined where predictions are all alike, which correlate
        with nothing: 0, lest the mean of few folds is compared with that of all.
    """
    undefined = np.isnan(scores)
    return np.where(undefined & ~undefined.all(axis=0), 0.0, scores)


def mean_of(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row over the folds where it is defined."""
    means: NDArray[np.float64] = np.nanmean(table, axis=1)
    return means
