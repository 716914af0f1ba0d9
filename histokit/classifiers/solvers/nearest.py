"""The estimators of nearest neighbours: scikit-learn's, asked by the distances that tuning computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from histokit.classifiers.solvers.common import blocks, mean_of_rows
from histokit.classifiers.solvers.distances import NearestSamples


class NearestNeighbours(KNeighborsClassifier):
    """Classification by the uniform votes of the nearest training samples.

    Parameters
    ----------
    n_neighbors : int
    metric : str
        One of `histokit.classifiers.table.DISTANCES`.
    algorithm : str
        ``brute``: trees of neighbours are types that a stored model may not hold.
    """

    def __init__(self, n_neighbors: int = 5, *, metric: str = "euclidean", algorithm: str = "brute"):
        super().__init__(n_neighbors, metric=metric, algorithm=algorithm)

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (n, classes) shares of votes of samples (n, d)."""
        X, samples = np.asarray(X), NearestSamples(self._fit_X, self.metric)
        belongs = np.eye(len(self.classes_))[self._y]
        shares = np.empty((len(X), len(self.classes_)))
        for part in blocks(len(X), len(self._fit_X)):
            shares[part] = belongs[samples.nearest(X[part], self.n_neighbors)].mean(1)
        return shares

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """Return the classes of samples (n, d)."""
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return found


class NearestMeans(KNeighborsRegressor):
    """Regression by the mean of the nearest training samples.

    Parameters
    ----------
    n_neighbors : int
    metric : str
        One of `histokit.classifiers.table.DISTANCES`.
    algorithm : str
        As of `NearestNeighbours`.
    """

    def __init__(self, n_neighbors: int = 5, *, metric: str = "euclidean", algorithm: str = "brute"):
        super().__init__(n_neighbors, metric=metric, algorithm=algorithm)

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (n,) predicted values of samples (n, d)."""
        X, samples = np.asarray(X), NearestSamples(self._fit_X, self.metric)
        found = np.empty(len(X))
        for part in blocks(len(X), len(self._fit_X)):
            found[part] = mean_of_rows(self._y[samples.nearest(X[part], self.n_neighbors)])
        return found
