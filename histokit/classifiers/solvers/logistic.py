"""Logistic regression: all penalties of all folds by Newton steps on rotated columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import scores
from histokit.classifiers.solvers.common import (
    BLOCK,
    Folds,
    Scored,
    blas_threads,
    blocks,
    only_class,
    sample_weights,
    spread,
)
from histokit.classifiers.solvers.newton import Newton, Rotated, probabilities
from histokit.classifiers.table import classifier
from histokit.cores import cores

#: How many columns of weights make a product of matrices worth its start.
_TOGETHER = 64
#: Where all rows vary so many times as much as the training rows of a fold, or the penalty, these are turned alone.
_APART = 1e8


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
    """Score all penalties on all folds.

    The objective is that of scikit-learn's ``LogisticRegression``: C times the logistic loss, multinomial for more
    than two classes, and half the squared weights without the intercept. It does not change when columns are
    rotated; the rotation is computed from all rows, without their classes, unless they lie far from those of a fold.

    Parameters
    ----------
    X : (n, d) array
        Products of matrices are computed in its own precision, gradients in float64.
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``C`` of each.
    classes : int
    class_weight : str, optional
        ``balanced``.
    seed : int
        Not used: nothing is drawn.

    Yields
    ------
    fold, setting : int
    scores : (test rows, classes) float64 array
        Probabilities.
    converged : bool
    """
    penalties = [float(setting["C"]) for setting in settings]
    rotated: Rotated | None = None
    alike: dict[tuple[int, ...], list[int]] = {}
    all_rows = _variation(X, np.arange(len(X)), np.arange(X.shape[1]))
    # Of other columns a fold may have none at all and is not asked, which takes as long as much of its solution.
    wide = np.flatnonzero(all_rows > _APART / max(penalties))
    for number, (train, test) in enumerate(folds):
        known = np.unique(y[train])
        if len(known) == 1:
            alone = only_class(len(test), known, classes, "probability")
            yield from ((number, setting, alone, True) for setting in range(len(settings)))
        elif (all_rows[wide] > _APART * (_variation(X, train, wide) + 1 / max(penalties))).any():
            for setting, parameters in enumerate(settings):
                one = fit(X[train], y[train], parameters, class_weight=class_weight)
                yield number, setting, scores("logreg", one, X[test], classes), int(one.n_iter_[0]) < one.max_iter
        else:
            alike.setdefault(tuple(known.tolist()), []).append(number)
    for present, members in alike.items():
        known = np.array(present, np.intp)
        weights = np.zeros((len(members), len(X)))
        for line, number in zip(weights, members, strict=True):
            line[folds[number][0]] = sample_weights(y[folds[number][0]], class_weight)
        rotated = rotated or Rotated(X, max(penalties) * float(weights.max()))
        tests = [folds[number][1] for number in members]
        for fold, setting, found, reached in _path(rotated, _targets(y, known), weights, penalties, tests):
            one = probabilities(found)
            only = one[-1] if len(known) == 2 else one.T
            yield members[fold], setting, spread(only, known, classes, "probability"), reached


def _variation(X: NDArray[np.floating], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the sums of squares of some columns around their means over some rows."""
    first = X[rows[0], columns].astype(np.float64)
    total, square = np.zeros(len(columns)), np.zeros(len(columns))
    for part in blocks(len(rows), len(columns)):
        rest = X[np.ix_(rows[part], columns)] - first
        total, square = total + rest.sum(0), square + (rest**2).sum(0)
    found: NDArray[np.float64] = np.maximum(square - total**2 / len(rows), 0.0)
    return found


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted ``LogisticRegression``; its ``n_iter_`` counts Newton steps.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        At least two classes.
    settings : dict
        ``C``.
    class_weight : str, optional
        ``balanced``.
    seed : int
        Not used: nothing is drawn.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.unique(y)
    targets, weights = _targets(y, known), float(settings["C"]) * sample_weights(y, class_weight)
    rotated = Rotated(X, float(weights.max()))
    start = np.zeros((1, len(targets), rotated.rows.shape[1]))
    with blas_threads(1):
        solution = Newton(rotated, targets, weights[None], start).run()
    estimator = LogisticRegression(**classifier("logreg").fixed, C=settings["C"], class_weight=class_weight)
    estimator.classes_, estimator.n_features_in_ = known, X.shape[1]
    estimator.coef_, estimator.intercept_ = rotated.back(solution.weights[0])
    steps = solution.steps if solution.reached[0] else estimator.max_iter
    estimator.n_iter_ = np.array([steps], np.int32)
    return estimator


def _targets(y: NDArray[np.intp], known: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return 1 where a sample is of a class, else 0: (classes, n), of two classes only the second."""
    targets: NDArray[np.float64] = (y == known[:, None]).astype(np.float64)
    return targets[1:] if len(known) == 2 else targets


#: Fold, penalty, decision values of test rows (classes, test rows), whether the optimum was reached.
_Found = tuple[int, int, NDArray[np.float64], bool]


def _path(
    rotated: Rotated,
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalties: Sequence[float],
    tests: Sequence[NDArray[np.intp]],
) -> Iterator[_Found]:
    """Solve for all penalties of all folds: some folds at a time, in threads.

    Parameters
    ----------
    rotated : Rotated
    targets : (classes, n) array
    weights : (folds, n) array
        Of samples, 0 where they are not trained on.
    penalties : sequence of float
        C.
    tests : sequence of array of int
        The rows of each fold whose values are wanted.
    """
    size = max(1, _TOGETHER // (len(targets) * len(penalties)))
    chunks = [np.arange(len(weights))[first : first + size] for first in range(0, len(weights), size)]
    threads = cores()

    def task(folds: NDArray[np.intp]) -> list[_Found]:
        return list(_some_folds(rotated, targets, weights, penalties, tests, folds))

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(chunks), threads):
            # Threads that share one small product wait for each other longer than they compute.
            with blas_threads(1):
                found = list(pool.map(task, chunks[first : first + threads]))
            for one in found:
                yield from one


def _some_folds(
    rotated: Rotated,
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    penalties: Sequence[float],
    tests: Sequence[NDArray[np.intp]],
    chosen: NDArray[np.intp],
) -> Iterator[_Found]:
    """Solve for all penalties of the chosen folds, many together, from strong to weak ones."""
    pairs = [(setting, fold) for setting in np.argsort(penalties, kind="stable") for fold in chosen]
    size = max(1, min(-(-_TOGETHER // len(targets)), BLOCK // targets.size))
    start = np.zeros((len(weights), len(targets), rotated.rows.shape[1]))
    for first in range(0, len(pairs), size):
        settings, folds = np.array(pairs[first : first + size]).T
        strength = np.asarray(penalties)[settings, None] * weights[folds]
        newton = Newton(rotated, targets, strength, start[folds]).run()
        for place, (setting, fold) in enumerate(zip(settings.tolist(), folds.tolist(), strict=True)):
            start[fold] = newton.weights[place]
            yield fold, setting, newton.values[place][:, tests[fold]], bool(newton.reached[place])
