"""Exact search among vectors that are read piece by piece."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from histokit.neighbours.exact import Barred, Floats, NearestRows, Rows, Vectors, rounded, search, settled

#: Numbers of vectors that are held at once.
_HELD = 64_000_000


def search_pieces(
    queries: Vectors,
    read: Callable[[Rows], Vectors],
    metric: str,
    count: int,
    barred: Barred,
    rounds: tuple[Rows, Rows],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> NearestRows:
    """Find the nearest samples of queries as `histokit.neighbours.exact.search` does, without all vectors in memory.

    Parameters
    ----------
    queries : (q, d) float32 array
        Of the queries of the round, in their order.
    read : callable
        Returns the vectors of rows of samples.
    metric, count, barred, rounds
        As of `search`. No average precision is computed.
    progress : callable
        Called with (done, total) samples.
    """
    asked, among = rounds
    height = max(1, _HELD // max(1, queries.shape[1]))
    place = np.full(len(barred.samples), -1, np.intp)
    place[among] = np.arange(len(among))
    own = np.where(barred.own[asked] >= 0, place[barred.own[asked]], -1)
    places = np.full((len(asked), count), -1, np.intp)
    distances = np.full((len(asked), count), np.inf)
    for start in range(0, len(among), height):
        rows = among[start : start + height]
        here = np.where((own >= start) & (own < start + len(rows)), own - start, -1)
        part = Barred(here, barred.queries[asked], barred.samples[rows])
        found = search(queries, read(rows), metric, count, part, (np.arange(len(asked)), np.arange(len(rows))))
        there = found.places >= 0
        both = np.concatenate([distances, np.where(there, found.distances, np.inf)], axis=1)
        _settle(both, metric == "cosine")
        # What was found before lies before what comes now, so that of equally near samples the first stays.
        order = both.argsort(axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(both, order, axis=1)
        known = np.concatenate([places, np.where(there, rows[found.places], -1)], axis=1)
        places = np.take_along_axis(known, order, axis=1)
        progress(start + len(rows), len(among))
    distances[places < 0] = np.nan
    return NearestRows(places, distances, np.full(len(asked), np.nan))


def _settle(distances: Floats, cosine: bool) -> None:
    """Take from (m, n) distances what rounding adds, which differs from piece to piece; infinite ones stay."""
    for row in distances:
        known = np.isfinite(row)
        squared = row[known] * 2.0 if cosine else row[known] ** 2
        squared = settled(squared, rounded(squared, cosine))
        row[known] = squared / 2.0 if cosine else np.sqrt(squared)
