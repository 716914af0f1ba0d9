"""``svm``: linear support vector machines of a whole grid at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import Folds, Scored
from histokit.classifiers.solvers.squared_hinge import BinaryProblems, Matrix, path

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def cross_scores(
    X: NDArray[np.floating],
    y: Rows,
    folds: Folds,
    settings: Sequence[Mapping[str, Any]],
    classes: int,
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Iterator[Scored]:
    """Fit all settings on all folds, and score the test rows.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        Of ``C``.
    classes : int
        K.
    class_weight : str, optional
        ``balanced``.
    seed : int
        Not used: the optimum is unique.

    Yields
    ------
    fold, setting : int
    scores : (test rows, K) array
        Decision values, -inf for a class without training sample.
    optimal : bool
    """
    penalties, of_setting = np.unique([float(setting["C"]) for setting in settings], return_inverse=True)
    problems, columns = _problems(y, [train for train, _ in folds], class_weight)
    found = {fold: np.full((len(penalties), len(test), classes), -np.inf) for fold, (_, test) in enumerate(folds)}
    optimal = np.ones((len(folds), len(penalties)), bool)
    missing = np.array([len(penalties) * len(own) for own in columns])
    for fold, (train, _) in enumerate(folds):
        if not columns[fold]:
            found[fold][:, :, y[train[0]]] = 0.0
    place = [(fold, own) for fold, members in enumerate(columns) for own in members]
    solutions = path(Matrix(X), problems, penalties.tolist()) if place else iter(())
    for empty in np.flatnonzero(missing == 0).tolist():
        yield from _of_fold(empty, found[empty], of_setting, optimal)
    for solved in solutions:
        fold, (negative, positive) = place[solved.column]
        values = solved.values[folds[fold][1]]
        found[fold][solved.penalty, :, positive] = values
        if negative is not None:
            found[fold][solved.penalty, :, negative] = -values
        optimal[fold, solved.penalty] &= solved.optimal
        missing[fold] -= 1
        if not missing[fold]:
            yield from _of_fold(fold, found.pop(fold), of_setting, optimal)


def _of_fold(fold: int, found: Floats, of_setting: Rows, optimal: NDArray[np.bool_]) -> Iterator[Scored]:
    for setting, penalty in enumerate(of_setting):
        yield fold, setting, found[penalty], bool(optimal[fold, penalty])


def _problems(
    y: Rows, training: Sequence[Rows], class_weight: str | None
) -> tuple[BinaryProblems, list[list[tuple[int | None, int]]]]:
    """Return the binary problems of training sets, and of each set the (negative, positive) class of its problems.

    For more than two classes each has a problem against the rest, where there is no negative class, and as in
    liblinear only the weight of the positive class counts.
    """
    targets, weights = [], []
    columns: list[list[tuple[int | None, int]]] = []
    for train in training:
        known, counts = np.unique(y[train], return_counts=True)
        balanced = len(train) / (len(known) * counts) if class_weight else np.ones(len(known))
        weight_of = dict(zip(known.tolist(), balanced, strict=True))
        own: list[tuple[int | None, int]] = []
        if len(known) == 2:
            own = [(int(known[0]), int(known[1]))]
        elif len(known) > 2:
            own = [(None, int(k)) for k in known]
        for negative, positive in own:
            weight = np.zeros(len(y))
            weight[train] = 1.0 if negative is None else weight_of[negative]
            weight[train[y[train] == positive]] = weight_of[positive]
            targets.append(np.where(y == positive, 1.0, -1.0))
            weights.append(weight)
        columns.append(own)
    none = np.zeros((len(y), 0))
    target, each = (np.stack(part, axis=1) if part else none for part in (targets, weights))
    kind = np.array([positive for own in columns for _, positive in own], np.intp)
    return BinaryProblems(target, each, kind), columns


def fit(
    X: NDArray[np.floating],
    y: Rows,
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Fit one setting; parameters as in `cross_scores`.

    Returns
    -------
    sklearn.svm.LinearSVC
        With `coef_` and `intercept_` of the optimum.
    """
    from sklearn.svm import LinearSVC

    estimator = LinearSVC(C=float(settings["C"]), class_weight=class_weight, random_state=seed)
    problems, _ = _problems(y, [np.arange(len(y))], class_weight)
    matrix = Matrix(X)
    solved = list(path(matrix, problems, [estimator.C]))
    solved.sort(key=lambda one: one.column)
    solution = np.stack([one.primal for one in solved])
    estimator.coef_, estimator.intercept_ = solution[:, :-1].copy(), solution[:, -1].copy()
    estimator.classes_, estimator.n_features_in_ = np.unique(y), X.shape[1]
    estimator.n_iter_ = 1 if all(one.optimal for one in solved) else estimator.max_iter
    return estimator
