"""Vectors in a Parquet or CSV file: which columns they are, and their rows in batches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.features.export import PROVENANCE_KEY
from histokit.plugin.dataset import RESERVED_COLUMNS

_ROWS_AT_ONCE = 4_096
_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".tsv")

#: What pandas calls the numbers of rows, which are no feature.
_INDEX_NAMES = ("", "__index_level_0__", "Unnamed: 0")

#: How CellProfiler and pycytominer mark what is no feature.
_METADATA = ("Metadata_*", "Image_Metadata_*")


class VectorFile:
    """A table of vectors keyed by sample id.

    A Parquet file streams; a CSV file is held in memory, since the type of a column is only known at its end.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.csv`` or ``.tsv``.
    id : str
        The column of sample ids.
    texts : collection of str
        Further columns that are text whatever they look like.

    Raises
    ------
    DataError
        If the file is absent, cannot be read, or has a column twice.
    UsageError
        If its suffix is unknown or it has no such column.
    """

    def __init__(self, path: Path, id: str, texts: Collection[str] = ()):
        self.path, self.id = path, id
        suffix = path.suffix.lower()
        if suffix not in (*_PARQUET, *_CSV):
            raise UsageError(
                f"The file {str(path)!r} has the suffix {suffix!r}.", next="Give a .parquet, .csv or .tsv file."
            )
        if not path.is_file():
            raise DataError(f"The file {str(path)!r} does not exist.", next="Check its path.")
        try:
            self._file: Any = _open_parquet(path) if suffix in _PARQUET else _read_csv(path, {id, *texts})
            self.schema: pa.Schema = self._file.schema_arrow if suffix in _PARQUET else self._file.schema
            names = self.schema.names
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise self._unreadable(error) from error
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"The file {str(path)!r} has two columns {twice[0]!r}.", next="Rename one of them.")
        self.require([id, *texts])

    def require(self, names: Collection[str]) -> None:
        """Raise a `UsageError` for a column that the file does not have."""
        for name in names:
            if name not in self.schema.names:
                known = [n for n in self.schema.names if not pa.types.is_floating(self.schema.field(n).type)]
                hint = did_you_mean(name, self.schema.names)
                option = "Name the column of sample ids with --id; columns" if name == self.id else "Its columns"
                raise UsageError(
                    f"The file {str(self.path)!r} has no column {name!r}.",
                    next=f"{hint}{option} other than numbers: {', '.join(known[:20]) or 'none'}.",
                )

    def metadata(self, patterns: Sequence[str]) -> list[str]:
        """Return the columns that describe samples: those named, and those that begin with ``Metadata_``.

        Parameters
        ----------
        patterns : sequence of str
            Names of columns; ``*`` and ``?`` stand for any text and any character.

        Raises
        ------
        UsageError
            If there is no such column.
        """
        for pattern in patterns:
            if not any(_fits(name, pattern) for name in self.schema.names):
                self.require([pattern])
        every = (*_METADATA, *patterns)
        return [n for n in self.schema.names if n != self.id and any(_fits(n, pattern) for pattern in every)]

    def _unreadable(self, error: Exception) -> DataError:
        lines = str(error).splitlines() or [type(error).__name__]
        return DataError(
            f"The file {str(self.path)!r} cannot be read: {lines[0]}",
            next="Give a Parquet file, or a CSV file in UTF-8 with a header line.",
        )

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream some columns.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        try:
            if isinstance(self._file, pa.Table):
                yield from self._file.select(columns).to_batches(max_chunksize=_ROWS_AT_ONCE)
            else:
                for batch in self._file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
                    yield batch.select(list(columns))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def texts(self, column: str) -> list[str | None]:
        """Return a column as texts, none where it is empty."""
        values = [v for batch in self.batches([column]) for v in batch.column(0).to_pylist()]
        return [None if value is None or value == "" else str(value) for value in values]

    def ids(self) -> list[str]:
        """Return the sample ids, in the order of the file.

        Raises
        ------
        DataError
            If an id is empty or comes twice.
        """
        found = self.texts(self.id)
        seen: dict[str, int] = {}
        for row, sample_id in enumerate(found):
            if sample_id is None:
                raise DataError(
                    f"Row {row + 1} of {str(self.path)!r} has no {self.id}.", next="Fill it, or remove the row."
                )
            if sample_id in seen:
                raise DataError(
                    f"The id {sample_id!r} of {str(self.path)!r} comes twice, in rows {seen[sample_id] + 1} and "
                    f"{row + 1}.",
                    next="Keep one row for each sample.",
                )
            seen[sample_id] = row
        return list(seen)

    def vector_columns(self, taken: Collection[str]) -> list[str]:
        """Return the columns of the vectors: all numeric ones, or one of lists.

        Parameters
        ----------
        taken : collection of str
            Columns that mean something else.

        Raises
        ------
        DataError
            If there is none, it is not clear which, or a column is empty.
        """
        provenance = (self.schema.metadata or {}).get(PROVENANCE_KEY)
        if provenance is not None:
            return list(json.loads(provenance)["columns"])
        others = {*RESERVED_COLUMNS, self.id, *taken}
        fields = [field for field in self.schema if field.name not in others]
        empty = [field.name for field in fields if pa.types.is_null(field.type)]
        if empty:
            raise DataError(f"The column {empty[0]!r} of {str(self.path)!r} holds nothing.", next="Remove it.")
        lists = [field.name for field in fields if is_list(field.type)]
        if len(lists) > 1:
            raise DataError(
                f"The file {str(self.path)!r} has several columns of lists: {', '.join(lists)}.", next="Keep one."
            )
        numbers = [field.name for field in fields if is_number(field.type)]
        index = [name for name in numbers if name in _INDEX_NAMES]
        if index and not lists:
            raise DataError(
                f"The column {index[0]!r} of {str(self.path)!r} seems to number the rows.",
                next="Remove it, or rename it where it is a feature.",
            )
        if not (lists or numbers):
            raise DataError(
                f"The file {str(self.path)!r} has no vectors.",
                next="Give numeric columns, or one column of lists of numbers.",
            )
        return lists or numbers

    def apart(self, columns: Sequence[str]) -> list[str]:
        """Return those of some columns that do not stand in the largest block of them, where that is most of them."""
        wanted = set(columns)
        blocks: list[list[str]] = [[]]
        for name in self.schema.names:
            if name in wanted:
                blocks[-1].append(name)
            elif blocks[-1]:
                blocks.append([])
        largest = max(blocks, key=len)
        return [name for name in columns if name not in largest] if 2 * len(largest) > len(wanted) else []

    def vectors(self, columns: Sequence[str]) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """Stream the vectors.

        Yields
        ------
        ids : list of str
        matrix : (n, d) float32 array

        Raises
        ------
        DataError
            If a number is missing, NaN or infinite, or lists differ in length.
        """
        width = None
        for batch in self.batches([self.id, *columns]):
            ids = [str(value) for value in batch.column(0).to_pylist()]
            values = [batch.column(i + 1) for i in range(len(columns))]
            if is_list(values[0].type):
                matrix = self._stack_lists(ids, values[0], width)
            else:
                matrix = np.column_stack([_floats(value) for value in values])
            width = matrix.shape[1]
            self._check_finite(ids, matrix, columns)
            yield ids, matrix

    def _stack_lists(self, ids: Sequence[str], column: pa.Array, width: int | None) -> npt.NDArray[np.float32]:
        from pyarrow import compute

        lengths = compute.fill_null(compute.list_value_length(column), -1).to_numpy(zero_copy_only=False)
        wanted = int(lengths[0]) if width is None and len(lengths) else width or 0
        if len(lengths) and (wanted < 1 or (lengths != wanted).any()):
            row = 0 if wanted < 1 else int(np.flatnonzero(lengths != wanted)[0])
            found = "none" if lengths[row] < 0 else f"{lengths[row]} numbers"
            raise DataError(
                f"The vector of {ids[row]!r} in {str(self.path)!r} has {found}; that of the first sample {wanted}.",
                next="Give every sample a vector of the same length.",
            )
        return _floats(column.flatten()).reshape(len(ids), wanted)

    def _check_finite(self, ids: Sequence[str], matrix: npt.NDArray[np.float32], columns: Sequence[str]) -> None:
        bad = np.argwhere(~np.isfinite(matrix))
        if len(bad):
            row, column = bad[0]
            name = columns[column] if len(columns) == matrix.shape[1] else f"{columns[0]}[{column}]"
            raise DataError(
                f"{len(bad)} numbers of {str(self.path)!r} are missing, NaN or infinite in float32, such as that of "
                f"{ids[row]!r} in {name!r}.",
                next="Remove these rows or columns, or mend them.",
            )


def _fits(name: str, pattern: str) -> bool:
    # Names may have brackets, which mean something in patterns.
    return name == pattern or fnmatchcase(name, pattern)


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column holds numbers; truth values are none."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column holds lists of numbers."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and is_number(kind.value_type)


def _floats(column: pa.Array) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float32)


def _open_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path)


def _read_csv(path: Path, texts: Collection[str]) -> pa.Table:
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    # As R writes it, NA without quotes is no text.
    convert = csv.ConvertOptions(
        column_types={name: pa.string() for name in texts}, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    return csv.read_csv(path, parse_options=parse, convert_options=convert)
