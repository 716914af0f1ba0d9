"""The single-layer perceptron: all learning rates of all folds are trained together, and read off on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from histokit.protocol.classifiers import classifier
from histokit.protocol.solvers.common import Folds, Scored, only_class, spread

Array = NDArray[np.floating]

#: Decay of the first and the second moment, and what keeps Adam from dividing by zero, as in scikit-learn.
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8

#: How many weights are updated at a time, so that they stay in the processor's cache.
_CACHED = 65_536


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
    for number, (train, _) in enumerate(folds):
        alike.setdefault(tuple(np.unique(y[train]).tolist()), []).append(number)
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
        for epoch, weights in _train(X, np.searchsorted(known, y), trains, len(known), rates, counts, seed):
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
    weights = next(_train(X, codes, rows, len(known), [rate], [count], seed))[1][0, 0].astype(np.float64)
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


def _train(
    X: Array,
    codes: NDArray[np.intp],
    trains: Sequence[NDArray[np.intp]],
    known: int,
    rates: Sequence[float],
    counts: Sequence[int],
    seed: int,
) -> Iterator[tuple[int, Array]]:
    """Train on the rows of each fold with each rate, and give the weights after each number of iterations.

    Parameters
    ----------
    X : (n, d) array
    codes : (n,) array of int
        Class numbers of the rows of `trains`, below `known`.
    trains : sequence of array of int
    known : int
    rates, counts : sequence
        Counts ascend.
    seed : int

    Yields
    ------
    count : int
    weights : (folds, rates, outputs, d + 1) array
        The last is the intercept. Two classes share one output.
    """
    rows = trains[0] if len(trains) == 1 else np.unique(np.concatenate(trains))
    members = np.stack([np.isin(rows, train) for train in trains])
    perceptrons = _Perceptrons(_Samples(X[rows], codes[rows], members, known), rates, seed)
    for epoch in range(1, counts[-1] + 1):
        perceptrons.run_epoch()
        if epoch in counts:
            yield epoch, perceptrons.weights()


class _Samples:
    """Training samples with a column of ones, their targets, and the folds that they belong to."""

    def __init__(self, X: Array, codes: NDArray[np.intp], members: NDArray[np.bool_], known: int):
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        self.X = np.ones((len(X), X.shape[1] + 1), dtype)
        self.X[:, :-1] = X
        self.targets = (np.arange(known)[:, None] == codes)[-1 if known == 2 else 0 :]
        self.members = members

    def batch_size(self, wanted: int) -> int:
        """Return how many samples make as many of each fold's training samples as wanted, on average."""
        count = len(self.X)
        return min(count, max(1, round(wanted * count / self.members.sum(1).mean())))


class _Perceptrons:
    """Perceptrons of all folds and learning rates, one after the other along the first axis of the arrays."""

    def __init__(self, data: _Samples, rates: Sequence[float], seed: int):
        fixed = classifier("fc").fixed
        self._alpha, self._patience = float(fixed["alpha"]), int(fixed["n_iter_no_change"])
        self._tolerance = float(fixed.get("tol", 1e-4))
        self._data, self._random = data, np.random.RandomState(seed)
        self._batch = data.batch_size(int(fixed["batch_size"]))
        self._order, self._step = np.arange(len(data.X)), 0
        start = self._start(len(data.targets))
        folds = len(data.members)
        self._fold, self._rate = np.repeat(np.arange(folds), len(rates)), np.tile(np.asarray(rates, float), folds)
        self._weights = np.tile(start, (len(self._fold), 1, 1))
        self._first, self._second = np.zeros_like(self._weights), np.zeros_like(self._weights)
        self._best, self._waited = np.full(len(self._fold), np.inf), np.zeros(len(self._fold), np.intp)
        self._running, self._done = np.arange(len(self._fold)), self._weights.copy()

    def _start(self, outputs: int) -> Array:
        """Draw the first weights as Glorot does, in scikit-learn's order: (outputs, d + 1)."""
        inputs = self._data.X.shape[1] - 1
        bound = np.sqrt(6 / (inputs + outputs))
        weights = self._random.uniform(-bound, bound, (inputs, outputs))
        weights = np.vstack([weights, self._random.uniform(-bound, bound, outputs)])
        return np.ascontiguousarray(weights.T, self._data.X.dtype)

    def weights(self) -> Array:
        """Return the weights as they are now, (folds, rates, outputs, d + 1)."""
        self._done[self._running] = self._weights
        return self._done.reshape(len(self._data.members), -1, *self._done.shape[1:])

    def run_epoch(self) -> None:
        """Go once through the samples in a new order, with all that still run."""
        from sklearn.utils import shuffle

        self._order = shuffle(self._order, random_state=self._random)
        if not len(self._running):
            return
        losses = np.zeros(len(self._running))
        for start in range(0, len(self._order), self._batch):
            losses += self._learn(self._order[start : start + self._batch])
        losses /= self._data.members.sum(1)[self._fold[self._running]]
        self._waited = np.where(losses > self._best - self._tolerance, self._waited + 1, 0)
        self._best = np.minimum(self._best, losses)
        self._keep(self._waited <= self._patience)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        """Leave those alone that have learnt what they can."""
        if kept.all():
            return
        self._done[self._running] = self._weights
        for name in ("_running", "_weights", "_first", "_second", "_best", "_waited"):
            setattr(self, name, getattr(self, name)[kept])

    def _learn(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Take one step of Adam on a mini-batch, and return the sums of its losses before."""
        inputs, fold = self._data.X.take(rows, axis=0, mode="clip"), self._fold[self._running]
        present = self._data.members[:, rows]
        counts = np.maximum(present.sum(1), 1)
        running, outputs, width = self._weights.shape
        flat = self._weights.reshape(-1, width)
        error = (flat @ inputs.T).reshape(running, outputs, -1)
        targets = self._data.targets[:, rows]
        if outputs == 1:
            expit(error, out=error)
        else:
            error -= error.max(1, keepdims=True)
            np.exp(error, out=error)
            error /= error.sum(1, keepdims=True)
        losses = self._losses(error, targets, present[fold])
        error -= targets
        error *= (present / counts[:, None]).astype(error.dtype)[fold][:, None]
        slopes = error.reshape(running * outputs, -1) @ inputs
        self._step += 1
        self._adam(slopes, np.repeat(self._alpha / counts[fold], outputs))
        return losses

    def _losses(self, found: Array, targets: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the sum of losses over a mini-batch, as scikit-learn computes it."""
        right = np.where(targets, found, 1 - found) if len(targets) == 1 else np.where(targets, found, 0)
        least = np.finfo(found.dtype).eps
        logs = np.log(np.clip(right.sum(1), least, 1 - least))
        penalties = np.einsum("rkd,rkd->r", self._weights[..., :-1], self._weights[..., :-1])
        losses: NDArray[np.float64] = 0.5 * self._alpha * penalties - np.einsum("rb,rb->r", logs, present)
        return losses

    def _adam(self, slopes: Array, decay: NDArray[np.float64]) -> None:
        """Move all weights along their slopes: (running × outputs, d + 1), and decay per row of them.

        The moments are kept without their factors 1 - β, which are in the pace.
        """
        outputs, width = self._weights.shape[1:]
        root = np.sqrt(1 - _SECOND)
        pace = np.sqrt(1 - _SECOND**self._step) / (1 - _FIRST**self._step) * (1 - _FIRST) / root
        paces = (pace * np.repeat(self._rate[self._running], outputs))[:, None].astype(slopes.dtype)
        decay = decay[:, None].astype(slopes.dtype)
        flat = [array.reshape(-1, width) for array in (self._weights, self._first, self._second)]
        size = max(1, _CACHED // width)
        for start in range(0, len(slopes), size):
            part = slice(start, start + size)
            weights, first, second = (array[part] for array in flat)
            slope = slopes[part]
            slope[:, :-1] += decay[part] * weights[:, :-1]
            first *= _FIRST
            first += slope
            slope *= slope
            second *= _SECOND
            second += slope
            np.sqrt(second, out=slope)
            slope += _EPSILON / root
            np.divide(first, slope, out=slope)
            slope *= paces[part]
            weights -= slope
