"""Rows of feature tables: made of vectors, and inserted once each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import DataError
from histokit.store.database import Database
from histokit.store.digest_columns import as_digests
from histokit.store.digest_positions import Lookup
from histokit.store.fingerprints import row_key
from histokit.store.keyed_rows import KeyedRows
from histokit.store.vector_rows import finite_rows, row_checks
from histokit.store.vectors import FeatureTable, rows_schema


def stored_as(matrix: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """Return vectors as they are stored: too large numbers are infinity then.

    Parameters
    ----------
    matrix : (n, d) float32 array
    dtype : str
        One of `STORE_DTYPES`.
    """
    if dtype == "float32":
        return matrix.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        return matrix.astype(dtype)


def row_columns(ids: Sequence[str], contents: Sequence[bytes]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return keys, ids and contents as the columns of any feature table."""
    keys = [row_key(i, c) for i, c in zip(ids, contents, strict=True)]
    return pa.array(keys, pa.binary()), pa.array(list(ids), pa.string()), pa.array(list(contents), pa.binary(16))


def vector_rows(table: FeatureTable, columns: Sequence[pa.Array], stored: npt.NDArray[Any]) -> pa.Table:
    """Return the rows of a feature table.

    Parameters
    ----------
    table : FeatureTable
    columns : sequence of pyarrow.Array
        From `row_columns`.
    stored : (n, width) array
        Vectors as they are stored, all of them finite.
    """
    schema = rows_schema(table.width, table.dtype, table.checked)
    numbers = pa.array(np.ascontiguousarray(stored).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(numbers, type=schema.field("vector").type)
    checks = [pa.array(row_checks(stored))] if table.checked else []
    return pa.table([*columns, vectors, *checks], schema=schema)


def checked_vectors(table: FeatureTable, ids: Sequence[str], vectors: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the vectors of samples as a table stores them.

    Raises
    ------
    DataError
        If a vector holds NaN or infinity, or what is infinity as the table stores it; names the layer and the sample.
    """
    matrix = np.ascontiguousarray(vectors, dtype=np.float32).reshape(len(ids), table.width)
    stored = stored_as(matrix, table.dtype)
    finite = finite_rows(stored)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise _not_storable(table, ids[bad], matrix[bad])
    return stored


class VectorInserter:
    """Inserts the vectors of some samples that are not there yet, a piece at a time.

    Parameters
    ----------
    database : Database
    table : FeatureTable
    ids : sequence of str
    contents : sequence of bytes
        Of all samples.
    """

    def __init__(self, database: Database, table: FeatureTable, ids: Sequence[str], contents: Sequence[bytes]):
        self._table = table
        self._places = {sample_id: place for place, sample_id in enumerate(ids)}
        self._columns = pa.table(row_columns(ids, contents), names=["key", "id", "content"])
        keys = Lookup(as_digests(self._columns["key"].combine_chunks()), np.arange(len(ids)))
        self._rows = KeyedRows(database, table.name, keys, len(ids))

    def insert(self, ids: Sequence[str], vectors: npt.ArrayLike) -> int:
        """Insert vectors of some of the samples; return how many were not there.

        Raises
        ------
        DataError
            If a vector holds NaN or infinity, or what is infinity as the table stores it; names layer and sample.
        """
        stored = checked_vectors(self._table, ids, vectors)
        places = np.array([self._places[sample_id] for sample_id in ids], np.intp)
        columns = [column.combine_chunks() for column in self._columns.take(places).columns]
        return self._rows.insert(places, vector_rows(self._table, columns, stored))


def _not_storable(table: FeatureTable, sample_id: str, vector: npt.NDArray[np.float32]) -> DataError:
    if np.isfinite(vector).all():
        largest = float(np.abs(vector).max())
        return DataError(
            f"{table.address} gave {largest:g} for the sample {sample_id!r}, which {table.dtype} cannot hold.",
            next="Store the vectors as float32.",
        )
    return DataError(
        f"{table.address} gave NaN or infinity for the sample {sample_id!r}.",
        next="Try --precision float32, or check the weights and the image.",
    )
