"""Rows of feature tables: found by what they are of, and copied straight to their places in a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.store.allocator import kept_memory

Places = npt.NDArray[np.intp]

#: Lance reads far ahead of what is taken, so that all of a table would be in memory beside the matrix: it is asked
#: for a window at a time, in batches that the processor's cache still holds when they are copied.
_WINDOW_BYTES = 16 << 20
_BATCH_BYTES = 4 << 20
_READERS = 2

#: Where fewer than one in this number of rows is wanted, they are picked instead of reading all.
_SPARSE = 16
_PICKED_AT_ONCE = 4_096


class StoredVectors:
    """One version of a feature table, and the places of some samples' vectors in it.

    Parameters
    ----------
    version : lance.LanceDataset
    places : array of int
        The row of each sample, -1 where its vector is not there.
    """

    def __init__(self, version: Any, places: Places):
        self._version = version
        self.places = places

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which samples have a vector."""
        return self.places >= 0

    def copy(self, places: Places, out: npt.NDArray[np.float32]) -> None:
        """Copy the vectors at some places, none of them -1, to the rows of a matrix.

        Parameters
        ----------
        places : (m,) array of int
        out : (m, width) float32 array
            It may be some columns of a wider one.
        """
        if len(places) * _SPARSE < self._version.count_rows():
            self._pick(places, out)
            return
        order = None if (places[1:] > places[:-1]).all() else np.argsort(places, kind="stable")
        rising = places if order is None else places[order]
        size = max(1, out.shape[1] * self._version.schema.field("vector").type.value_type.bit_width // 8)
        step, batch = max(1, _WINDOW_BYTES // size), max(1, _BATCH_BYTES // size)

        def copy_window(start: int) -> None:
            for matrix in self._matrices(start, step, batch, out.shape[1]):
                low, high = np.searchsorted(rising, (start, start + len(matrix)))
                rows = rising[low:high] - start
                whole = len(rows) == len(matrix) and bool((rows == np.arange(len(rows))).all())
                wanted = matrix if whole else matrix[rows]
                if order is None:
                    _write(wanted, out[low:high])
                else:
                    out[order[low:high]] = _as_float32(wanted)
                start += len(matrix)

        with kept_memory(), ThreadPoolExecutor(_READERS) as pool:
            for _ in pool.map(copy_window, (np.unique(rising // step) * step).tolist()):
                pass

    def _matrices(self, start: int, count: int, batch: int, width: int) -> Iterator[npt.NDArray[Any]]:
        scanner = self._version.scanner(
            columns=["vector"], offset=start, limit=count, batch_size=batch, scan_in_order=True
        )
        for found in scanner.to_batches():
            yield as_matrix(found.column("vector"), width)

    def _pick(self, places: Places, out: npt.NDArray[np.float32]) -> None:
        for start in range(0, len(places), _PICKED_AT_ONCE):
            rows = places[start : start + _PICKED_AT_ONCE]
            column = self._version.take(rows.tolist(), columns=["vector"]).column("vector")
            _write(as_matrix(column, out.shape[1]), out[start : start + len(rows)])


def find(wanted: pa.Table, stored: pa.Table) -> Places:
    """Return the position of each row among stored ones, -1 where it is not there.

    Parameters
    ----------
    wanted, stored : pyarrow.Table
        With the columns ``id`` and ``content``; a row without content is nowhere.
    """
    from pyarrow import compute

    if wanted["content"].null_count == 0 and all(wanted[name].equals(stored[name]) for name in ("content", "id")):
        return np.arange(len(wanted))
    found = compute.index_in(_identities(wanted), value_set=_identities(stored), skip_nulls=True)
    return compute.fill_null(found, -1).to_numpy().astype(np.intp)


def _identities(rows: pa.Table) -> pa.ChunkedArray:
    from pyarrow import compute

    content, sample_id = (rows[name].cast(pa.large_binary()) for name in ("content", "id"))
    return compute.binary_join_element_wise(content, sample_id, pa.scalar(b"", pa.large_binary()))


def as_matrix(column: pa.Array | pa.ChunkedArray, width: int) -> npt.NDArray[Any]:
    """Return lists of one width as the rows of a matrix, without a copy where they are in one piece."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found = [c.flatten().to_numpy(zero_copy_only=True).reshape(-1, width) for c in chunks if len(c)]
    if not found:
        return np.empty((0, width), column.type.value_type.to_pandas_dtype())
    return found[0] if len(found) == 1 else np.concatenate(found)


def _as_float32(matrix: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if matrix.dtype == np.float32:
        return matrix
    found = np.empty(matrix.shape, np.float32)
    _write(matrix, found)
    return found


def _write(matrix: npt.NDArray[Any], out: npt.NDArray[np.float32]) -> None:
    if matrix.dtype == np.float32:
        out[...] = matrix
    else:
        # NumPy converts half precision one by one; looking it up takes a fifth of the time.
        np.take(_halves(), matrix.view(np.uint16), mode="clip", out=out)


@lru_cache(maxsize=1)
def _halves() -> npt.NDArray[np.float32]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def finite_rows(stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which rows of a float32 or float16 matrix hold neither NaN nor infinity."""
    if stored.dtype == np.float16:
        # NumPy looks at half precision one by one; these bits of the exponent are all set in NaN and infinity only.
        exponent = np.uint16(0x7C00)
        return np.asarray(((stored.view(np.uint16) & exponent) != exponent).all(axis=1))
    # A sum of finite numbers is finite but for an overflow, and one with NaN or infinity in it never is.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.add.reduce(stored, axis=None)):
            return np.ones(len(stored), dtype=bool)
    return np.asarray(np.isfinite(stored).all(axis=1))


def row_checks(stored: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return a check number for each row of a matrix, of its bytes as they are stored.

    The sum modulo 2**64 of the words of a row, each times an odd number of its column: a change of one word always
    shows, one of several with a probability of about 1 - 2**-32.

    Parameters
    ----------
    stored : (n, d) float32 or float16 array

    Returns
    -------
    (n,) array of uint64
    """
    words = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
    return np.einsum("ij,j->i", words, _multipliers(words.shape[1]), dtype=np.uint64, casting="safe")


@lru_cache(maxsize=64)
def _multipliers(count: int) -> npt.NDArray[np.uint64]:
    """Return the first odd numbers of SplitMix64, which must never change: they are in every table."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) | np.uint64(1)
