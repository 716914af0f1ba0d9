"""Columns of 16-byte digests as numpy arrays, streamed, so that millions of rows make no Python object each."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.plugin.digests import DIGEST_BYTES
from histokit.store.database import Database

#: Compares all bytes; but an element that becomes a Python object loses its trailing zeros.
DIGEST = np.dtype(f"S{DIGEST_BYTES}")

Digests = npt.NDArray[np.bytes_]

_ROWS = 65_536


def as_digests(column: pa.Array) -> Digests:
    """Return a column of digests as an array; nulls are zeros."""
    filled = column.cast(pa.binary(DIGEST_BYTES)).fill_null(bytes(DIGEST_BYTES))
    return np.frombuffer(filled.buffers()[1], DIGEST, len(filled), filled.offset * DIGEST_BYTES)


def stream(table: Any, column: str, fragments: list[Any] | None = None) -> Iterator[Digests]:
    """Yield a column of digests of an open Lance table in the order of its rows, some thousand at a time."""
    scanner = table.scanner(
        columns=[column],
        fragments=fragments,
        batch_size=_ROWS,
        batch_readahead=2,
        fragment_readahead=2,
        scan_in_order=True,
    )
    for batch in scanner.to_batches():
        yield as_digests(batch.column(0))


def take_vectors(table: Any, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Return the vectors at places of an open Lance table, an (n, width) array."""
    found = table.take(rows.tolist(), columns=["vector"]).column("vector").combine_chunks()
    return np.asarray(found.flatten(), dtype=np.float32).reshape(len(rows), -1)


class GrowingKeys:
    """The keys of a feature table, of which each is read once although other processes add to it.

    Parameters
    ----------
    database : Database
    name : str
    """

    def __init__(self, database: Database, name: str):
        self._database = database
        self._name = name
        self._table: Any = None
        self._version = 0
        self._read: set[int] = set()
        #: One thread may look at the table while another one writes to it.
        self._lock = Lock()

    def unread(self) -> Iterator[Digests]:
        """Yield the keys that came since the last call, and maybe some again."""
        if self._table is not None and self._table.latest_version == self._version:
            return
        table = self._database.table(self._name)
        fragments = [fragment for fragment in table.get_fragments() if fragment.fragment_id not in self._read]
        if fragments:
            with self._database.reading(self._name):
                yield from stream(table, "key", fragments)
        self._read.update(fragment.fragment_id for fragment in fragments)
        with self._lock:
            self._table, self._version = table, table.version

    def wrote(self) -> None:
        """Take note of a write of this process, which need not be read unless others wrote as well."""
        with self._lock:
            if self._table is not None and self._table.latest_version == self._version + 1:
                self._version += 1
