"""How far fitted linear classifiers are from their optimum, whoever fitted them.

What Newton's equations say there is to gain, ``gᵀ H⁻¹ g / 2``, is found from below by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from histokit.classifiers.solvers.common import blocks, sample_weights

Floats = NDArray[np.float64]

#: An objective that could fall by more than this share is not at its minimum.
TOLERATED = 1e-3
_STEPS = 200


class Local(NamedTuple):
    """Objectives around some weights, each of weights of its own.

    Parameters
    ----------
    objective : (lines,) array
    slope : (lines, w) array
    curved : callable
        The products of the curvature, the same for all of them, and a direction of each that is asked for, (…, w).
    diagonal : (w,) array
        Of the curvature, or about that.
    """

    objective: Floats
    slope: Floats
    curved: Callable[[Floats], Floats]
    diagonal: Floats


def is_optimum(estimator: Any, X: NDArray[np.floating], y: NDArray[Any]) -> bool:
    """Return whether weights are those of the optimum, or so near that nobody could tell.

    Parameters
    ----------
    estimator : LinearSVC, LogisticRegression, RidgeClassifier or StandardisedSVR
        Fitted; others are taken to be right.
    X : (n, d) array
    y : (n,) array of int or float64
        What it was fitted to.
    """
    build = _BUILD.get(type(estimator).__name__)
    if build is None:
        return True
    A = np.ones((len(X), X.shape[1] + 1))
    A[:, :-1] = X
    # Of two classes, RidgeClassifier's have one dimension.
    weights = np.column_stack([np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return all((_gains(local) <= TOLERATED * local.objective).all() for local in build(estimator, A, y, weights))


def _gains(local: Local) -> Floats:
    """Return what there is to gain, or as much of it as shows that it is too much; infinite if it is no number."""
    gain, active, tolerated = np.zeros(len(local.slope)), np.arange(len(local.slope)), TOLERATED * local.objective
    rest, way = -local.slope, -local.slope / local.diagonal
    size = (rest * way).sum(1)
    for _ in range(_STEPS):
        curved = local.curved(way)
        bent = (way * curved).sum(1)
        known = np.isfinite(size + bent)
        gain[active[~known]] = np.inf
        on = known & (bent > 0.0) & ~(gain[active] > tolerated[active])
        if not on.any():
            break
        active, rest, way, size, bent = active[on], rest[on], way[on], size[on], bent[on]
        gain[active] += size**2 / bent / 2
        rest = rest - (size / bent)[:, None] * curved[on]
        smoothed = rest / local.diagonal
        before, size = size, (rest * smoothed).sum(1)
        on = ~(size <= 1e-8 * tolerated[active])
        if not on.any():
            break
        way = smoothed[on] + (size / before)[on, None] * way[on]
        active, rest, size = active[on], rest[on], size[on]
    return gain


def _squared_hinge(estimator: Any, A: Floats, y: NDArray[np.intp], weights: Floats) -> Iterator[Local]:

    two, balanced = len(estimator.classes_) == 2, sample_weights(y, estimator.class_weight)
    for number, line in enumerate(weights):
        positive = estimator.classes_[-1 if two else number]
        # Of one class against the rest, liblinear weighs that class alone.
        weight = np.where((y == positive) | two, balanced, 1.0)
        target = np.where(y == positive, 1.0, -1.0)
        errors = target - A @ line
        strength = np.where(target * errors > 0, 2.0 * estimator.C * weight, 0.0)
        yield _quadratic(A, errors[None], strength, np.ones(A.shape[1]), line[None])


def _epsilon_insensitive(estimator: Any, A: Floats, y: Floats, weights: Floats) -> Iterator[Local]:
    errors = (y - estimator.mean_) / estimator.deviation_ - A @ weights[0]
    beyond = np.sign(errors) * np.maximum(np.abs(errors) - estimator.epsilon, 0.0)
    yield _quadratic(A, beyond[None], np.where(beyond, 2.0 * estimator.C, 0.0), np.ones(A.shape[1]), weights)


def _squares(estimator: Any, A: Floats, y: NDArray[np.intp], weights: Floats) -> Iterator[Local]:
    penalty = np.append(np.full(A.shape[1] - 1, 2.0 * estimator.alpha), 0.0)
    known = estimator.classes_[-len(weights) :]
    strength = 2.0 * sample_weights(y, estimator.class_weight)
    for part in blocks(len(weights), 4 * len(A)):
        errors = np.where(known[part, None] == y, 1.0, -1.0) - weights[part] @ A.T
        yield _quadratic(A, errors, strength, penalty, weights[part])


def _quadratic(A: Floats, errors: Floats, strength: Floats, penalty: Floats, lines: Floats) -> Local:
    return Local(
        (errors**2 @ strength + lines**2 @ penalty) / 2,
        penalty * lines - (strength * errors) @ A,
        lambda way: penalty * way + (strength * (way @ A.T)) @ A,
        penalty + np.einsum("ij,ij,i->j", A, A, strength),
    )


def _logistic(estimator: Any, A: Floats, y: NDArray[np.intp], weights: Floats) -> Iterator[Local]:
    targets = (y == estimator.classes_[-len(weights) :, None]).astype(np.float64)
    strength = estimator.C * sample_weights(y, estimator.class_weight)
    penalty = np.append(np.ones(A.shape[1] - 1), 0.0)
    values = weights @ A.T
    if len(weights) == 1:
        found, losses = expit(values), -log_expit(np.where(targets > 0, values, -values)).sum(0)
    else:
        found, losses = softmax(values, axis=0), -(targets * log_softmax(values, axis=0)).sum(0)

    def curved(way: Floats) -> Floats:
        # All lines are one objective.
        lines = way.reshape(weights.shape)
        bent = found * (lines @ A.T)
        bent -= found * bent.sum(0)
        return (penalty * lines + (strength * bent) @ A).reshape(1, -1)

    yield Local(
        np.array([strength @ losses + (penalty * weights**2).sum() / 2]),
        (penalty * weights + (strength * (found - targets)) @ A).reshape(1, -1),
        curved,
        (penalty + np.maximum((strength * found * (1 - found)) @ A**2, np.finfo(float).tiny)).ravel(),
    )


_BUILD: dict[str, Callable[[Any, Floats, NDArray[Any], Floats], Iterator[Local]]] = {
    "LinearSVC": _squared_hinge,
    "RidgeClassifier": _squares,
    "LogisticRegression": _logistic,
    "StandardisedSVR": _epsilon_insensitive,
}
