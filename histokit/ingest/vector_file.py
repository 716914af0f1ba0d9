"""Vectors in a file: which columns they are, and their rows in batches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.datasets import cells, tables
from histokit.errors import DataError, UsageError, counted, did_you_mean, first_line
from histokit.features.sample_columns import PROVENANCE_KEY
from histokit.ingest.array_file import note_integers
from histokit.ingest.vector_columns import (
    CSV,
    as_floats,
    check_format,
    exported_features,
    is_exported,
    is_list,
    is_number,
    is_text,
    open_rows,
    refuse_codes,
    suffix_of,
    texts_among,
)
from histokit.ingest.whole_exports import require_all
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.signatures import refuse_stand_in

#: How CellProfiler and pycytominer mark what is no feature.
_METADATA = ("Metadata_*", "Image_Metadata_*")


class VectorFile:
    """A table of vectors keyed by sample id.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.csv``, ``.tsv``, ``.npz`` or ``.h5ad``.
    id : str
        The column of sample ids.
    texts : collection of str
        Further columns that are text whatever they look like.
    metadata : sequence of str
        Names of columns that describe samples; ``*`` and ``?`` stand for any text and any character.

    Attributes
    ----------
    schema : pyarrow.Schema
        Of the columns that count, under tidy names; a column of a CSV file is of numbers or texts.
    notes : list of str
        What the user should know.

    Raises
    ------
    DataError
        If the file is absent, cannot be read, or has a column twice.
    UsageError
        If its suffix is unknown or it has no such column.
    """

    def __init__(self, path: Path, id: str, texts: Collection[str] = (), metadata: Sequence[str] = ()):
        self.path, self.id = path, cells.tidy_text(id)
        self.notes: list[str] = []
        self._known_as: dict[str, str] = {}
        self._texts = [cells.tidy_text(name) for name in texts]
        self._patterns = [cells.tidy_text(pattern) for pattern in metadata]
        check_format(path)
        try:
            self._rows = open_rows(path, self.id, self._describes, self.notes)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise self._unreadable(error) from error
        self.schema: pa.Schema = self._rows.schema
        self.require([self.id, *self._texts])

    def join(self, ids: Sequence[str]) -> None:
        """Take ids that are the same but for blanks and the form of letters as these ones."""
        exact = set(ids)
        self._known_as = {tidied: i for i in ids if (tidied := cells.tidy_text(i)) not in exact}

    def _describes(self, name: str) -> bool:
        """Whether a column is known to be none of vectors."""
        named = {self.id, *self._texts, *RESERVED_COLUMNS}
        return name in named or any(_fits(name, pattern) for pattern in (*_METADATA, *self._patterns))

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

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What an exported file says of its vectors; empty where it says nothing."""
        return dict(json.loads((self.schema.metadata or {}).get(PROVENANCE_KEY, b"{}")))

    @property
    def exported(self) -> bool:
        """Whether `export_features` wrote the file."""
        return is_exported(self.schema)

    def metadata(self) -> list[str]:
        """Return the columns that describe samples: those named, and those that begin with ``Metadata_``.

        Raises
        ------
        UsageError
            If there is no such column.
        """
        for pattern in self._patterns:
            if not any(_fits(name, pattern) for name in self.schema.names):
                self.require([pattern])
        every = (*_METADATA, *self._patterns)
        return [n for n in self.schema.names if n != self.id and any(_fits(n, pattern) for pattern in every)]

    def _unreadable(self, error: Exception) -> DataError:
        refuse_stand_in(self.path)
        return DataError(
            f"The file {str(self.path)!r} cannot be read: {first_line(error)}.",
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
            yield from self._rows.batches(columns)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _column(self, name: str) -> pa.ChunkedArray:
        chunks = [batch.column(0) for batch in self.batches([name])]
        column = pa.chunked_array(chunks, self.schema.field(name).type)
        if self._is_csv:
            return column
        try:
            return tables.plain(column)
        except pa.ArrowException as error:
            raise self._unreadable(error) from error

    @property
    def _is_csv(self) -> bool:
        return suffix_of(self.path) in CSV

    def texts(self, column: str) -> list[str | None]:
        """Return a column as texts, none where it is empty; numbers and truth values as Python writes them."""
        values = self._column(column)
        typed = cells.typed(values) if self._is_csv and pa.types.is_string(values.type) else values
        return list(cells.as_text(typed).to_pylist())

    def described(self, column: str) -> pa.ChunkedArray:
        """Return a column that describes samples as int64, float64, bool or string.

        Raises
        ------
        DataError
            If a column of numbers holds a cell that is none.
        """
        values = self._column(column)
        if self._is_csv and pa.types.is_string(values.type):
            return tables.described(values, column, self.path, self.notes, "or leave the column out")
        return tables.finite(cells.whole(values), column, self.path)

    @cached_property
    def ids(self) -> list[str]:
        """The sample ids, in the order of the file; all at once, for what they are as texts depends on all of them.

        Raises
        ------
        DataError
            If an id is empty or comes twice.
        """
        found = [self._known_as.get(i, i) for i in cells.as_text(self._column(self.id)).to_pylist()]
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
        if self.exported:
            names = self.provenance.get("columns") or exported_features(self.schema.names)
            columns = [cells.tidy_text(name) for name in names]
            require_all(columns, self.schema.names, self.path)
            self._refuse_odd(columns)
            return columns
        others = {*RESERVED_COLUMNS, self.id, *taken}
        fields = [field for field in self.schema if field.name not in others]
        self._refuse_odd([field.name for field in fields])
        refuse_codes(self.path, fields, self.batches)
        lists = [field.name for field in fields if is_list(field.type)]
        if len(lists) > 1:
            raise DataError(
                f"The file {str(self.path)!r} has several columns of lists: {', '.join(lists)}.", next="Keep one."
            )
        for name in lists:
            note_integers(np.dtype(self.schema.field(name).type.value_type.to_pandas_dtype()), self.notes)
        numbers = [field.name for field in fields if is_number(field.type)]
        if not (lists or numbers):
            raise DataError(
                f"The file {str(self.path)!r} has no vectors{texts_among(fields, self._column)}.",
                next="Give numeric columns, or one column of lists of numbers.",
            )
        return lists or numbers

    def _refuse_odd(self, names: Sequence[str]) -> None:
        """Raise for columns of texts that were meant as numbers, or hold nothing."""
        for name in names:
            kind = self.schema.field(name).type
            column = self._column(name) if pa.types.is_null(kind) or is_text(kind) else None
            if column is None:
                continue
            if column.null_count == len(column):
                raise DataError(f"The column {name!r} of {str(self.path)!r} holds nothing.", next="Remove it.")
            odd = cells.too_large(column) or cells.odd_cell(column)
            unclear = odd is not None if self._is_csv else cells.holds_fractions(column)
            if unclear:
                row = odd or cells.OddCell(1, str(column[0].as_py()), False)
                raise tables.bad_cell(
                    self.path, name, row, f"where the column is no feature, add --metadata '{name}'", self._is_csv
                )

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
        width, done = None, 0
        for batch in self.batches(columns):
            ids, values = self.ids[done : done + len(batch)], batch.columns
            if is_list(values[0].type):
                matrix = self._stack_lists(ids, values[0], width)
            else:
                matrix = np.column_stack([as_floats(value) for value in values])
            width = matrix.shape[1]
            self._check_finite(ids, matrix, columns, done)
            done += len(batch)
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
        return as_floats(column.flatten()).reshape(len(ids), wanted)

    def _check_finite(self, ids: list[str], matrix: npt.NDArray[np.float32], columns: Sequence[str], done: int) -> None:
        bad = np.argwhere(~np.isfinite(matrix))
        if len(bad):
            (row, column), file = bad[0], repr(str(self.path))
            name = columns[column] if len(columns) == matrix.shape[1] else f"{columns[0]}[{column}]"
            raise DataError(
                f"{counted(len(bad), f'number of {file} is', f'numbers of {file} are')} missing, NaN or infinite "
                f"in float32, such as that of {ids[row]!r} in {name!r} (row {done + row + 1}).",
                next="Remove these rows or columns, or mend them.",
            )


def _fits(name: str, pattern: str) -> bool:
    # Names may have brackets, which mean something in patterns.
    return name == pattern or fnmatchcase(name, pattern)
