"""The linear systems of Newton's method for one linear support vector machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

#: A factorisation is updated as long as no larger share of its samples has changed.
_CHANGED = 0.1


class System:
    """Weighted ridge regressions on changing rows: the minimum of ``|v|² / 2 + C Σ c_i (y_i - a_i v)²``.

    Parameters
    ----------
    A : (n, w) array
    gram : (n, n) array or None
        ``A Aᵀ``, from which products of the rows inside are taken; without it they are made anew.
    weight : (n,) array
        ``c``; 0 where a row is not trained on.
    whole : callable
        Gives ``Σ a_i a_iᵀ`` of most rows, where weights are 0 and 1, and its `columns_factor`.
    """

    def __init__(
        self, A: Floats, gram: Floats | None, weight: Floats, whole: Callable[[Mask, float], tuple[Floats, Floats]]
    ):
        self.A, self.gram, self.weight, self._whole = A, gram, weight, whole
        self._plain = bool(np.isin(weight, (0.0, 1.0)).all())
        self._factor: _Factor | None = None
        self._scatter: Floats | None = None
        self._summed = np.zeros(len(A), bool)
        self._lower: tuple[float, Mask, Floats] | None = None

    def solve(self, inside: Mask, target: Floats, penalty: float) -> tuple[Floats, Floats]:
        """Return the (n,) dual coefficients of the minimum on the rows inside, and ``A v`` of all rows.

        Raises
        ------
        LinAlgError
            If rounding makes the system indefinite.
        """
        rows = np.flatnonzero(inside)
        dual = np.zeros(len(self.A))
        if self._few(inside, rows):
            dual[rows] = self._by_rows(rows, target, penalty)
            return dual, self.A @ (self.A[rows].T @ dual[rows]) if self.gram is None else self.gram @ dual
        right = self.A.T @ np.where(inside, 2.0 * penalty * self.weight * target, 0.0)
        values = self.A @ _solve(self._by_columns(inside, rows, penalty), right)
        dual[rows] = 2.0 * penalty * self.weight[rows] * (target[rows] - values[rows])
        return dual, values

    def step(self, inside: Mask, slope: Floats, penalty: float) -> Floats:
        """Return the (w,) step of Newton's method from where the objective has that slope.

        Raises
        ------
        LinAlgError
            If rounding makes the system indefinite.
        """
        rows = np.flatnonzero(inside)
        if not self._few(inside, rows):
            return -_solve(self._by_columns(inside, rows, penalty), slope)
        kept = self._factor
        if kept is None or kept.penalty != penalty or not np.array_equal(kept.rows, rows):
            self._factor = kept = _Factor(self._pairs, self.weight, rows, penalty)
        part = self.A[rows]
        found: Floats = part.T @ kept.solve(part @ slope) - slope
        return found

    def _few(self, inside: Mask, rows: Rows) -> bool:
        """Return whether it takes less to solve for the rows inside than for the columns."""
        count, width = len(rows), self.A.shape[1]
        if self.gram is not None:
            return count <= width
        changed = count if self._scatter is None else min(count, int((inside ^ self._summed).sum()))
        return count**2 * (width + count / 3) <= width**2 * (changed + width / 3)

    def _pairs(self, rows: Rows, others: Rows) -> Floats:
        """Return the products of some samples with others."""
        if self.gram is not None:
            # Without a check of bounds, twice as fast.
            return self.gram.take(rows, axis=0, mode="clip").take(others, axis=1, mode="clip")
        part = self.A[rows]
        found: Floats = part @ (part if rows is others else self.A[others]).T
        return found

    def _by_rows(self, rows: Rows, target: Floats, penalty: float) -> Floats:
        kept = self._factor
        if kept is not None and kept.penalty == penalty:
            gone, new = np.setdiff1d(kept.rows, rows), np.setdiff1d(rows, kept.rows)
            if len(gone) + len(new) <= _CHANGED * len(kept.rows):
                return kept.changed(self.weight, rows, gone, new, target)
        self._factor = kept = _Factor(self._pairs, self.weight, rows, penalty)
        return kept.solve(target[rows])

    def _by_columns(self, inside: Mask, rows: Rows, penalty: float) -> Floats:
        """Return the Cholesky factor of ``I + 2 C Σ c_i a_i a_iᵀ``."""
        if self._lower is not None and self._lower[0] == penalty and np.array_equal(self._lower[1], inside):
            return self._lower[2]
        if self._scatter is None and self._plain and 2 * len(rows) > len(inside):
            self._scatter, lower = self._whole(inside, penalty)
            self._summed, self._lower = inside, (penalty, inside, lower)
            return lower
        new, gone = inside & ~self._summed, self._summed & ~inside
        if self._scatter is None or new.sum() + gone.sum() >= len(rows):
            self._scatter = self._products(inside)
        else:
            # Two symmetric products, each of which takes half the time of one that weights give signs.
            for changed, update in ((new, np.add), (gone, np.subtract)):
                if changed.any():
                    products = self._products(changed)
                    self._scatter = update(self._scatter, products, out=products)
        self._summed = inside.copy()
        lower = columns_factor(self._scatter, penalty)
        self._lower = penalty, self._summed, lower
        return lower

    def _products(self, inside: Mask) -> Floats:
        """Return ``Σ c_i a_i a_iᵀ``; rows whose weight is 0 are counted once where weights are 0 and 1."""
        part = self.A[inside]
        if not self._plain:
            part *= np.sqrt(self.weight[inside])[:, None]
        found: Floats = part.T @ part
        return found


class _Factor:
    """The Cholesky factor of ``G + 1 / (2 C c)`` on some rows."""

    def __init__(self, pairs: Callable[[Rows, Rows], Floats], weight: Floats, rows: Rows, penalty: float):
        self.pairs, self.rows, self.penalty = pairs, rows, penalty
        part = pairs(rows, rows)
        part.flat[:: len(rows) + 1] += 0.5 / (penalty * weight[rows])
        self.lower = _cholesky(part)

    def solve(self, right: Floats) -> Floats:
        return _solve(self.lower, right)

    def changed(self, weight: Floats, rows: Rows, gone: Rows, new: Rows, target: Floats) -> Floats:
        """Solve on other rows, of which few differ, by a bordered system.

        Rows that are gone have a multiplier that makes their coefficient zero; new rows are added.
        """
        border = np.zeros((len(self.rows), len(gone) + len(new)), order="F")
        border[np.searchsorted(self.rows, gone), np.arange(len(gone))] = 1.0
        border[:, len(gone) :] = self.pairs(self.rows, new)
        corner = np.zeros((border.shape[1], border.shape[1]))
        corner[len(gone) :, len(gone) :] = self.pairs(new, new) + np.diag(0.5 / (self.penalty * weight[new]))
        inner, first = self.solve(border), self.solve(target[self.rows])
        wanted = np.concatenate([np.zeros(len(gone)), target[new]])
        outer = np.linalg.solve(corner - border.T @ inner, wanted - border.T @ first)
        full = np.zeros(len(target))
        full[self.rows] = first - inner @ outer
        full[new] = outer[len(gone) :]
        return full[rows]


def columns_factor(scatter: Floats, penalty: float) -> Floats:
    """Return the Cholesky factor of ``I + 2 C Σ c_i a_i a_iᵀ`` from the sums.

    Raises
    ------
    LinAlgError
        If rounding makes it indefinite.
    """
    matrix = (2.0 * penalty) * scatter
    matrix.flat[:: len(matrix) + 1] += 1.0
    return _cholesky(matrix)


def _cholesky(matrix: Floats) -> Floats:
    # The transpose of a symmetric matrix is itself, and in LAPACK's order.
    lower, failed = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True, clean=False)
    if failed:
        raise np.linalg.LinAlgError("the matrix of a Newton step is not positive definite")
    found: Floats = lower
    return found


def _solve(lower: Floats, right: Floats) -> Floats:
    found, _ = lapack.dpotrs(lower, right, lower=True)
    solution: Floats = found
    return solution
