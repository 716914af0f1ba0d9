"""The single-layer perceptron: all learning rates of all folds are trained together, and read off on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from histokit.classifiers.solvers.adam import train
from histokit.classifiers.solvers.common import Folds, Scored, only_class, spread
from histokit.classifiers.table import classifier

Array = NDArray[np.floating]


def cross_scores(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    folds: Folds,
    settings: Sequence[Mapping[str, Any]],
    classes: int,
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Iterator[Scored]:
    """Score all learning rates after all numbers of iterations on all folds.

    The training is that of scikit-learn's ``MLPClassifier`` without hidden layers, with the same first weights. On
    one fold the mini-batches are the same too; several folds share their mini-batches, each of which has as many
    training samples per fold as scikit-learn's on average. The test samples of a fold in them do not count for it.

    Parameters
    ----------
    X : (n, d) array
        Trained in its own precision, float32 or float64.
    y : (n,) array of int
        Numbers of classes.
    folds : sequence of (training rows, test rows)
    settings : sequence of dict
        ``iterations``, passes over the training samples, and ``lr`` of each.
    classes : int
    class_weight : str, optional
        Not used: scikit-learn's perceptron takes no weights.
    seed : int

    Yields
    ------
    fold, setting : int
    scores : (test rows, classes) float64 array
        Probabilities.
    converged : bool
        Always true: the number of iterations is part of the setting.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, (rows, _) in enumerate(folds):
        alike.setdefault(tuple(np.unique(y[rows]).tolist()), []).append(number)
    rates = list(dict.fromkeys(float(setting["lr"]) for setting in settings))
    counts = sorted({int(setting["iterations"]) for setting in settings})
    for present, members in alike.items():
        known = np.array(present, np.intp)
        if len(known) == 1:
            for number in members:
                alone = only_class(len(folds[number][1]), known, classes, "probability")
                yield from ((number, setting, alone, True) for setting in range(len(settings)))
            continue
        trains = [folds[number][0] for number in members]
        for epoch, weights in train(X, np.searchsorted(known, y), trains, len(known), rates, counts, seed):
            for number, of_fold in zip(members, weights, strict=True):
                found = _probabilities(X[folds[number][1]], of_fold)
                for place, setting in enumerate(settings):
                    if int(setting["iterations"]) == epoch:
                        one = found[rates.index(float(setting["lr"]))]
                        yield number, place, spread(one, known, classes, "probability"), True


def fit(
    X: NDArray[np.floating],
    y: NDArray[np.intp],
    settings: Mapping[str, Any],
    *,
    class_weight: str | None = None,
    seed: int = 0,
) -> Any:
    """Return a fitted ``MLPClassifier``.

    Its weights are kept in float64, so that probabilities near 0 and 1 keep their order.

    Parameters
    ----------
    X : (n, d) array
        Trained in its own precision, float32 or float64.
    y : (n,) array of int
        At least two classes.
    settings : dict
        ``iterations`` and ``lr``.
    class_weight : str, optional
        Not used: scikit-learn's perceptron takes no weights.
    seed : int
    """
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    known, codes = np.unique(y, return_inverse=True)
    rate, count = float(settings["lr"]), int(settings["iterations"])
    rows = [np.arange(len(X))]
    weights = next(train(X, codes, rows, len(known), [rate], [count], seed))[1][0, 0].astype(np.float64)
    given = {**classifier("fc").fixed, "learning_rate_init": rate, "max_iter": count, "random_state": seed}
    estimator = MLPClassifier(**{**given, "batch_size": min(int(given["batch_size"]), len(X))})
    estimator._label_binarizer = LabelBinarizer().fit(y)
    estimator.classes_, estimator.n_features_in_ = known, X.shape[1]
    estimator.n_layers_, estimator.n_outputs_ = 2, len(weights)
    estimator.out_activation_ = "logistic" if len(weights) == 1 else "softmax"
    estimator.coefs_, estimator.intercepts_ = [weights[:, :-1].T.copy()], [weights[:, -1].copy()]
    return estimator


def _probabilities(X: Array, weights: Array) -> list[Array]:
    """Return, for each learning rate, the probability of the second of two classes, or of all classes."""
    rates, outputs, _ = weights.shape
    flat = weights.reshape(rates * outputs, -1)
    found = (X @ flat[:, :-1].T + flat[:, -1]).astype(np.float64).reshape(len(X), rates, outputs)
    if outputs == 1:
        return list(expit(found[..., 0]).T)
    return list(softmax(found, axis=2).transpose(1, 0, 2))
