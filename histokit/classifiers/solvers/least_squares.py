"""Corrections of regularised least squares that hold where normal equations, or those of a dual, lose all digits.

The minimum of ``|rows (v + δ) - y|² + |v + δ|²`` over ``δ`` lies in the projection of the residuals on the columns of
``B = [rows; I]``, which a QR decomposition gives with an error that grows with the condition of ``B``, not with its
square (Björck 1996, "Numerical Methods for Least Squares Problems").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Floats = NDArray[np.float64]


def correction(rows: Floats, errors: Floats, primal: Floats) -> tuple[Floats, float]:
    """Return the step to the minimum of ``|errors - rows δ|² + |primal + δ|²``, and what it gains.

    Parameters
    ----------
    rows : (m, w) array
    errors : (m,) array
        What is left of the targets.
    primal : (w,) array

    Returns
    -------
    step : (w,) array
    gain : float
        By how much the sum of squares falls: 0 at the minimum.
    """
    if len(rows) < rows.shape[1]:
        return _from_rows(rows, errors, primal)
    return _from_columns(rows, errors, primal)


def _from_columns(rows: Floats, errors: Floats, primal: Floats) -> tuple[Floats, float]:
    width = rows.shape[1]
    length = np.sqrt(np.einsum("ij,ij->j", rows, rows) + 1.0)
    basis, upper = linalg.qr(
        np.vstack([rows / length, np.diag(1.0 / length)]), mode="economic", overwrite_a=True, check_finite=False
    )
    along = basis.T @ np.concatenate([errors, -primal])
    step = linalg.solve_triangular(upper, along, check_finite=False) / length
    return step[:width], float(along @ along)


def _from_rows(rows: Floats, errors: Floats, primal: Floats) -> tuple[Floats, float]:
    """Take away what is orthogonal to the columns of ``B``: the columns of ``[I; -rowsᵀ]``, which are fewer."""
    count, width = rows.shape
    # Householder's reflections keep small rows whole below large ones, not above.
    order = np.argsort(-np.einsum("ij,ij->j", rows, rows), kind="stable")
    across = np.vstack([-rows.T[order], np.eye(count)])
    basis = linalg.qr(across, mode="economic", overwrite_a=True, check_finite=False)[0]
    residual = np.concatenate([-primal[order], errors])
    for _ in range(2):
        residual = residual - basis @ (basis.T @ residual)
    step = np.empty(width)
    step[order] = residual[:width]
    return step, float(residual @ residual)
