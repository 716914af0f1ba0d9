"""The columns of a file of vectors, whatever its format, in batches of rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.datasets import cells, formulas
from histokit.datasets.csv_file import header
from histokit.datasets.tables import PARQUET, is_index, passed_over, plain, read_cells, tidy_names
from histokit.errors import DataError, UsageError, shortened
from histokit.features.sample_columns import PROVENANCE_KEY
from histokit.files import require_file
from histokit.ingest import array_file

CSV = (".csv", ".tsv")
_PACKED = (".gz", ".bz2", ".zst")

_ROWS_AT_ONCE = 4_096
#: Whole numbers all of which are as large are no measurements.
_CODES = 10**12
#: What `export_features` calls a feature: its network, its layer, and its place or name in brackets.
_EXPORTED = re.compile(r"[^/]+/.+\[.*\]", re.DOTALL)


class Rows:
    """Columns in memory, or in a Parquet file.

    Parameters
    ----------
    table : pyarrow.Table or ParquetFile
    names : dict
        Tidy name → name in the file, of the columns that count.
    """

    def __init__(self, table: Any, names: dict[str, str]):
        self._table, self._names = table, names
        whole = table.schema if isinstance(table, pa.Table) else table.schema_arrow
        fields = [whole.field(old).with_name(new) for new, old in names.items()]
        self.schema = pa.schema(fields, metadata=whole.metadata)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream some columns."""
        names = [self._names[name] for name in columns]
        if isinstance(self._table, pa.Table):
            found: Any = self._table.select(names).to_batches(max_chunksize=_ROWS_AT_ONCE)
        else:
            found = self._table.iter_batches(batch_size=_ROWS_AT_ONCE, columns=names)
        for batch in found:
            yield batch.select(names).rename_columns(list(columns))


def suffix_of(path: Path) -> str:
    """Return what a file's name ends in; of one that is packed, such as ``.csv.gz``, what it ends in without that."""
    suffix = path.suffix.lower()
    inner = path.with_suffix("").suffix.lower()
    return inner if suffix in _PACKED and inner in CSV else suffix


def check_format(path: Path) -> None:
    """Raise unless a file is there and of a known format.

    Raises
    ------
    DataError, UsageError
    """
    suffix = suffix_of(path)
    known = (*PARQUET[:1], *CSV, *array_file.SUFFIXES)
    if suffix not in (*known, *PARQUET):
        hint = " An array alone has no ids: save it with them as .npz." if suffix == ".npy" else ""
        raise UsageError(
            f"The file {str(path)!r} has the suffix {suffix!r}.", next=f"Give one of {', '.join(known)}.{hint}"
        )
    require_file(path, "file", next="Check its path.")


def open_rows(path: Path, id: str, described: Callable[[str], bool], notes: list[str]) -> Rows:
    """Open a file of vectors.

    Parameters
    ----------
    path : Path
        Parquet streams; a ``.csv``, ``.tsv``, ``.npz`` or ``.h5ad`` is held in memory.
    id : str
        The column of ids.
    described : callable
        Whether a column is none of vectors.
    notes : list of str
        Added to.
    """
    suffix = suffix_of(path)
    if suffix in PARQUET:
        from pyarrow import parquet

        table: Any = parquet.ParquetFile(path)
        names: list[str] = table.schema_arrow.names
    elif suffix in CSV:
        table = _csv(path, described)
        names = table.column_names
    else:
        table = array_file.read_arrays(path, id, notes)
        names = table.column_names
    tidied = dict(zip(tidy_names(names, path), names, strict=True))
    numbers = [name for name in tidied if is_index(name) and not described(name)]
    notes.extend(map(passed_over, numbers))
    return Rows(table, {new: old for new, old in tidied.items() if new not in numbers})


def is_exported(schema: pa.Schema) -> bool:
    """Whether a file is one that `export_features` wrote."""
    return PROVENANCE_KEY in (schema.metadata or {}) or any(_EXPORTED.fullmatch(name) for name in schema.names)


def exported_features(names: Sequence[str]) -> list[str]:
    """Return the names that are those of exported features."""
    return [name for name in names if _EXPORTED.fullmatch(name)]


def _csv(path: Path, described: Callable[[str], bool]) -> pa.Table:
    def convert(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        name = formulas.plain_text(name) if exported else name
        if described(name) or (exported and not _EXPORTED.fullmatch(name)):
            return plain(column)
        numbers = cells.feature_numbers(column)
        if numbers is not None:
            return numbers
        tidied = plain(column)
        numbers = cells.feature_numbers(tidied)
        return tidied if numbers is None else numbers

    exported = any(_EXPORTED.fullmatch(name) for name in header(path))
    table = read_cells(path, convert)
    return formulas.plain(table) if exported else table


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column holds numbers; truth values are none."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def refuse_codes(
    path: Path, fields: Sequence[pa.Field], batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
) -> None:
    """Raise for columns of whole numbers that are codes, such as bar codes: all of them have 13 digits or more.

    Parameters
    ----------
    path : Path
        For messages.
    fields : sequence of pyarrow.Field
    batches : callable
        Streams some columns.

    Raises
    ------
    DataError
    """
    for name in (field.name for field in fields if pa.types.is_integer(field.type)):
        columns = [batch.column(0).drop_null().to_numpy(zero_copy_only=False) for batch in batches([name])]
        sizes = np.concatenate([np.abs(column.astype(np.float64)) for column in columns]) if columns else np.zeros(0)
        if len(sizes) and sizes.min() >= _CODES:
            first = next(column[0] for column in columns if len(column))
            raise DataError(
                f"The column {name!r} of {str(path)!r} holds whole numbers such as {first}, of which a feature keeps "
                "seven digits: they look like codes.",
                next=f"Add --metadata {quote(name)}, or remove the column.",
            )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)


def texts_among(fields: Sequence[pa.Field], column: Callable[[str], pa.ChunkedArray]) -> str:
    """Return what columns of texts hold, as the end of a sentence; empty where there are none."""
    texts = [field.name for field in fields if is_text(field.type)]
    examples = [f"{name!r} holds {shortened(str(column(name).drop_null()[0]))!r}" for name in texts[:3]]
    return f": {', '.join(examples)}, which is text" if examples else ""


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column holds lists of numbers."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and is_number(kind.value_type)


def as_floats(column: pa.Array) -> npt.NDArray[np.float32]:
    """Return numbers as float32, NaN where they are missing."""
    with np.errstate(over="ignore"):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float32)


def apart(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return those of some columns that do not stand in the largest block of them, where that is most of them.

    Parameters
    ----------
    names : sequence of str
        All columns of the file, in order.
    columns : sequence of str
    """
    wanted = set(columns)
    blocks: list[list[str]] = [[]]
    for name in names:
        if name in wanted:
            blocks[-1].append(name)
        elif blocks[-1]:
            blocks.append([])
    largest = max(blocks, key=len)
    return [name for name in columns if name not in largest] if 2 * len(largest) > len(wanted) else []
