"""Exact search: the distance of every query to every sample, in blocks that take little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histokit.neighbours.retrieval_scores import average_precision

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Flags = NDArray[np.bool_]
#: How wrong squared distances of (m,) rows to (n,) samples may be: the sum of both.
Errors = tuple[Floats, Floats]

#: Distances that are worked on at once, those that one look at the samples may give where these are not held, and
#: numbers of samples that are.
_PAIRS = 4_000_000
_LOOK = 32_000_000
_HELD = 64_000_000
_QUERIES = 1_024

#: What rounding adds to a squared distance that a product of matrices gives, as a share of the squared lengths of both:
#: so much always, and so much more for each column.
_ROUNDED, _OF_COLUMN = 64 * float(np.finfo(float).eps), 4 * float(np.finfo(float).eps)
#: Where that may be more than this share of the distance itself, distances that seem equal are computed one by one.
_COARSE = 1e-6
#: The origin is a middle one of so many samples.
_MIDDLE = 1_000


@dataclass(frozen=True, eq=False)
class Barred:
    """Which samples are not to be found by which query.

    Parameters
    ----------
    own : (m,) array of int
        The row of the query itself among the samples; -1 where it is none of them.
    queries, samples : (m,) and (n,) arrays of int
        Numbers of groups; a query finds no sample of its own one. -1 is in no group.
    """

    own: Rows
    queries: Rows
    samples: Rows

    def mask(self, queries: Rows, samples: Rows) -> Flags:
        """Return an (m, n) mask of some queries and some samples."""
        groups = self.queries[queries]
        barred = (groups[:, None] == self.samples[samples][None, :]) & (groups >= 0)[:, None]
        return barred | (self.own[queries][:, None] == samples[None, :])

    def of_one(self, query: int, samples: Rows) -> Flags:
        """Return an (n,) mask of some samples."""
        return self.mask(np.array([query], np.intp), samples)[0]

    def left(self, queries: Rows, samples: Rows) -> Rows:
        """Return how many of some samples each of some queries may find."""
        top = int(max(self.samples.max(initial=-1), self.queries.max(initial=-1))) + 2
        sizes = np.bincount(self.samples[samples] + 1, minlength=top)
        sizes[0] = 0
        own, codes = self.own[queries], self.queries[queries]
        there = np.isin(own, samples)
        apart = there & ~((codes >= 0) & (self.samples[np.where(own >= 0, own, 0)] == codes))
        left: Rows = len(samples) - sizes[codes + 1] - apart
        return left


@dataclass(frozen=True, eq=False)
class NearestRows:
    """The nearest samples of m queries.

    Parameters
    ----------
    places : (m, k) array of int
        Rows of samples, the nearest first; of equally near ones that which comes first. -1 where there are no more.
    distances : (m, k) float64 array
        NaN where there is none.
    precision : (m,) float64 array
        The average precision of the whole ranking; NaN where it was not asked for.
    """

    places: Rows
    distances: Floats
    precision: Floats


def search(
    queries: Vectors,
    samples: Vectors,
    metric: str,
    count: int,
    barred: Barred,
    rounds: tuple[Rows, Rows],
    classes: tuple[Rows, Rows] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> NearestRows:
    """Find the nearest samples of queries.

    Distances are computed in float64. Products of matrices say which samples may be among the nearest; the distances
    of these are computed one by one, so that equal vectors are equally far wherever they lie in memory.

    Parameters
    ----------
    queries, samples : (m, d) and (n, d) float32 arrays
    metric : str
        ``cosine`` or ``euclidean``. A vector of zeros is at cosine distance 1 of everything.
    count : int
    barred : Barred
    rounds : (rows of queries, rows of samples)
        Which queries seek among which samples.
    classes : (codes of queries, codes of samples), optional
        To compute the average precision of whole rankings; -1 is no class.
    progress : callable
        Called with the number of queries that are done.

    Returns
    -------
    NearestRows
        Of the queries of the round, in their order; places are rows of all samples.
    """
    asked, among = rounds
    space = _Space(samples, among, metric)
    found = NearestRows(
        np.full((len(asked), count), -1, np.intp),
        np.full((len(asked), count), np.nan),
        np.full(len(asked), np.nan),
    )
    for start, rows, roughly, error in _looks(space, queries, asked, len(among)):
        part = asked[start : start + len(rows)]
        here = slice(start, start + len(part))
        roughly[barred.mask(part, among)] = np.inf
        if classes is not None:
            alike = classes[0][part][:, None] == classes[1][among][None, :]
            alike &= (classes[0][part] >= 0)[:, None]
            alike &= np.isfinite(roughly)
            found.precision[here] = average_precision(space.ranking(rows, roughly, error), alike)
        for place, (row, near) in enumerate(zip(rows, _nearby(roughly, error, count), strict=True), start):
            exact = space.distances(row, near)
            order = exact.argsort(kind="stable")[:count]
            found.places[place, : len(order)] = among[near[order]]
            found.distances[place, : len(order)] = exact[order]
        progress(start + len(part))
    return found


def _looks(space: _Space, queries: Vectors, asked: Rows, count: int) -> Iterator[tuple[int, Floats, Floats, Errors]]:
    """Yield where some queries begin, their prepared rows, and rough squared distances with how wrong these may be.

    What is not held of the samples is prepared anew for each look, so that one is for as many queries as may be.
    """
    height = int(min(_QUERIES, max(1, _PAIRS // max(1, count))))
    several = height if space.kept is not None else max(height, int(min(_QUERIES, _LOOK // max(1, count))))
    for first in range(0, len(asked), several):
        rows = space.prepared(queries[asked[first : first + several]])
        roughly, (lengths, squares) = space.roughly(rows)
        for start in range(0, len(rows), height):
            some = slice(start, start + height)
            yield first + start, rows[some], roughly[some], (lengths[some], squares)


def distances_to(query: Vectors, samples: Vectors, metric: str) -> Floats:
    """Return the distances of one (d,) query to (n, d) samples, each computed on its own."""
    cosine = metric == "cosine"
    return _distances(_prepared(query[None], cosine)[0], _prepared(samples, cosine), cosine)


def _prepared(rows: Vectors, cosine: bool) -> Floats:
    """Return rows in double precision; of directions at unit length, zeros staying zeros."""
    found: Floats = rows.astype(np.float64)
    if cosine:
        length = np.sqrt(np.einsum("ij,ij->i", found, found))
        found /= np.where(length > 0, length, 1.0)[:, None]
    return found


def _squared(row: Floats, others: Floats, cosine: bool) -> Floats:
    """Return the squared distances of a prepared row to some others, each computed on its own."""
    found: Floats = ((others - row) ** 2).sum(1)
    if cosine:
        # A vector of zeros is at a right angle to all others.
        found[~others.any(1) | ~row.any()] = 2.0
    return found


def rounded(squared: Floats, cosine: bool) -> Floats:
    """Return how wrong squared distances may be that were computed one by one."""
    # Directions are rounded themselves, numbers of single precision are not.
    return _ROUNDED * (squared + np.sqrt(squared) + _ROUNDED) if cosine else _ROUNDED * squared


def _distances(row: Floats, others: Floats, cosine: bool) -> Floats:
    squared = _squared(row, others, cosine)
    squared = settled(squared, rounded(squared, cosine))
    # Half the squared distance of two directions is 1 - cos, without its cancellation.
    return squared / 2.0 if cosine else np.sqrt(squared)


class _Space:
    """Samples in which squared Euclidean distances are sought: themselves, or their directions."""

    def __init__(self, samples: Vectors, among: Rows, metric: str):
        self._samples, self._among, self._cosine = samples, among, metric == "cosine"
        # What all samples have in common leaves nothing, however large it is; nor does it if some lie far away.
        some = among[np.unique(np.linspace(0, max(0, len(among) - 1), min(len(among), _MIDDLE)).astype(np.intp))]
        middle = self.prepared(samples[some]) if len(some) else np.zeros((1, samples.shape[1]))
        self._origin = np.partition(middle, len(middle) // 2, axis=0)[len(middle) // 2]
        self.kept: Floats | None = None
        if len(among) * samples.shape[1] <= _HELD:
            kept = np.empty((len(among), samples.shape[1]))
            for place, block in self._blocks():
                kept[place] = block
            self.kept = kept
        self._squares = np.concatenate([np.empty(0), *(np.einsum("ij,ij->i", b, b) for _, b in self._blocks())])
        self._flat: Flags = np.zeros(len(among), bool)
        if self._cosine:
            self._flat[:] = ~np.asarray(samples.any(axis=1))[among]

    def prepared(self, rows: Vectors) -> Floats:
        """Return rows in double precision; of directions at unit length, zeros staying zeros."""
        return _prepared(rows, self._cosine)

    def _moved(self, rows: Vectors) -> Floats:
        found = self.prepared(rows)
        found -= self._origin
        return found

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        if self.kept is not None:
            yield slice(0, len(self.kept)), self.kept
            return
        step = max(1, _HELD // 4 // self._samples.shape[1])
        for start in range(0, len(self._among), step):
            rows = self._among[start : start + step]
            yield slice(start, start + len(rows)), self._moved(self._samples[rows])

    def roughly(self, rows: Floats) -> tuple[Floats, Errors]:
        """Return the squared distances of prepared rows to all samples, and how wrong they may be."""
        moved = rows - self._origin
        found = np.empty((len(rows), len(self._among)))
        for place, block in self._blocks():
            np.matmul(moved, block.T, out=found[:, place])
        found *= -2.0
        found += self._squares
        lengths = np.einsum("ij,ij->i", moved, moved)
        found += lengths[:, None]
        if self._cosine:
            # A vector of zeros is at a right angle to all others.
            found[:, self._flat] = 2.0
            found[~rows.any(axis=1)] = 2.0
        share = _ROUNDED + _OF_COLUMN * rows.shape[1]
        return found, (share * lengths, share * self._squares)

    def ranking(self, rows: Floats, roughly: Floats, error: Errors) -> Rows:
        """Return all samples, the nearest first, for each of some prepared rows; of equally near ones the first first.

        Rough squared distances, (m, n), are infinite where a sample is not to be found.
        """
        order: Rows = roughly.argsort(axis=1)
        gaps = np.take_along_axis(roughly, order, axis=1)
        with np.errstate(invalid="ignore"):
            ranked, gaps = gaps[:, 1:], np.diff(gaps)
            # Few are so near each other that it matters which ones they are.
            near = gaps <= error[0][:, None] + error[1].max(initial=0.0)
        for row in np.flatnonzero(near.any(axis=1)).tolist():
            if (gaps[row] == 0).any():
                order[row] = roughly[row].argsort(kind="stable")
            wrong = error[0][row] + np.maximum(error[1][order[row, 1:]], error[1][order[row, :-1]])
            unsure = (gaps[row] <= wrong) & ((gaps[row] > 0) | (wrong > _COARSE * ranked[row]))
            if unsure.any():
                order[row] = self._settled_order(rows[row], roughly[row], error[0][row] + error[1], order[row], unsure)
        return order

    def _settled_order(self, row: Floats, values: Floats, error: Floats, order: Rows, unsure: Flags) -> Rows:
        tied = np.union1d(order[1:][unsure], order[:-1][unsure])
        coarse = tied[error[tied] > _COARSE * values[tied]]
        values = values.copy()
        values[coarse] = _squared(row, self._those(coarse), self._cosine)
        error[coarse] = rounded(values[coarse], self._cosine)
        return settled(values, error).argsort(kind="stable")

    def distances(self, row: Floats, near: Rows) -> Floats:
        """Return the distances of a prepared row to some of the samples, each computed on its own."""
        return _distances(row, self._those(near), self._cosine)

    def _those(self, near: Rows) -> Floats:
        return self.prepared(self._samples[self._among[near]])


def settled(values: Floats, error: Floats) -> Floats:
    """Return (n,) values without what rounding adds, which would tell equal ones apart."""
    order = values.argsort(kind="stable")
    ranked, wrong = values[order], error[order]
    with np.errstate(invalid="ignore"):
        gaps = ranked[1:] - ranked[:-1]
        apart = gaps > np.maximum(wrong[1:], wrong[:-1])
    if not gaps[~apart].any():
        return values
    first = np.arange(len(values))
    first[1:][~apart] = 0
    first = np.maximum.accumulate(first)
    found = np.empty_like(values)
    found[order] = ranked[first]
    return found


def _nearby(roughly: Floats, error: Errors, count: int) -> Iterator[Rows]:
    """Yield for each row the columns that may be among the nearest, in their order."""
    some = min(count, roughly.shape[1])
    first = np.argpartition(roughly, some - 1, axis=1)[:, :some]
    furthest = (np.take_along_axis(roughly, first, axis=1) + error[1][first]).max(axis=1) + 2 * error[0]
    for row, limit in zip(roughly, furthest, strict=True):
        near = np.flatnonzero(row - error[1] <= limit)
        yield near[np.isfinite(row[near])]
