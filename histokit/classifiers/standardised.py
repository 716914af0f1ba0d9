"""Regression that does not depend on the units of the target."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.svm import LinearSVR

from histokit.classifiers.forest import mean_and_deviation, target_units

#: scikit-learn stops by the slope relative to that at zero, which columns of large numbers make: those of small ones
#: are not fitted then.
_TOLERANCE = 1e-8


class StandardisedSVR(LinearSVR):
    """scikit-learn's ``LinearSVR`` of the squared loss, with epsilon in standard deviations of the target.

    Parameters
    ----------
    C : float
    epsilon : float
        Errors below so many standard deviations of the target cost nothing.
    max_iter : int
    random_state : int, optional

    Attributes
    ----------
    mean_, deviation_ : float
        Of the target that it was fitted to; 1 in place of no deviation.
    coef_, intercept_ : (d,) and (1,) arrays
        Of the standardised target.
    """

    def __init__(self, C: float = 1.0, *, epsilon: float = 0.1, max_iter: int = 1000, random_state: int | None = None):
        super().__init__(
            C=C,
            epsilon=epsilon,
            loss="squared_epsilon_insensitive",
            dual=False,
            tol=_TOLERANCE,
            max_iter=max_iter,
            random_state=random_state,
        )

    def fit(self, X: NDArray[np.floating], y: NDArray[np.float64], sample_weight: Any = None) -> Self:
        """Fit to samples (n, d) and their (n,) values."""
        self.mean_, self.deviation_ = mean_and_deviation(y)
        super().fit(X, (y - self.mean_) / self.deviation_, sample_weight)
        return self

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (n,) predicted values of samples (n, d)."""
        found: NDArray[np.float64] = self.mean_ + self.deviation_ * super().predict(X)
        return found


class UnitFreeTrees(ExtraTreesRegressor):
    """scikit-learn's ``ExtraTreesRegressor``, which takes small numbers, such as moles per litre, for all the same.

    Attributes
    ----------
    shift_, unit_ : float
        What was taken away from the target, and by what it was divided: 0 and 1 of most.
    """

    def fit(self, X: NDArray[np.floating], y: NDArray[np.float64], sample_weight: Any = None) -> Self:
        """Fit to samples (n, d) and their (n,) values."""
        self.shift_, self.unit_ = target_units(y)
        super().fit(X, (y - self.shift_) / self.unit_, sample_weight)
        return self

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (n,) predicted values of samples (n, d)."""
        found: NDArray[np.float64] = self.shift_ + self.unit_ * super().predict(X)
        return found
