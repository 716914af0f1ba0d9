"""Training of many single-layer perceptrons at once, by Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histokit.classifiers.solvers.common import blas_threads
from histokit.classifiers.table import classifier
from histokit.cores import cores

Array = NDArray[np.floating]

#: Decay of the first and the second moment, and what keeps Adam from dividing by zero, as in scikit-learn.
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8
#: How many weights are updated at a time, so that they stay in the processor's cache.
_CACHED = 65_536
#: OpenBLAS computes products of so many multiplications without copies; worth it for few rows, in pieces not too small.
_SMALL, _FEW, _LEAST = 1_000_000, 12, 32
#: From so many multiplications in a product on, threads share the perceptrons.
_WORTH_THREADS = 20_000_000


def train(
    X: Array,
    codes: NDArray[np.intp],
    trains: Sequence[NDArray[np.intp]],
    known: int,
    rates: Sequence[float],
    counts: Sequence[int],
    seed: int,
) -> Iterator[tuple[int, Array]]:
    """Train on the rows of each fold with each rate, and give the weights after each number of iterations.

    Each thread trains perceptrons of its own, so that nothing depends on which is faster.

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
    data = TrainingSamples(X[rows], codes[rows], members, known)
    folds = np.repeat(np.arange(len(trains)), len(rates))
    every = np.tile(np.asarray(rates, np.float64), len(trains))
    threads = min(cores(), len(folds)) if data.work(len(folds)) > _WORTH_THREADS else 1
    split = zip(np.array_split(folds, threads), np.array_split(every, threads), strict=True)
    parts = [_Perceptrons(data, fold, rate, seed) for fold, rate in split]
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        each = map if threads == 1 else pool.map
        for count in counts:
            with blas_threads(1):
                for _ in range(done, count):
                    list(each(_Perceptrons.run_epoch, parts))
            done = count
            weights = np.concatenate([part.weights() for part in parts])
            yield count, weights.reshape(len(trains), len(rates), *weights.shape[1:])


class TrainingSamples:
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

    def work(self, perceptrons: int) -> int:
        """Return how many multiplications a mini-batch takes in one product."""
        batch = self.batch_size(int(classifier("fc").fixed["batch_size"]))
        return batch * self.X.shape[1] * len(self.targets) * perceptrons


class _Perceptrons:
    """Perceptrons of some folds and learning rates, one after the other along the first axis of the arrays."""

    def __init__(self, data: TrainingSamples, folds: NDArray[np.intp], rates: NDArray[np.float64], seed: int):
        fixed = classifier("fc").fixed
        self._alpha, self._patience = float(fixed["alpha"]), int(fixed["n_iter_no_change"])
        self._tolerance = float(fixed.get("tol", 1e-4))
        self._data, self._random = data, np.random.RandomState(seed)
        self._batch = data.batch_size(int(fixed["batch_size"]))
        self._order, self._step = np.arange(len(data.X)), 0
        start = self._start(len(data.targets))
        self._fold, self._rate = folds, rates
        self._weights = np.tile(start, (len(folds), 1, 1))
        self._first, self._second = np.zeros_like(self._weights), np.zeros_like(self._weights)
        self._best, self._waited = np.full(len(folds), np.inf), np.zeros(len(folds), np.intp)
        self._running, self._done = np.arange(len(folds)), self._weights.copy()

    def _start(self, outputs: int) -> Array:
        """Draw the first weights as Glorot does, in scikit-learn's order: (outputs, d + 1)."""
        inputs = self._data.X.shape[1] - 1
        bound = np.sqrt(6 / (inputs + outputs))
        weights = self._random.uniform(-bound, bound, (inputs, outputs))
        weights = np.vstack([weights, self._random.uniform(-bound, bound, outputs)])
        return np.ascontiguousarray(weights.T, self._data.X.dtype)

    def weights(self) -> Array:
        """Return the weights as they are now, (perceptrons, outputs, d + 1)."""
        self._done[self._running] = self._weights
        return self._done

    def run_epoch(self) -> None:
        """Go once through the samples in a new order, with all that still run."""
        from sklearn.utils import shuffle

        if not len(self._running):
            return
        self._order = shuffle(self._order, random_state=self._random)
        data, fold = self._data, self._fold[self._running]
        members, targets = data.members[:, self._order], data.targets[:, self._order]
        right, penalties = np.empty((len(fold), len(self._order)), data.X.dtype), np.zeros(len(fold))
        for start in range(0, len(self._order), self._batch):
            part = slice(start, start + self._batch)
            penalties += np.einsum("rkd,rkd->r", self._weights[..., :-1], self._weights[..., :-1])
            right[:, part] = self._learn(self._order[part], fold, members[:, part], targets[:, part])
        losses = self._losses(right, penalties, members[fold]) / data.members.sum(1)[fold]
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

    def _learn(
        self, rows: NDArray[np.intp], fold: NDArray[np.intp], present: NDArray[np.bool_], targets: NDArray[np.bool_]
    ) -> Array:
        """Take one step of Adam on a mini-batch, and return the probabilities of the right classes before."""
        inputs = self._data.X.take(rows, axis=0, mode="clip")
        counts = np.maximum(present.sum(1), 1)
        running, outputs, width = self._weights.shape
        error = _products(self._weights.reshape(-1, width), inputs).reshape(running, outputs, -1)
        if outputs == 1:
            expit(error, out=error)
        else:
            error -= error.max(1, keepdims=True)
            np.exp(error, out=error)
            error /= error.sum(1, keepdims=True)
        right = np.where(targets, error, 1 - error if outputs == 1 else 0).sum(1)
        error -= targets
        error *= (present / counts[:, None]).astype(error.dtype)[fold][:, None]
        slopes = _sums(error.reshape(running * outputs, -1), inputs)
        self._step += 1
        self._adam(slopes, np.repeat(self._alpha / counts[fold], outputs))
        return right

    def _losses(self, right: Array, penalties: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the sum of losses over the samples of an epoch, as scikit-learn computes it."""
        least = np.finfo(right.dtype).eps
        logs = np.log(np.clip(right, least, 1 - least))
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


def _products(weights: Array, inputs: Array) -> Array:
    """Return weights · inputsᵀ: (w, d) and (b, d) give (w, b).

    A product of few rows is mostly the copying of the other matrix, which OpenBLAS leaves out in small products.
    """
    size = _SMALL // weights.size
    if size < _LEAST or len(weights) > _FEW:
        return (inputs @ weights.T).T
    found = np.empty((len(weights), len(inputs)), weights.dtype)
    for start in range(0, len(inputs), size):
        found[:, start : start + size] = weights @ inputs[start : start + size].T
    return found


def _sums(errors: Array, inputs: Array) -> Array:
    """Return errors · inputs: (w, b) and (b, d) give (w, d)."""
    size = _SMALL // errors.size
    if size < _LEAST or len(errors) > _FEW:
        return errors @ inputs
    found = np.empty((len(errors), inputs.shape[1]), errors.dtype)
    for start in range(0, inputs.shape[1], size):
        found[:, start : start + size] = errors @ inputs[:, start : start + size]
    return found
