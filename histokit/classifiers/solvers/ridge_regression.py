"""Ridge regression: all penalties of a fold from one scatter or Gram matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import Folds, Scored
from histokit.classifiers.solvers.ridge import Exact, Penalties


def cross_scores(
    X: NDArray[np.floating],
    y: NDArray[np.float64],
    folds: Folds,
    settings: Sequence[Mapping[str, Any]],
    classes: int = 1,
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Iterator[Scored]:
    """Predict by all penalties on all folds.

    The objective is that of scikit-learn's ``Ridge``: squared error and an intercept without penalty.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) float64 array
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``alpha`` of each.
    classes, class_weight, seed
        Not used.

    Yields
    ------
    fold, setting : int
    values : (test rows, 1) float64 array
    converged : bool
        Always true.
    """
    penalties = Penalties(X, [float(setting["alpha"]) for setting in settings])
    for number, (train, test) in enumerate(folds):
        weights, mean = np.ones(len(train)), y[train].mean()
        targets = (y[train] - mean)[:, None]
        for setting, one in enumerate(penalties.values(train, test, weights, targets)):
            yield number, setting, mean + one, True


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.float64],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted ``Ridge``, solved in float64.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) float64 array
    settings : dict
        ``alpha``.
    class_weight, seed
        Not used.
    """
    from sklearn.linear_model import Ridge

    alpha, rows, mean = float(settings["alpha"]), np.arange(len(y)), y.mean()
    exact = Exact(X, rows, np.ones(len(y)))
    estimator = Ridge(alpha=alpha)
    if exact.needed(alpha):
        estimator.coef_ = exact.coefficients(alpha, (y - mean)[:, None])[0]
        estimator.n_features_in_, estimator.n_iter_ = X.shape[1], None
    else:
        estimator.fit(exact.rows(rows), y - mean)
    estimator.intercept_ = float(mean - estimator.coef_ @ exact.middle)
    return estimator
