"""What the solvers share: folds, the weights of classes, and scores for all classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Training and test rows of each fold.
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
#: Fold, setting, scores (test rows, classes), whether the optimum was reached.
Scored = tuple[int, int, NDArray[np.float64], bool]

#: How many numbers a temporary array holds at most (64 MiB of float64).
BLOCK = 8_388_608

_ABSENT = {"decision": -np.inf, "probability": 0.0}


def blas_threads(count: int | None) -> AbstractContextManager[Any]:
    """Return a context in which products of matrices have so many threads; as many as ever where it is None."""
    return _libraries().limit(limits=count, user_api="blas")


@cache
def _libraries() -> Any:
    # Looking for them takes longer than a small fit; SciPy brings one of its own.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def sample_weights(y: NDArray[np.intp], class_weight: str | None) -> NDArray[np.float64]:
    """Return the weight of each sample.

    Parameters
    ----------
    y : (n,) array of int
    class_weight : str, optional
        ``balanced``: n / (classes × samples of the class), as in scikit-learn; else 1.

    Returns
    -------
    (n,) float64 array
    """
    if class_weight != "balanced":
        return np.ones(len(y))
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = (len(y) / (len(counts) * counts))[codes]
    return weights


def spread(found: NDArray[np.floating], known: NDArray[np.intp], classes: int, kind: str) -> NDArray[np.float64]:
    """Return scores for all classes from those of the classes that had training samples.

    Parameters
    ----------
    found : (n,) or (n, known) array
        One number per sample for two classes, that of the second: its decision value or its probability.
    known : (known,) array of int
        Ascending.
    classes : int
    kind : str
        ``decision`` or ``probability``.

    Returns
    -------
    (n, classes) float64 array
        As `histokit.classifiers.estimators.scores` gives them.
    """
    if found.ndim == 1:
        other = -found if kind == "decision" else 1 - found
        found = np.stack([other, found], axis=1)
    full = np.full((len(found), classes), _ABSENT[kind])
    full[:, known] = found
    return full


def only_class(rows: int, known: NDArray[np.intp], classes: int, kind: str) -> NDArray[np.float64]:
    """Return the scores of samples where training knew one class only, which is then always predicted."""
    sure = np.full((rows, 1), 0.0 if kind == "decision" else 1.0)
    return spread(sure, known, classes, kind)


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Cut rows into pieces whose temporary arrays stay small.

    Parameters
    ----------
    rows : int
    width : int
        Numbers per row.
    """
    size = max(1, BLOCK // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def mean_of_columns(X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (d,) means of columns: of a column that is the same everywhere that very number."""
    first = X[0].astype(np.float64)
    found = np.zeros(X.shape[1])
    for part in blocks(*X.shape):
        found += (X[part] - first).sum(0)
    means: NDArray[np.float64] = first + found / len(X)
    return means


def mean_of_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) means of (n, k) values: of the same ones the very same number, in whatever order they are."""
    means: NDArray[np.float64] = np.sort(values, axis=1).mean(axis=1)
    return means
