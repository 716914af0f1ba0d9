"""The estimators of nearest neighbours: scikit-learn's, asked by the distances that tuning computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from histokit.classifiers.solvers.common import blocks, mean_of_rows
from histokit.classifiers.solvers.distances import nearest


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
        rows, samples = np.asarray(X, np.float64), self._fit_X.astype(np.float64)
        belongs = np.eye(len(self.classes_))[self._y]
        shares = np.empty((len(rows), len(self.classes_)))
        for part in blocks(len(rows), len(samples)):
            shares[part] = belongs[nearest(rows[part], samples, self.metric, self.n_neighbors)].mean(1)
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
        rows, samples = np.asarray(X, np.float64), self._fit_X.astype(np.float64)
        found = np.empty(len(rows))
        for part in blocks(len(rows), len(samples)):
            found[part] = mean_of_rows(self._y[nearest(rows[part], samples, self.metric, self.n_neighbors)])
        return found
