"""The search itself: exact among few samples, by an index among many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from histokit.errors import StoreError
from histokit.features import FeatureSet, FeatureStore
from histokit.neighbours import indexed
from histokit.neighbours.exact import NearestRows, Rows, Vectors, search
from histokit.neighbours.indexed import Effort, IndexedSearch, table_of
from histokit.neighbours.pieces import search_pieces
from histokit.neighbours.question import Round, SearchQuestion, open_samples
from histokit.store.vectors import find_vectors


def open_sought(
    store: FeatureStore, dataset: str, address: str, where: str | None, allow_missing: bool
) -> tuple[FeatureSet, bool]:
    """Open the samples that are sought among, and return whether their vectors are left where they are."""
    if store.dataset(dataset).count >= indexed.INDEXED_FROM:
        found = open_samples(store, dataset, address, where, allow_missing, outline=True)
        if len(found) >= indexed.INDEXED_FROM and len(found.parts) == 1:
            return found, True
    return open_samples(store, dataset, address, where, allow_missing, outline=False), False


def run_search(
    store: FeatureStore,
    question: SearchQuestion,
    metric: str,
    k: int,
    classes: tuple[Rows, Rows] | None,
    outline: bool,
    progress: Callable[..., None],
) -> tuple[NearestRows, dict[str, Any] | None]:
    """Search, round by round.

    Parameters
    ----------
    store : FeatureStore
    question : SearchQuestion
    metric : str
    k : int
    classes : (codes of queries, codes of samples), optional
        To compute the average precision of whole rankings, which exact search alone does.
    outline : bool
        Search by an index; the vectors of the samples were not read.
    progress : callable
        Called with (done, total) queries.

    Returns
    -------
    NearestRows
        Of the queries of one round behind those of another.
    index : dict, optional
        How an index was asked, and how much it finds.
    """
    if outline:
        return _by_index(store, question, metric, k, progress)
    vectors = question.queries.vectors
    queries = question.samples.X if vectors is None else vectors(np.arange(len(question.queries)))
    X = question.samples.X

    def one(each: Round, report: Callable[[int], None]) -> NearestRows:
        return search(queries, X, metric, k, question.barred, (each.queries, each.samples), classes, report)

    return _rounds(question, one, progress), None


def _rounds(
    question: SearchQuestion, one: Callable[[Round, Callable[[int], None]], NearestRows], progress: Callable[..., None]
) -> NearestRows:
    total, done = sum(len(each.queries) for each in question.rounds), 0
    found = []
    for each in question.rounds:
        found.append(one(each, lambda count, before=done: progress(before + count, total)))  # type: ignore[misc]
        done += len(each.queries)
    return _joined(found)


def _joined(found: list[NearestRows]) -> NearestRows:
    names = ("places", "distances", "precision")
    return NearestRows(*(np.concatenate([getattr(one, name) for one in found]) for name in names))


def _by_index(
    store: FeatureStore, question: SearchQuestion, metric: str, k: int, progress: Callable[..., None]
) -> tuple[NearestRows, dict[str, Any] | None]:
    by_index, effort = None, None
    try:
        by_index, effort = _measured(store, question, metric, k, progress)
    except StoreError as error:
        question.notes.append(f"no index can be used, and all distances are computed: {error.message}")
    else:
        if effort is None:
            few = f"an index finds less than {indexed.LEAST_RECALL:.0%} of the nearest samples"
            question.notes.append(f"{few}: all distances are computed")
    if question.queries.kind not in ("sample", "file"):
        question.notes.append("there is no mean average precision: among so many samples none is ranked wholly")
    read = by_index.read if by_index else _reader(store, question.samples)
    one = _asking(question, read, by_index, effort, metric, k)
    return _rounds(question, one, progress), by_index.described(effort) if by_index and effort else None


def _measured(
    store: FeatureStore, question: SearchQuestion, metric: str, k: int, progress: Callable[..., None]
) -> tuple[IndexedSearch, Effort | None]:
    """Return an index and how it is to be asked; one that is damaged is made again."""
    among = question.rounds[0].samples
    for anew in (False, True):
        progress(0, 1, "opening the index, or making it")
        by_index = IndexedSearch(store, question.samples, metric, anew=anew)
        try:
            return by_index, by_index.measured(among, question.barred, k, progress)
        except StoreError:
            if anew:
                raise
    raise AssertionError


def _reader(store: FeatureStore, samples: FeatureSet) -> Callable[[Rows], Vectors]:
    """Return what reads the vectors of samples from their table."""
    table = table_of(store, samples)
    stored = find_vectors(store.database, table, samples.samples)

    def read(rows: Rows) -> Vectors:
        matrix = np.empty((len(rows), table.width), np.float32)
        with store.database.reading(table.name):
            stored.copy(stored.places[rows], matrix)
        return matrix

    return read


def _asking(
    question: SearchQuestion,
    read: Callable[[Rows], Vectors],
    by_index: IndexedSearch | None,
    effort: Effort | None,
    metric: str,
    k: int,
) -> Callable[[Round, Callable[[int], None]], NearestRows]:
    queries = question.queries.vectors or read

    def one(each: Round, report: Callable[[int], None]) -> NearestRows:
        found = []
        done = 0
        for rows in indexed.in_pieces(each.queries):
            rounds = (rows, each.samples)
            if by_index is None or effort is None:
                found.append(search_pieces(queries(rows), read, metric, k, question.barred, rounds))
            else:
                found.append(by_index.nearest(queries(rows), k, question.barred, rounds, effort))
            done += len(rows)
            report(done)
        return _joined(found)

    return one
