"""The optimum of one support vector machine, judged by the gradient of the very weights that are returned.

The gradient ``g`` of an objective whose curvature is ``H``, at least one in every direction, says how far it is from
its minimum: by ``gᵀ H⁻¹ g / 2`` as long as no sample crosses the margin, and never by more than ``|g|² / 2``. It is
computed from the weights themselves: they are small where columns are large, so that nothing cancels. Dual
coefficients know nothing of columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.least_squares import correction
from histokit.classifiers.solvers.line_search import Line
from histokit.classifiers.solvers.newton_systems import System

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: An objective, and squared weights, this near to those of the optimum are left as they are.
NEAR = 1e-13
#: Where rounding allows no more, an objective this near to its minimum is one.
_ENOUGH = 1e-9
_STEPS = 100
#: So many steps are tried with normal equations, before they are taken for too inexact.
_TRUSTED_STEPS = 25
#: A step on the same samples has to leave less than this of what there was to gain.
_LEFT = 0.1


class Refined(NamedTuple):
    """What refinement gave.

    Parameters
    ----------
    primal : (w,) array
    values : (n,) array
        ``A v`` of all rows.
    optimal : bool
    """

    primal: Floats
    values: Floats
    optimal: bool


def distances(A: Floats, target: Floats, strength: Floats, primal: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return bounds on how far objectives are from their minima, and what they are measured by.

    Parameters
    ----------
    A : (n, w) array
    target, strength : (n, P) array
        Strength is the weight of samples times C.
    primal, values : (w, P) and (n, P) array

    Returns
    -------
    bounds, sizes : (P,) array
        A bound below `NEAR` times the size tells the optimum.
    """
    errors = np.where(target * values < 1.0, target - values, 0.0)
    pull = strength * errors
    slopes = primal - 2.0 * (A.T @ pull)
    square = np.einsum("ij,ij->j", primal, primal)
    objective = square / 2 + np.einsum("ij,ij->j", pull, errors)
    return np.einsum("ij,ij->j", slopes, slopes) / 2, np.minimum(square, objective)


def refine(system: System, target: Floats, penalty: float, primal: Floats) -> Refined:
    """Go from some weights to the optimum by Newton's method on the weights.

    Parameters
    ----------
    system : System
    target : (n,) array
        -1 and 1.
    penalty : float
        ``C``.
    primal : (w,) array
        Where to start.

    Returns
    -------
    Refined
    """
    A, strength = system.A, penalty * system.weight
    values, exact, before, last = A @ primal, False, np.inf, np.zeros(len(A), bool)
    for number in range(_STEPS):
        inside = (target * values < 1.0) & (strength > 0)
        errors = np.where(inside, target - values, 0.0)
        slope = primal - 2.0 * (A.T @ (strength * errors))
        square = float(primal @ primal)
        objective = square / 2 + float(strength @ errors**2)
        goal = NEAR * min(square, objective)
        if slope @ slope / 2 <= goal:
            return Refined(primal, values, True)
        step, gain = _step(system, inside, errors, slope, primal, penalty, exact)
        stuck = not np.isfinite(gain) or (bool((inside == last).all()) and gain > _LEFT * before)
        if (stuck or number >= _TRUSTED_STEPS) and not exact:
            exact, before = True, np.inf
            step, gain = _step(system, inside, errors, slope, primal, penalty, exact)
        elif stuck:
            return Refined(primal, values, gain <= _ENOUGH * objective)
        change = A @ step
        line = Line(strength, target, values, change, (square, float(primal @ step), float(step @ step)))
        primal, before, last = primal + line.share() * step, gain, inside
        values = A @ primal
        if gain <= goal:
            return Refined(primal, values, True)
    return Refined(primal, values, False)


def _step(
    system: System, inside: Mask, errors: Floats, slope: Floats, primal: Floats, penalty: float, exact: bool
) -> tuple[Floats, float]:
    """Return a step of Newton's method and what it gains on the same samples; no number where it fails."""
    if exact:
        rows = np.flatnonzero(inside)
        root = np.sqrt(2.0 * penalty * system.weight[rows])
        step, gain = correction(system.A[rows] * root[:, None], root * errors[rows], primal)
        return step, gain / 2
    try:
        step = system.step(inside, slope, penalty)
    except np.linalg.LinAlgError:
        return np.zeros_like(primal), np.nan
    gain = -float(slope @ step) / 2
    return step, gain if gain > 0 else np.nan
