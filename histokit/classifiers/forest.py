"""Extremely randomised trees for elimination: scikit-learn's own, without the costs of its ensemble for each tree."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import expect_many_classes
from histokit.classifiers.fitting import parallel

#: scikit-learn draws the seed of each tree below this.
_SEEDS = np.iinfo(np.int32).max

#: Trees split no samples whose values have a variance below 2e-16, and see none that is lost beside their mean.
_SMALL, _LOST = 1e-3, 1e6

_UNCHECKED = {"skip_parameter_validation": True, "assume_finite": True}


def mean_and_deviation(y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of a target and its standard deviation, which is 1 of equal numbers."""
    # Of equal numbers it may be computed as a hair beside 0.
    return float(np.mean(y)), float(np.std(y)) if np.ptp(y) else 1.0


def target_units(y: NDArray[np.float64]) -> tuple[float, float]:
    """Return what is to be taken away from a target, and by what power of 2 to divide it, before trees are grown.

    That is 0 and 1 wherever trees can work with its numbers as they are.
    """
    mean, deviation = mean_and_deviation(y)
    shift = mean if abs(mean) > _LOST * deviation else 0.0
    return shift, float(2.0 ** np.floor(np.log2(deviation))) if shift or deviation < _SMALL else 1.0


def rank_and_score(
    X: NDArray[np.float32],
    y: NDArray[Any],
    tested: NDArray[np.float32],
    classes: int | None,
    *,
    trees: int = 100,
    max_features: str | float | int = "sqrt",
    seed: int = 0,
    threads: bool = False,
    tell: Callable[[float], None] = lambda _: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit extremely randomised trees; return the importances of columns and the scores of other samples.

    Both are, bit for bit, those of ``ExtraTreesClassifier(trees, max_features=max_features, random_state=seed)``, or of
    `histokit.classifiers.standardised.UnitFreeTrees` where numbers are predicted. Trees are asked one by one, because
    validating arguments and dispatching cost as much as building a small tree.

    Parameters
    ----------
    X : (n, d) float32 array
        Finite; row-major order is faster, but for trees that stop at large nodes.
    y : (n,) array of int or float
        Numbers of classes, not all of them need to occur; or numbers to be predicted.
    tested : (m, d) float32 array
        May be empty.
    classes : int, optional
        None where numbers are predicted.
    trees : int
    max_features : str, float or int
        As in scikit-learn.
    seed : int
    threads : bool
        Whether trees grow on all cores at once.
    tell : callable
        Called after each tree with the share of trees that are done.

    Returns
    -------
    importances : (d,) float64 array
        Mean decrease of impurity, adding up to 1; all equal where no tree has a split, as with one class.
    scores : (m, classes) float64 array
        Probabilities, 0 for a class that does not occur in `y`; or (m, 1) predicted numbers.
    """
    from sklearn import config_context
    from sklearn.tree import ExtraTreeClassifier, ExtraTreeRegressor

    expect_many_classes()
    shift, unit = target_units(y) if classes is None else (0.0, 1.0)
    known, codes = (np.zeros(1, np.intp), (y - shift) / unit) if classes is None else np.unique(y, return_inverse=True)
    make, ask = (ExtraTreeRegressor, _values) if classes is None else (ExtraTreeClassifier, _probabilities)
    votes = np.zeros((len(tested), len(known)))
    found: list[NDArray[np.float64]] = []
    seeds = np.random.RandomState(seed).randint(_SEEDS, size=trees)
    work = ((make(max_features=max_features, random_state=int(number)), X, codes) for number in seeds)
    growing = parallel(_grown, work, threads, X.size) if threads else nullcontext(starmap(_grown, work))
    with config_context(**_UNCHECKED), growing as grown:
        for number, tree in enumerate(grown, 1):
            if tree.tree_.node_count > 1:
                found.append(tree.tree_.compute_feature_importances())
            if len(tested):
                votes += ask(tree, tested)
            tell(number / trees)
    scores = np.zeros((len(tested), classes or 1))
    scores[:, known] = shift + unit * (votes / trees)
    # The order of operations is scikit-learn's, to the last bit.
    importances = np.mean(found or [np.ones(X.shape[1])], axis=0)
    return importances / importances.sum(), scores


def _grown(tree: Any, X: NDArray[np.float32], y: NDArray[Any]) -> Any:
    from sklearn import config_context

    # Of each thread its own.
    with config_context(**_UNCHECKED):
        return tree.fit(X, y, check_input=False)


def _probabilities(tree: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = tree.predict_proba(X, check_input=False)
    return found


def _values(tree: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = tree.predict(X, check_input=False)[:, None]
    return found
