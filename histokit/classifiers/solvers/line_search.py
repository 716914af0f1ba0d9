"""The squared-hinge objective along a line: piecewise quadratic, with a slope that only grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 40
#: A decrease of the objective below this share of it is rounding, and so is a slope below this share of the first.
_ROUNDING = 1e-11


class Line:
    """The objective between two states of a problem.

    Parameters
    ----------
    weight : (n,) array
        Of samples times C; 0 where a row is not trained on.
    target : (n,) array
        -1 and 1.
    values, change : (n,) array
        Decision values at the start, and what the end adds to them.
    square : tuple of float
        ``|v|²``, ``v δ`` and ``|δ|²`` of the weights at the start and what the end adds to them.
    """

    def __init__(
        self, weight: Floats, target: Floats, values: Floats, change: Floats, square: tuple[float, float, float]
    ):
        rows = weight > 0
        self.weight, self.slack, self.change = weight[rows], 1.0 - (target * values)[rows], -(target * change)[rows]
        self.square = square

    def objective(self, share: float) -> float:
        """Return the objective at a share of the way."""
        constant, linear, square = self.square
        errors = np.maximum(self.slack + share * self.change, 0.0)
        return float((constant + 2 * share * linear + share**2 * square) / 2 + self.weight @ errors**2)

    def slope(self, share: float) -> tuple[float, float]:
        """Return the derivative of the objective at a share of the way, and how fast it grows there."""
        _, linear, square = self.square
        errors = self.slack + share * self.change
        pull = np.where(errors > 0, self.weight * self.change, 0.0)
        return float(linear + share * square + 2 * pull @ errors), float(square + 2 * pull @ self.change)

    def search(self) -> tuple[float, bool]:
        """Return how far to go, and whether nothing is left to be gained."""
        here, there, slope = self.objective(0.0), self.objective(1.0), self.slope(0.0)[0]
        if abs(slope) <= _ROUNDING * abs(here):
            return (1.0 if there <= here else 0.0), True
        return self.share(), False

    def share(self) -> float:
        """Return where the minimum is, which may be beyond the end, by Newton's method between bounds."""
        first = self.slope(0.0)[0]
        low, high, share = 0.0, np.inf, 1.0
        for _ in range(_STEPS if first < 0 else 0):
            slope, growth = self.slope(share)
            if abs(slope) <= _ROUNDING * -first or growth <= 0:
                return share
            low, high = (share, high) if slope < 0 else (low, share)
            share -= slope / growth
            if not low < share < high:
                share = (low + high) / 2
        return share if first < 0 else 0.0
