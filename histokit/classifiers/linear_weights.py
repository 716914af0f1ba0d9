"""What a fitted linear classifier multiplies columns by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearWeights:
    """Decision values, or predicted numbers, are ``X @ weights.T + intercepts``.

    Parameters
    ----------
    weights : (K, d) array
    intercepts : (K,) array
        -inf of a class that no training sample was of.
    """

    weights: Doubles
    intercepts: Doubles

    def over(self, columns: NDArray[np.intp] | None, width: int) -> LinearWeights:
        """Return the weights of all columns, of which those that were kept are some; the others weigh nothing."""
        if columns is None:
            return self
        whole = np.zeros((len(self.weights), width))
        whole[:, columns] = self.weights
        return LinearWeights(whole, self.intercepts)


def linear_weights(estimator: Any, classes: int) -> LinearWeights | None:
    """Return the weights of a fitted estimator, or none where it is not linear.

    Of two classes the second has the weights of the estimator, the first their opposite. What probabilities are of is
    the value before the softmax, or before the logistic function. Standardisation of columns is part of the weights.

    Parameters
    ----------
    estimator : fitted estimator, or a pipeline of a ``StandardScaler`` and one
    classes : int
        0 where it predicts numbers.
    """
    fitted = estimator[-1] if hasattr(estimator, "steps") else estimator
    found = _own(fitted)
    if found is None:
        return None
    weights, intercepts = found
    if fitted is not estimator:
        scaler = estimator[0]
        weights = weights / scaler.scale_
        intercepts = intercepts - weights @ scaler.mean_
    if not classes:
        deviation, mean = getattr(fitted, "deviation_", 1.0), getattr(fitted, "mean_", 0.0)
        return LinearWeights(deviation * weights, mean + deviation * intercepts)
    if len(weights) == 1:
        weights, intercepts = np.concatenate([-weights, weights]), np.concatenate([-intercepts, intercepts])
    known = np.asarray(fitted.classes_, np.intp)
    whole, beside = np.zeros((classes, weights.shape[1])), np.full(classes, -np.inf)
    whole[known], beside[known] = weights, intercepts
    return LinearWeights(whole, beside)


def _own(fitted: Any) -> tuple[Doubles, Doubles] | None:
    """Return the (k, d) coefficients and (k,) intercepts of an estimator."""
    if hasattr(fitted, "coefs_"):
        if len(fitted.coefs_) > 1:
            return None
        return fitted.coefs_[0].T.astype(np.float64), np.asarray(fitted.intercepts_[0], np.float64)
    if not hasattr(fitted, "coef_"):
        return None
    weights = np.atleast_2d(np.asarray(fitted.coef_, np.float64))
    return weights, np.broadcast_to(np.asarray(fitted.intercept_, np.float64), len(weights))
