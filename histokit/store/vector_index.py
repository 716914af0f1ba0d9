"""Approximate search among the vectors of a table: an index of Lance's own, kept in the table beside the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import StoreError
from histokit.files import PathLock
from histokit.store.database import Database
from histokit.store.vector_rows import StoredVectors, find
from histokit.store.vectors import FeatureTable

LOCK = "index.lock"

#: Metric → what Lance calls it.
METRICS = {"cosine": "cosine", "euclidean": "l2"}

#: How often it is tried where other processes write meanwhile.
_TRIES = 5
#: Vectors for each partition, by which these are found, and from how many partitions on there are no more.
_SAMPLE_RATE = 64
_PARTITIONS = 4_096
#: Rows that are found at once, of all queries.
_FOUND = 4_000_000
#: Codes of some bits for each number take widths of whole bytes.
_BYTE = 8


class VectorIndex:
    """The index of a feature table for one distance, and the places of samples in it.

    It is in one version of the table: rows that are added meanwhile are for the next one who opens it.

    Parameters
    ----------
    database : Database
    table : FeatureTable
    version : lance.LanceDataset
    name : str
        Of the index.
    metric : str
    samples : pyarrow.Table
        With the columns ``id`` and ``content``.
    """

    def __init__(
        self, database: Database, table: FeatureTable, version: Any, name: str, metric: str, samples: pa.Table
    ):
        self._database, self._table = database, table
        self._version, self._metric = version, METRICS[metric]
        described = _described(version, name)
        assert described is not None
        self.segments = sorted(str(segment.uuid) for segment in described.segments)
        self.kind = str(described.index_type)
        self.partitions = partitions_of(version.count_rows())
        scanner = version.scanner(columns=["content", "id"], scan_in_order=True, with_row_address=True)
        stored = scanner.to_table()
        self.vectors = StoredVectors(version, find(samples, stored))
        addresses = stored.column("_rowaddr").to_numpy()
        # In the order of addresses, with the row of the sample that each is of; -1 of vectors that no sample has.
        row_of = np.full(len(addresses), -1, np.intp)
        there = self.vectors.present
        row_of[self.vectors.places[there]] = np.flatnonzero(there)
        order = np.argsort(addresses, kind="stable")
        self._addresses, self._rows = addresses[order], row_of[order]

    def __len__(self) -> int:
        return len(self._rows)

    def nearby(self, vectors: npt.NDArray[np.float32], count: int, probes: int) -> Iterator[npt.NDArray[np.intp]]:
        """Yield about the nearest samples of each of some vectors, by approximate distances.

        Parameters
        ----------
        vectors : (m, d) float32 array
        count : int
            At most so many of each; fewer where the partitions that are looked into have no more.
        probes : int
            How many partitions are looked into.

        Yields
        ------
        array of int
            Rows of samples; -1 of vectors that no sample has any more.
        """
        step = max(1, _FOUND // count)
        how: dict[str, Any] = {"with_row_address": True, "index_segments": self.segments}
        for start in range(0, len(vectors), step):
            some = vectors[start : start + step]
            near = {"column": "vector", "q": some, "k": count, "nprobes": probes, "metric": self._metric}
            with self._database.reading(self._table.name):
                table = self._version.scanner(columns=["_distance"], nearest=near, **how).to_table()
            query = table.column("query_index").to_numpy()
            order = np.argsort(query, kind="stable")
            found = table.column("_rowaddr").to_numpy()[order]
            rows: npt.NDArray[np.intp] = self._rows[np.searchsorted(self._addresses, found)]
            yield from np.split(rows, np.searchsorted(query[order], np.arange(1, len(some))))

    def read(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Return the vectors of some samples."""
        matrix = np.empty((len(rows), self._table.width), np.float32)
        with self._database.reading(self._table.name):
            self.vectors.copy(self.vectors.places[rows], matrix)
        return matrix


def partitions_of(count: int) -> int:
    """Return into how many partitions so many vectors are divided: about the square root of their number."""
    return int(min(_PARTITIONS, 2 ** round(np.log2(max(1.0, count**0.5)))))


def open_index(
    database: Database, table: FeatureTable, metric: str, samples: pa.Table, *, anew: bool = False
) -> VectorIndex:
    """Open the index of a table, after making it where there is none, or adding the rows that it lacks.

    Parameters
    ----------
    database : Database
    table : FeatureTable
    metric : str
        ``cosine`` or ``euclidean``.
    samples : pyarrow.Table
        With the columns ``id`` and ``content``.
    anew : bool
        Make it anew although it is there, because it is damaged.

    Returns
    -------
    VectorIndex

    Raises
    ------
    StoreError
        If it cannot be written, or read.
    """
    name = f"nearest_{METRICS[metric]}"
    with _alone(database):
        for _ in range(_TRIES):
            version = database.to_search(table.name)
            described = _described(version, name)
            if anew or described is None:
                done = database.index_vectors(table.name, version, _how(version, table, name, metric))
                anew = anew and not done
            elif _lacks(version, described):
                database.index_rest(table.name, version, name)
            else:
                with database.reading(table.name):
                    return VectorIndex(database, table, version, name, metric, samples)
    raise StoreError(
        f"Other processes keep changing the table {table.name!r}, so that no index could be made of it.",
        next="Run the same command again when they have ended.",
    )


def _described(version: Any, name: str) -> Any:
    """Return what is known of an index; none where it is not there."""
    return next((each for each in version.describe_indices() if each.name == name), None)


def _lacks(version: Any, described: Any) -> bool:
    """Return whether rows were added since an index was made."""
    covered = {number for segment in described.segments for number in segment.fragment_ids}
    return any(fragment.fragment_id not in covered for fragment in version.get_fragments())


def _how(version: Any, table: FeatureTable, name: str, metric: str) -> dict[str, Any]:
    return {
        "index_type": "IVF_SQ" if table.width % _BYTE else "IVF_RQ",
        "name": name,
        "metric": METRICS[metric],
        "replace": True,
        "num_partitions": partitions_of(version.count_rows()),
        "sample_rate": _SAMPLE_RATE,
    }


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Let one process at a time make indices: the next one finds what was made."""
    with PathLock(database.uri / LOCK).held():
        yield
