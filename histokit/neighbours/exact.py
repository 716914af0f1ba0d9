"""Exact search: the distance of every query to every sample, in blocks that take little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]

#: Distances that are held at once, and numbers of samples that are.
_PAIRS = 4_000_000
_HELD = 32_000_000
_QUERIES = 1_024

#: Distances that differ by no more than this share of the squared lengths are equal in a whole ranking: products of
#: matrices say no more of them.
_EQUAL = 1e-11


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

    def mask(self, queries: Rows, samples: Rows) -> NDArray[np.bool_]:
        """Return an (m, n) mask of some queries and some samples."""
        groups = self.queries[queries]
        barred = (groups[:, None] == self.samples[samples][None, :]) & (groups >= 0)[:, None]
        return barred | (self.own[queries][:, None] == samples[None, :])

    def of_one(self, query: int, samples: Rows) -> NDArray[np.bool_]:
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
    height = int(min(_QUERIES, max(1, _PAIRS // max(1, len(among)))))
    found = NearestRows(
        np.full((len(asked), count), -1, np.intp),
        np.full((len(asked), count), np.nan),
        np.full(len(asked), np.nan),
    )
    for start in range(0, len(asked), height):
        part = asked[start : start + height]
        here = slice(start, start + len(part))
        rows = space.prepared(queries[part])
        roughly, error = space.roughly(rows)
        roughly[barred.mask(part, among)] = np.inf
        if classes is not None:
            alike = classes[0][part][:, None] == classes[1][among][None, :]
            alike &= (classes[0][part] >= 0)[:, None]
            found.precision[here] = _average_precision(roughly, alike, space.squares)
        for place, (row, near) in enumerate(zip(rows, _nearby(roughly, error, count), strict=True), start):
            exact = space.distances(row, near)
            order = exact.argsort(kind="stable")[:count]
            found.places[place, : len(order)] = among[near[order]]
            found.distances[place, : len(order)] = exact[order]
        progress(start + len(part))
    return found


def distances_to(query: Vectors, samples: Vectors, metric: str) -> Floats:
    """Return the distances of one (d,) query to (n, d) samples, each computed on its own."""
    space = _Space(samples, np.arange(len(samples)), metric)
    return space.distances(space.prepared(query[None])[0], np.arange(len(samples)))


class _Space:
    """Samples in which squared Euclidean distances are sought: themselves, or their directions."""

    def __init__(self, samples: Vectors, among: Rows, metric: str):
        self._samples, self._among, self._cosine = samples, among, metric == "cosine"
        # Columns that are the same everywhere leave nothing, however large they are.
        first = samples[among[:1]].astype(np.float64) if len(among) else np.zeros((1, samples.shape[1]))
        self._origin = np.zeros_like(first) if self._cosine else first
        self._kept = self.prepared(samples[among]) if len(among) * samples.shape[1] <= _HELD else None
        # A vector of zeros counts as one of length 1 at a right angle to all others.
        squares = [np.ones(len(b)) if self._cosine else np.einsum("ij,ij->i", b, b) for _, b in self._blocks()]
        self.squares = np.concatenate([np.empty(0), *squares])

    def prepared(self, rows: Vectors) -> Floats:
        """Return rows at unit length, zeros staying zeros; or less the first sample."""
        found: Floats = rows.astype(np.float64) - self._origin
        if self._cosine:
            length = np.sqrt(np.einsum("ij,ij->i", found, found))
            found /= np.where(length > 0, length, 1.0)[:, None]
        return found

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        if self._kept is not None:
            yield slice(0, len(self._kept)), self._kept
            return
        step = max(1, _HELD // 4 // self._samples.shape[1])
        for start in range(0, len(self._among), step):
            rows = self._among[start : start + step]
            yield slice(start, start + len(rows)), self.prepared(self._samples[rows])

    def roughly(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return squared distances of rows less their own squared lengths, and how wrong these may be."""
        found = np.empty((len(rows), len(self._among)))
        for place, block in self._blocks():
            np.matmul(rows, block.T, out=found[:, place])
        found *= -2.0
        found += self.squares
        lengths = np.einsum("ij,ij->i", rows, rows)
        return found, 4.0 * np.finfo(float).eps * rows.shape[1] * (lengths + self.squares.max(initial=0.0))

    def distances(self, row: Floats, near: Rows) -> Floats:
        """Return the distances of a row to some of the samples, each computed on its own."""
        samples = self.prepared(self._samples[self._among[near]]) if self._kept is None else self._kept[near]
        squared: Floats = ((samples - row) ** 2).sum(1)
        if not self._cosine:
            return np.sqrt(squared)
        # Half the squared distance of two directions is 1 - cos, without its cancellation.
        found = squared / 2.0
        found[~samples.any(1)] = 1.0
        return found if row.any() else np.ones(len(near))


def _nearby(roughly: Floats, error: Floats, count: int) -> Iterator[Rows]:
    """Yield for each row the columns that may be among the nearest, in their order."""
    if count < roughly.shape[1]:
        limits = np.partition(roughly, count - 1, axis=1)[:, count - 1] + error
    else:
        limits = np.full(len(roughly), np.inf)
    for row, limit in zip(roughly, limits, strict=True):
        near = np.flatnonzero(row <= limit)
        yield near[np.isfinite(row[near])]


def _average_precision(roughly: Floats, alike: NDArray[np.bool_], squares: Floats) -> Floats:
    """Return the average precision of each row's ranking: 0 where nothing is to be found.

    The mean, over all samples of the query's class that it may find, of the precision at the rank of each (Manning,
    Raghavan and Schütze 2008, Introduction to Information Retrieval, section 8.4; as ``trec_eval`` computes it).
    """
    grain = _EQUAL * max(1e-300, squares.max(initial=0.0))
    order = np.round(roughly / grain).argsort(axis=1, kind="stable")
    right = np.take_along_axis(alike & np.isfinite(roughly), order, axis=1)
    hits = right.cumsum(axis=1)
    precision = hits / np.arange(1, roughly.shape[1] + 1)
    total = right.sum(axis=1)
    found: Floats = (precision * right).sum(axis=1) / np.maximum(1, total)
    return found
