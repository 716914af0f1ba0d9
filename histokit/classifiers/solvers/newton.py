"""Newton's method for many logistic problems on the same rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import expit, logsumexp, softmax

from histokit.classifiers.solvers.common import blocks, mean_of_columns

Array = NDArray[np.floating]
Exact = NDArray[np.float64]

#: A fit ends where decision values are this near to their limits, as its last step tells.
_NEAR = 1e-5
_STEPS, _INNER_STEPS = 60, 300
#: The equations of a step are solved to this share of the slopes at first.
_ROUGHEST = 0.3
_LEAST_FALL = 1e-4
#: Curvature that is lost where it is less than this, against penalties of 1, changes nothing.
_SEEN = 1e-3
#: Squares of larger numbers overflow in single precision.
_LARGE = 1e15


def probabilities(values: Exact) -> Exact:
    """Return probabilities of decision values (…, classes, n); one class stands for the second of two."""
    found: Exact = expit(values) if values.shape[-2] == 1 else softmax(values, axis=-2)
    return found


class Rotated:
    """Rows along their own principal directions, where the curvature is nearly diagonal.

    Parameters
    ----------
    X : (n, d) array
    strongest : float
        The largest weight of a sample, times C: how little of a direction is seen.

    Attributes
    ----------
    rows : (n, r + 1) array
        The last column is of ones, for the intercept.
    squares, penalty : (r + 1,) array
        Sums of squares of the columns, and what penalises their weights.
    """

    def __init__(self, X: Array, strongest: float = 1.0):
        self._X, self._mean = X, mean_of_columns(X)
        self._wide = X.shape[1] > len(X)
        self._strongest = strongest
        turned, self._basis = self._turned_wide() if self._wide else self._turned_long()
        self.squares = np.append(np.einsum("ij,ij->j", turned, turned), len(X))
        self.penalty = np.append(np.ones(turned.shape[1]), 0.0)
        largest = max(turned.max(initial=0.0), -turned.min(initial=0.0))
        single = X.dtype == np.float32 and largest < _LARGE
        self.rows = np.ones((len(X), turned.shape[1] + 1), np.float32 if single else np.float64)
        self.rows[:, :-1] = turned

    def _turned_long(self) -> tuple[Exact, Exact]:
        """Return rows in directions that are orthogonal to the last bit, whatever is lost in their products."""
        products = np.zeros((self._X.shape[1], self._X.shape[1]))
        for part in blocks(*self._X.shape):
            block = self._centred(part)
            products += block.T @ block
        basis = linalg.eigh(products, overwrite_a=True, check_finite=False)[1]
        turned = np.empty(self._X.shape)
        for part in blocks(*self._X.shape):
            turned[part] = self._centred(part) @ basis
        return turned, basis

    def _turned_wide(self) -> tuple[Exact, Exact]:
        """Return rows, and the weights of rows (n, r) or of columns (d, r) that make the directions."""
        count, width = self._X.shape
        products = np.zeros((count, count))
        for part in blocks(width, count):
            block = self._centred(part)
            products += block @ block.T
        values, vectors = linalg.eigh(products, check_finite=False)
        lost = np.finfo(float).eps * count * max(values[-1], 0)
        if lost * self._strongest < _SEEN:
            values, vectors = values[values > lost], vectors[:, values > lost]
            return vectors * np.sqrt(values), vectors / np.sqrt(values)
        # What products lose would be seen.
        across, upper = linalg.qr(self._centred(slice(None)).T, mode="economic", check_finite=False)
        vectors = linalg.svd(upper, check_finite=False, full_matrices=False)[0]
        return upper.T @ vectors, across @ vectors

    def _centred(self, part: slice) -> Exact:
        """Return some columns of a wide matrix, or rows of a long one, less their means."""
        found: Exact = self._X[:, part] - self._mean[part] if self._wide else self._X[part] - self._mean
        return found

    def forward(self, weights: Exact) -> Exact:
        """Return decision values (…, n) of weights (…, r + 1), in float64."""
        flat = weights.reshape(-1, weights.shape[-1])
        found = np.empty((len(flat), len(self.rows)))
        for part in blocks(*self.rows.shape):
            found[:, part] = flat @ self.rows[part].astype(np.float64, copy=False).T
        return found.reshape(*weights.shape[:-1], -1)

    def backward(self, errors: Exact) -> Exact:
        """Return sums of rows (…, r + 1) weighted by errors (…, n), in float64."""
        flat = errors.reshape(-1, errors.shape[-1])
        found = np.zeros((len(flat), self.rows.shape[1]))
        for part in blocks(*self.rows.shape):
            found += flat[:, part] @ self.rows[part].astype(np.float64, copy=False)
        return found.reshape(*errors.shape[:-1], -1)

    def back(self, weights: Exact) -> tuple[Exact, Exact]:
        """Return coefficients (classes, d) and intercepts (classes,) of the columns as they were."""
        coefficients = weights[:, :-1] @ self._basis.T
        if coefficients.shape[1] != self._X.shape[1]:
            parts = [coefficients @ self._centred(part) for part in blocks(self._X.shape[1], len(self._X))]
            coefficients = np.hstack(parts)
        # The smallest rounding of what a column has none of would count where the column is large.
        coefficients[:, (self._X[0] == self._X).all(0)] = 0.0
        return coefficients, weights[:, -1] - coefficients @ self._mean


class Newton:
    """Newton's method on many problems at once; its equations are solved by conjugate gradients.

    Attributes
    ----------
    weights : (problems, classes, r + 1) array
    values : (problems, classes, n) array
        Decision values.
    reached : (problems,) array of bool
    steps : int
    """

    def __init__(
        self,
        rotated: Rotated,
        targets: Exact,
        strength: Exact,
        start: Exact,
    ):
        self._rotated, self._targets, self._strength = rotated, targets, strength
        self.weights, self.values = start, rotated.forward(start)
        self.reached, self._rough = np.zeros(len(start), bool), np.full(len(start), _ROUGHEST)
        self.steps = 0

    def run(self) -> Newton:
        """Take steps until all have reached their optimum, or there were too many."""
        while self.steps < _STEPS and not self.reached.all():
            self._advance(np.flatnonzero(~self.reached))
            self.steps += 1
        return self

    def _advance(self, at: NDArray[np.intp]) -> None:
        """Take one step in those problems."""
        strength, weights, rough = self._strength[at, None], self.weights[at], self._rough[at]
        found = probabilities(self.values[at])
        slopes = self._rotated.backward((found - self._targets) * strength) + self._rotated.penalty * weights
        step, change = _solve(self._rotated, slopes, found, strength, rough)
        length = self._search(at, slopes, step, change)
        self.weights[at] = weights + length[:, None, None] * step
        self.values[at] = self._rotated.forward(self.weights[at])
        moved = np.abs(change).max((1, 2))
        # The error left grows with the square of the step, and with what its equations were left unsolved.
        self.reached[at] = (length == 1) & (moved * np.maximum(moved, rough) <= _NEAR)
        self._rough[at] = np.clip(0.1 * moved, 1e-3, _ROUGHEST)

    def _search(self, at: NDArray[np.intp], slopes: Exact, step: Exact, change: Exact) -> Exact:
        """Return how much of each step to take: half as much until the objective falls as it should."""
        length = np.ones(len(at))
        before = self._objective(at, np.zeros(len(at)), step, change)
        fall = _LEAST_FALL * np.einsum("qkr,qkr->q", slopes, step)
        noise = 1e-13 * np.abs(before)
        left = np.arange(len(at))
        for _ in range(_STEPS):
            after = self._objective(at[left], length[left], step[left], change[left])
            left = left[after > before[left] + fall[left] * length[left] + noise[left]]
            if not len(left):
                break
            length[left] /= 2
        return length

    def _objective(self, at: NDArray[np.intp], length: Exact, step: Exact, change: Exact) -> Exact:
        values = self.values[at] + length[:, None, None] * change
        weights = self.weights[at] + length[:, None, None] * step
        losses = np.logaddexp(0, self._other_classes(values))
        penalties = np.einsum("qkr,qkr,r->q", weights, weights, self._rotated.penalty)
        found: Exact = np.einsum("qn,qn->q", losses, self._strength[at]) + penalties / 2
        return found

    def _other_classes(self, values: Exact) -> Exact:
        """Return the logarithm of the odds against the class of each sample (problems, n).

        Nothing cancels in it, so that losses much smaller than values keep all of their digits.
        """
        if len(self._targets) == 1:
            return np.where(self._targets[0] > 0, -values[:, 0], values[:, 0])
        own = np.einsum("qkn,kn->qn", values, self._targets)
        found: Exact = logsumexp(np.where(self._targets > 0, -np.inf, values - own[:, None]), axis=1)
        return found


def _solve(
    rotated: Rotated,
    slopes: Exact,
    found: Exact,
    strength: Exact,
    rough: Exact,
) -> tuple[Exact, Exact]:
    """Solve Newton's equations by conjugate gradients, preconditioned as if all samples were curved alike.

    Parameters
    ----------
    rotated : Rotated
    slopes : (problems, classes, r + 1) array
    found : (problems, classes, n) array
        Probabilities.
    strength : (problems, 1, n) array
        Weights of samples times C.
    rough : (problems,) array
        How much of the slopes may be left.

    Returns
    -------
    step : (problems, classes, r + 1) array
    change : (problems, classes, n) array
        Of decision values, along the step.
    """
    rows, penalty = rotated.rows, rotated.penalty.astype(rotated.rows.dtype)
    curvature = (strength[:, 0] * (found * (1 - found)).mean(1)).mean(1)
    scale = curvature[:, None, None] * rotated.squares + rotated.penalty
    step, change = np.zeros(slopes.shape), np.zeros(found.shape)
    rest = -slopes
    state = {
        "scale": scale, "share": found, "strength": strength, "rest": rest, "way": rest / scale,
        "step": step, "change": change,
    }  # fmt: skip
    state = {name: array.astype(rows.dtype) for name, array in state.items()}
    at, size = np.arange(len(slopes)), _size(state["rest"], state["way"])
    goal = rough**2 * size
    for count in range(1, _INNER_STEPS + 1):
        rest, way = state["rest"], state["way"]
        along = (way.reshape(-1, way.shape[-1]) @ rows.T).reshape(*way.shape[:-1], -1)
        bent = state["share"] * along
        bent -= state["share"] * bent.sum(1, keepdims=True)
        bent *= state["strength"]
        curved = (bent.reshape(-1, bent.shape[-1]) @ rows).reshape(way.shape)
        curved += penalty * way
        bend = _size(way, curved)
        # Where nothing is left of the slopes, nothing is to be gone.
        pace = np.divide(size, bend, out=np.zeros_like(size), where=bend > 0)[:, None, None].astype(rows.dtype)
        state["step"] += pace * way
        state["change"] += pace * along
        rest -= pace * curved
        smoothed = rest / state["scale"]
        before, size = size, _size(rest, smoothed)
        way *= np.divide(size, before, out=np.zeros_like(size), where=before > 0)[:, None, None].astype(rows.dtype)
        way += smoothed
        going = size > goal
        if count == _INNER_STEPS:
            going[:] = False
        if not going.all():
            step[at[~going]], change[at[~going]] = state["step"][~going], state["change"][~going]
            state = {name: array[going] for name, array in state.items()}
            at, size, goal = at[going], size[going], goal[going]
        if not len(at):
            break
    return step, change


def _size(one: Array, other: Array) -> Exact:
    """Return the inner products of two arrays, one for each problem."""
    found: Exact = np.einsum("qkr,qkr->q", one, other, dtype=np.float64)
    return found
