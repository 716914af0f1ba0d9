"""Columns of 16-byte digests as numpy arrays, streamed, so that millions of rows make no Python object each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.plugin.digests import DIGEST_BYTES
from histokit.store.vector_rows import as_matrix, row_checks

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


def take_vectors(
    table: Any, rows: npt.NDArray[np.intp], checked: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the vectors at places of an open Lance table, an (n, width) array, and which are what was written.

    Parameters
    ----------
    table : lance.LanceDataset
    rows : array of int
    checked : bool
        Whether its rows have check numbers; where they have none, nothing is known to be wrong.
    """
    found = table.take(rows.tolist(), columns=["vector", *["check"] * checked])
    stored = as_matrix(found.column("vector"), found.schema.field("vector").type.list_size)
    sound = row_checks(stored) == found.column("check").to_numpy() if checked else np.ones(len(stored), dtype=bool)
    return stored.astype(np.float32, copy=False), sound
