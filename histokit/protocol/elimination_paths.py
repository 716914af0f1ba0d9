"""Elimination paths: which columns are left at each size, in each inner fold and in all training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.fitting import parallel
from histokit.classifiers.forest import rank_and_score
from histokit.plugin.digests import digest_json
from histokit.protocol.scorers import defined
from histokit.protocol.tuning import Problem

#: What a walk found, as JSON-serialisable data.
Walk = dict[str, Any]

#: Seconds after which it is told how far a walk is.
_TOLD_EVERY = 0.5


def walk(
    problem: Problem,
    train: NDArray[np.intp],
    tested: NDArray[np.intp],
    columns: NDArray[np.intp],
    sizes: Sequence[int],
    trees: dict[str, Any],
    tell: Callable[[float], None] = lambda _: None,
) -> Walk:
    """Eliminate columns from one size to the next, ranked anew at each.

    Parameters
    ----------
    problem : Problem
    train, tested : arrays of int
        Rows; where none are tested, there are no scores.
    columns : (d,) array of int
        What is left at the beginning, ascending.
    sizes : sequence of int
        From d downwards.
    trees : dict
        Options of `rank_and_score`.
    tell : callable
        Called after each tree with the share of the walk that is done.

    Returns
    -------
    dict
        ``order``: the d columns, of which the first s are left at a size s. ``scores``: the metric and the one to fall
        back on by size, none where undefined. ``importances``: of the d columns, where nothing is tested.
    """
    # Row after row: most nodes hold few samples, whose numbers lie close together then.
    inside = np.asarray(problem.X[np.ix_(train, columns)], np.float32)
    outside = np.asarray(problem.X[np.ix_(tested, columns)], np.float32)
    left, y, gone, found, first = np.arange(len(columns)), problem.y[train], [], [], None
    classes = None if problem.numbers else problem.classes
    # A tree looks at about the square root of the columns at each node.
    costs = np.sqrt(sizes) / np.sqrt(sizes).sum()
    begun = np.cumsum(costs) - costs
    for number, (size, following) in enumerate(zip(sizes, [*sizes[1:], 0], strict=True)):
        within = partial(_tell_within, tell, begun[number], costs[number])
        importances, scores = rank_and_score(inside, y, outside, classes, seed=problem.seed, tell=within, **trees)
        first = importances if first is None else first
        if len(tested):
            values = problem.score(problem.y[tested], scores)
            found.append([defined(values[name]) for name in (problem.metric, problem.target.fallback)])
        ranked = np.argsort(-importances, kind="stable")
        gone.append(left[ranked[following:size]])
        kept = np.sort(ranked[:following])
        left, inside, outside = left[kept], inside.take(kept, axis=1), outside.take(kept, axis=1)
    order = columns[np.concatenate(gone[::-1])]
    document: Walk = {"order": order.tolist(), "scores": found}
    return document if len(tested) or first is None else {**document, "importances": first.tolist()}


def _tell_within(tell: Callable[[float], None], begun: float, cost: float, share: float) -> None:
    tell(float(begun + cost * share))


class _Shares:
    """Tells from several threads how much of several walks is done, each as what is new of it."""

    def __init__(self, report: Callable[[float], None]):
        self.report, self.lock, self.told, self.last = report, Lock(), dict[int, float](), monotonic()
        self.stopped = False

    def tell(self, walk: int, share: float) -> None:
        """Tell how much of a walk is done, unless something was told just now; end it where all is stopped."""
        if self.stopped:
            raise CancelledError
        with self.lock:
            if monotonic() - self.last >= _TOLD_EVERY:
                self._tell(walk, share)

    def end(self, walk: int) -> None:
        """Tell that a walk is done."""
        with self.lock:
            self._tell(walk, 1.0)

    def _tell(self, walk: int, share: float) -> None:
        before, self.told[walk], self.last = self.told.get(walk, 0.0), share, monotonic()
        self.report(share - before)


class Paths:
    """The paths of the inner folds, which are scored on the rows left out, and last that of all training rows.

    Parameters
    ----------
    problem : Problem
    folds : sequence of (train, tested) arrays of rows
        The last one tests nothing.
    trees : dict
        Options of `rank_and_score`.
    memory : mutable mapping
        Walks that were done before; gets those that are done now.
    report : callable
        Called, also by other threads but never by two at once, with what share of a walk was done since the last call.
    """

    def __init__(
        self,
        problem: Problem,
        folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
        trees: dict[str, Any],
        memory: MutableMapping[str, Walk],
        report: Callable[[float], None],
    ):
        self.problem, self.folds, self.trees, self.memory, self.report = problem, folds, trees, memory, report
        every = np.arange(problem.X.shape[1])
        self.subsets = [{len(every): every} for _ in folds]
        self.order = every
        self.scores: dict[int, list[list[float | None]]] = {}
        self.importances: list[float] = []

    def extend(self, sizes: Sequence[int], last: Sequence[int]) -> None:
        """Go on in each path from a size at which it has been, or from all columns.

        Parameters
        ----------
        sizes : sequence of int
            Where the paths of the folds begin, and the sizes that they go to; all are scored, anew if they were before.
        last : sequence of int
            The same for all training rows.
        """
        asked = [(number, list(sizes if len(tested) else last)) for number, (_, tested) in enumerate(self.folds)]
        keys = [digest_json([number, *wanted]).hex() for number, wanted in asked]
        missing = [i for i, key in enumerate(keys) if key not in self.memory]
        shares = _Shares(self.report)
        work = (
            (*(self.problem, *self.folds[i], self.subsets[i][asked[i][1][0]]), asked[i][1], self.trees, tell)
            for i in missing
            for tell in [partial(shares.tell, i)]
        )
        with parallel(walk, work, True, self.problem.X.size) as results:
            try:
                for i, done in zip(missing, results, strict=True):
                    self.memory[keys[i]] = done
                    shares.end(i)
            except BaseException:
                shares.stopped = True
                raise
        walks = [self.memory[key] for key in keys]
        for (number, wanted), done in zip(asked, walks, strict=True):
            order = np.array(done["order"], np.intp)
            self.subsets[number] |= {size: np.sort(order[:size]) for size in wanted}
        self.order = np.concatenate([walks[-1]["order"], self.order[last[0] :]]).astype(np.intp)
        self.importances = self.importances or walks[-1]["importances"]
        scored: Iterable[tuple[list[float | None], ...]] = zip(*(done["scores"] for done in walks[:-1]), strict=True)
        self.scores |= {size: list(values) for size, values in zip(sizes, scored, strict=True)}

    def table(self) -> tuple[list[int], NDArray[np.float64]]:
        """Return the sizes from large to small, and the (2, sizes, folds) scores, see `walk`."""
        sizes = sorted(self.scores, reverse=True)
        return sizes, np.array([self.scores[size] for size in sizes], float).transpose(2, 0, 1)
