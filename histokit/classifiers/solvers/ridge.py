"""Ridge classification: all penalties of a fold from one scatter or Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from histokit.classifiers.solvers.common import (
    Folds,
    Scored,
    blocks,
    mean_of_columns,
    only_class,
    sample_weights,
    spread,
)
from histokit.classifiers.solvers.least_squares import correction

Array = NDArray[np.float64]

#: From so many penalties on, one eigendecomposition is cheaper than their Cholesky factors.
_MANY = 40
#: Where the curvature along some direction may be so many times the penalty, products of columns lose too much.
_STEEP = 1e11


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

    The objective is that of scikit-learn's ``RidgeClassifier``: squared error to targets of ±1 and an intercept
    without penalty. It is solved for the columns of `X` or for its rows, whichever are fewer; the matrix of a fold
    is that of all rows less that of the rows left out.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``alpha`` of each.
    classes : int
    class_weight : str, optional
        ``balanced``.
    seed : int
        Not used: nothing is drawn.

    Yields
    ------
    fold, setting : int
    scores : (test rows, classes) float64 array
        Decision values.
    converged : bool
        Always true.
    """
    alphas = [float(setting["alpha"]) for setting in settings]
    penalties = Penalties(X, alphas)
    for number, (train, test) in enumerate(folds):
        known = np.flatnonzero(np.bincount(y[train], minlength=classes))
        if len(known) == 1:
            alone = only_class(len(test), known, classes, "decision")
            yield from ((number, setting, alone, True) for setting in range(len(alphas)))
            continue
        weights = sample_weights(y[train], class_weight)
        targets = np.where(y[train][:, None] == known, 1.0, -1.0)
        if len(known) == 2:
            targets = targets[:, 1:]
        mean = weights @ targets / weights.sum()
        targets -= mean
        for setting, values in enumerate(penalties.values(train, test, weights, targets)):
            one = values + mean
            yield number, setting, spread(one[:, 0] if len(known) == 2 else one, known, classes, "decision"), True


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted ``RidgeClassifier``, solved in float64.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array of int
        At least two classes.
    settings : dict
        ``alpha``.
    class_weight : str, optional
        ``balanced``.
    seed : int
        Not used: nothing is drawn.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import LabelBinarizer

    alpha, weights = float(settings["alpha"]), sample_weights(y, class_weight)
    known = np.unique(y)
    exact = Exact(X, np.arange(len(y)), weights)
    estimator = RidgeClassifier(alpha=alpha, class_weight=class_weight)
    if not exact.needed(alpha):
        estimator.fit(exact.rows(np.arange(len(y))), y)
        estimator.intercept_ = estimator.intercept_ - estimator.coef_ @ exact.middle
        return estimator
    targets = np.where(y[:, None] == known[1 if len(known) == 2 else 0 :], 1.0, -1.0)
    mean = weights @ targets / weights.sum()
    targets -= mean
    estimator._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(y)
    estimator.classes_, estimator.n_features_in_, estimator.n_iter_ = known, X.shape[1], None
    estimator.coef_ = exact.coefficients(alpha, targets)
    estimator.intercept_ = mean - estimator.coef_ @ exact.middle
    return estimator


class Penalties:
    """Ridge regression with all penalties, from one matrix of products wherever that is exact enough.

    Parameters
    ----------
    X : (n, d) array
    alphas : sequence of float
    """

    def __init__(self, X: NDArray[np.floating], alphas: Sequence[float]):
        self._X, self._alphas = X, alphas
        self._matrices = (Scatter if len(X) >= X.shape[1] else Gram)(X)

    def values(
        self, train: NDArray[np.intp], test: NDArray[np.intp], weights: Array, targets: Array
    ) -> Iterator[Array]:
        """Yield decision values less the intercept, (test rows, targets), of each penalty.

        Parameters
        ----------
        train, test : (m,) arrays of int
        weights : (m,) array
            Of the training rows.
        targets : (m, targets) array
            Less their weighted means.
        """
        exact = Exact(self._X, train, weights, self._matrices.reach)
        easy = [alpha for alpha in self._alphas if not exact.needed(alpha)]
        quick = iter(self._matrices.scores(train, test, weights, targets, easy) if easy else ())
        for alpha in self._alphas:
            yield exact.values(test, alpha, targets) if exact.needed(alpha) else next(quick)


class Exact:
    """Ridge regression on some rows without products of columns, where these would be too inexact.

    Parameters
    ----------
    X : (n, d) array
    train : (m,) array of int
    weights : (m,) array
    reach : float
        The sum of squares of all rows, where their products are there: those of some are as inexact.
    """

    def __init__(self, X: NDArray[np.floating], train: NDArray[np.intp], weights: Array, reach: float = 0.0):
        self._X, self._train, self._weights, self._reach = X, train, weights, reach
        # Of a column that is the same everywhere exactly nothing is left.
        self._first = X[train[0]].astype(np.float64)
        self._rest, total = np.zeros(X.shape[1]), 0.0
        for part in blocks(len(train), X.shape[1]):
            self._rest += weights[part] @ (X[train[part]] - self._first) / weights.sum()
        for part in blocks(len(train), X.shape[1]):
            total += float(weights[part] @ (self.rows(train[part]) ** 2).sum(1))
        self._total, self.middle = total, self._first + self._rest

    def needed(self, alpha: float) -> bool:
        """Return whether the largest curvature is so many times the penalty."""
        return alpha > 0 and max(self._total, self._reach) > _STEEP * alpha

    def rows(self, rows: NDArray[np.intp]) -> Array:
        """Return rows less the weighted means of the training rows."""
        found: Array = self._X[rows] - self._first - self._rest
        return found

    def values(self, rows: NDArray[np.intp], alpha: float, targets: Array) -> Array:
        """Return decision values less the intercept, (rows, targets)."""
        coefficients, found = self.coefficients(alpha, targets), np.empty((len(rows), targets.shape[1]))
        for part in blocks(len(rows), self._X.shape[1]):
            found[part] = self.rows(rows[part]) @ coefficients.T
        return found

    def coefficients(self, alpha: float, targets: Array) -> Array:
        """Return the weights of columns, (targets, d), for (m, targets) targets less their weighted means."""
        rows = self.rows(self._train)
        used, root = rows.any(0), np.sqrt(self._weights / alpha)
        found = np.zeros((targets.shape[1], rows.shape[1]))
        scaled = rows[:, used] * root[:, None]
        for line, target in zip(found, targets.T, strict=True):
            primal = np.zeros(scaled.shape[1])
            for _ in range(2):
                primal += correction(scaled, root * target - scaled @ primal, primal)[0]
            line[used] = primal
        return found


class Scatter:
    """Solves for the weights of columns."""

    def __init__(self, X: NDArray[np.floating]):
        self._X, self._middle = X, mean_of_columns(X)
        self._all: Array | None = None
        self.reach = sum(float(((X[part] - self._middle) ** 2).sum()) for part in blocks(*X.shape))

    def scores(
        self, train: NDArray[np.intp], test: NDArray[np.intp], weights: Array, targets: Array, alphas: Sequence[float]
    ) -> Array:
        """Return decision values less the intercept, (alphas, test rows, targets)."""
        mean, right = np.zeros(len(self._middle)), np.zeros((len(self._middle), targets.shape[1]))
        for part in blocks(len(train), len(mean)):
            rows = self._rows(train[part])
            mean += weights[part] @ rows
            right += rows.T @ (weights[part, None] * targets[part])
        matrix = self._matrix(train, weights) - np.outer(mean, mean / weights.sum())
        coefficients = _solutions(matrix, right, alphas)
        flat = coefficients.transpose(1, 0, 2).reshape(len(mean), -1)
        found = np.empty((len(test), flat.shape[1]))
        for part in blocks(len(test), len(mean)):
            found[part] = self._rows(test[part]) @ flat
        found -= mean / weights.sum() @ flat
        return found.reshape(len(test), len(alphas), -1).transpose(1, 0, 2)

    def _matrix(self, train: NDArray[np.intp], weights: Array) -> Array:
        count = len(self._X)
        outside = np.ones(count, bool)
        outside[train] = False
        left = np.flatnonzero(outside)
        if len(left) >= len(train) or len(left) + len(train) != count or np.ptp(weights) > 0:
            return self._sum(train, weights)
        if self._all is None:
            self._all = self._sum(np.arange(count), np.ones(count))
        return self._all - self._sum(left, np.ones(len(left)))

    def _sum(self, rows: NDArray[np.intp], weights: Array) -> Array:
        total = np.zeros((len(self._middle), len(self._middle)))
        for part in blocks(len(rows), len(total)):
            block = self._rows(rows[part])
            block *= np.sqrt(weights[part, None])
            total += block.T @ block
        return total

    def _rows(self, rows: NDArray[np.intp]) -> Array:
        block: Array = self._X[rows] - self._middle
        return block


class Gram:
    """Solves for the weights of rows."""

    def __init__(self, X: NDArray[np.floating]):
        middle = mean_of_columns(X)
        self._products = np.zeros((len(X), len(X)))
        for part in blocks(X.shape[1], len(X)):
            block = X[:, part] - middle[part]
            self._products += block @ block.T
        self.reach = float(self._products.trace())

    def scores(
        self, train: NDArray[np.intp], test: NDArray[np.intp], weights: Array, targets: Array, alphas: Sequence[float]
    ) -> Array:
        """Return decision values less the intercept, (alphas, test rows, targets)."""
        share = weights / weights.sum()
        inner, outer = self._products[np.ix_(train, train)], self._products[np.ix_(test, train)]
        mean = inner @ share
        outer = outer - mean - (outer @ share)[:, None] + share @ mean
        root = np.sqrt(weights)
        inner = (inner - mean - mean[:, None] + share @ mean) * root * root[:, None]
        dual = root[:, None] * _solutions(inner, root[:, None] * targets, alphas)
        return np.matmul(outer, dual)


def _solutions(matrix: Array, right: Array, alphas: Sequence[float]) -> Array:
    """Solve (matrix + alpha) x = right for each alpha; the matrix is symmetric and positive semidefinite.

    Returns
    -------
    (alphas, d, targets) float64 array
    """
    if len(alphas) < _MANY:
        try:
            return np.stack([_cholesky(matrix, right, alpha) for alpha in alphas])
        except linalg.LinAlgError:
            pass
    values, vectors = linalg.eigh(matrix, check_finite=False)
    shifted = values[:, None] + np.asarray(alphas)
    inverse = np.where(shifted > np.finfo(float).eps * len(values) * values[-1], 1 / shifted, 0)
    return np.stack([vectors @ (one[:, None] * (vectors.T @ right)) for one in inverse.T])


def _cholesky(matrix: Array, right: Array, alpha: float) -> Array:
    shifted = matrix.copy()
    shifted.flat[:: len(shifted) + 1] += alpha
    # The transpose of a symmetric matrix is itself, and lies in memory as LAPACK wants it.
    factor = linalg.cho_factor(shifted.T, lower=True, overwrite_a=True, check_finite=False)
    solution: Array = linalg.cho_solve(factor, right, check_finite=False)
    return solution
