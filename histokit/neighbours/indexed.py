"""Search by an index, whose recall is measured against exact search before it is trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from histokit.errors import StoreError
from histokit.features import FeatureSet, FeatureStore
from histokit.neighbours.exact import Barred, NearestRows, Rows, Vectors, distances_to
from histokit.neighbours.pieces import search_pieces
from histokit.plugin.digests import digest_bytes, digest_json
from histokit.store.vector_index import VectorIndex, open_index
from histokit.store.vectors import FeatureTable

#: From so many samples on, where the features are of one table.
INDEXED_FROM = 100_000
#: The share of the nearest samples that an index has to find, that which is aimed at because it is measured on some
#: queries only, and how many these are.
LEAST_RECALL, _AIM = 0.95, 0.98
MEASURED = 200
_LEAST_PROBES = 8
_AT_ONCE = 256
#: Numbers of vectors that are read at once, to be compared with queries.
_READ = 16_000_000

#: How hard an index tries: one in so many partitions is looked into, and so many times the neighbours are compared by
#: their vectors. The first that finds enough is taken.
_EFFORTS = ((64, 4), (32, 6), (16, 10), (8, 20), (4, 40), (2, 80), (1, 160))


@dataclass(frozen=True)
class Effort:
    """How an index is asked.

    Parameters
    ----------
    probes : int
        Partitions that are looked into.
    times : int
        How many times the neighbours that are asked for are compared by their vectors.
    recall : float
        The share of the nearest samples that it finds.
    measured_on : int
        Of how many queries.
    """

    probes: int
    times: int
    recall: float = 0.0
    measured_on: int = 0


def table_of(store: FeatureStore, samples: FeatureSet) -> FeatureTable:
    """Return the table of samples that have the features of one."""
    (part,) = samples.parts
    return next(table for table in store.feature_tables(samples.record.name) if table.name == part.table)


class IndexedSearch:
    """Finds the nearest samples by the index of their table.

    Parameters
    ----------
    store : FeatureStore
    samples : FeatureSet
        Of one table; its vectors need not have been read.
    metric : str
    anew : bool
        Make the index anew although it is there.
    """

    def __init__(self, store: FeatureStore, samples: FeatureSet, metric: str, anew: bool = False):
        table = table_of(store, samples)
        self._store, self._samples, self._metric = store, samples, metric
        self.index: VectorIndex
        self.index = open_index(store.database, table, metric, samples.samples, anew=anew)

    def read(self, rows: Rows) -> Vectors:
        """Return the vectors of samples."""
        return self.index.read(rows)

    def measured(self, among: Rows, barred: Barred, k: int, progress: Callable[..., None]) -> Effort | None:
        """Return how the index is to be asked so that it finds enough of the nearest samples; none if it cannot.

        It is measured on queries evenly taken from the samples, each without its own group, and remembered in the store
        for as long as the index is the same.
        """
        there = self.index.vectors.places[among]
        content = digest_bytes(there.tobytes(), barred.samples.tobytes()).hex()
        key = f"nearest of many:{digest_json([self.index.segments, self._metric, k, content]).hex()}"
        if (found := self._store.remembered(key)) is not None:
            return Effort(**found) if found["recall"] >= LEAST_RECALL else None
        rows = among[np.unique(np.linspace(0, len(among) - 1, MEASURED).astype(np.intp))]
        own = Barred(rows, barred.samples[rows], barred.samples)
        everyone = np.arange(len(rows))
        vectors = self.read(rows)

        def report(done: int, total: int) -> None:
            progress(done, total, "measuring what the index finds")

        exact = search_pieces(vectors, self.read, self._metric, k, own, (everyone, among), report)
        # Of equally near samples any will do.
        furthest = np.nanmax(exact.distances, axis=1, keepdims=True) * (1 + 1e-6) + 1e-12
        best = Effort(0, 0)
        for effort in self._efforts():
            found_now = self.nearest(vectors, k, own, (everyone, among), effort)
            hits = (found_now.distances <= furthest).sum() / (exact.places >= 0).sum()
            best = max(best, replace(effort, recall=float(hits), measured_on=len(rows)), key=lambda each: each.recall)
            if best.recall >= _AIM:
                break
        with suppress(StoreError):
            # Where nothing can be written it is measured again.
            self._store.remember(key, asdict(best))
        return best if best.recall >= LEAST_RECALL else None

    def _efforts(self) -> Iterator[Effort]:
        for share, times in _EFFORTS:
            yield Effort(min(self.index.partitions, max(_LEAST_PROBES, self.index.partitions // share)), times)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        barred: Barred,
        rounds: tuple[Rows, Rows],
        effort: Effort,
    ) -> NearestRows:
        """Find the nearest samples of queries, (q, d), those of the round in their order."""
        asked, among = rounds
        allowed = np.zeros(len(self._samples), bool)
        allowed[among] = True
        places = np.full((len(asked), k), -1, np.intp)
        distances = np.full((len(asked), k), np.nan)
        left = barred.left(asked, among)
        nearby = self._candidates(queries, k, effort, left, allowed, barred, asked)
        first = 0
        for last in range(1, len(asked) + 1):
            waiting = nearby[first:last]
            if last < len(asked) and sum(map(len, waiting)) * queries.shape[1] < _READ:
                continue
            known = np.unique(np.concatenate(waiting))
            vectors = self.read(known)
            for place, rows in enumerate(waiting, first):
                far = distances_to(queries[place], vectors[np.searchsorted(known, rows)], self._metric)
                order = far.argsort(kind="stable")[:k]
                places[place, : len(order)], distances[place, : len(order)] = rows[order], far[order]
            first = last
        return NearestRows(places, distances, np.full(len(asked), np.nan))

    def _candidates(
        self, queries: Vectors, k: int, effort: Effort, left: Rows, allowed: Any, barred: Barred, asked: Rows
    ) -> list[Rows]:
        """Return the rows that may be the nearest samples of each query, ascending."""
        wanted = np.minimum(k * effort.times, left)
        found = [np.empty(0, np.intp)] * len(asked)
        count, probes, sought = int(wanted.max(initial=0)) + 1, effort.probes, np.arange(len(asked))
        while len(sought):
            last, fewer = count >= len(self.index) and probes >= self.index.partitions, []
            for place, near in zip(sought.tolist(), self.index.nearby(queries[sought], count, probes), strict=True):
                rows = near[near >= 0]
                rows = rows[allowed[rows]]
                rows = rows[~barred.of_one(int(asked[place]), rows)][: wanted[place]]
                found[place] = np.sort(rows)
                if len(rows) < wanted[place] and not last:
                    fewer.append(place)
            # Samples of the query's own group come first of all: more are asked for until enough others are there.
            count, probes = min(len(self.index), count * 4), min(self.index.partitions, probes * 2)
            sought = np.array(fewer, np.intp)
        return found

    def described(self, effort: Effort) -> dict[str, Any]:
        """Return how neighbours are found, as JSON-serialisable data."""
        return {
            "kind": self.index.kind,
            "partitions": self.index.partitions,
            "probes": effort.probes,
            "compared": effort.times,
            "recall": effort.recall,
            "measured_on": effort.measured_on,
        }


def in_pieces(rows: Rows) -> Iterator[Rows]:
    """Yield rows a few at a time, whose vectors are read at once."""
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
