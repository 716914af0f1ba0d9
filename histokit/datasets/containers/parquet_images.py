"""Parquet files with a column of encoded images, as Hugging Face's ``datasets`` writes them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.datasets.containers.container import NO_LABELS, HeldImage, label_text, number_of, readable
from histokit.datasets.containers.encoded import EncodedImages, encoded_digest
from histokit.datasets.parquet_file import opened_parquet
from histokit.datasets.tables import TidyTable, plain, python_types, read_table, stored_name
from histokit.errors import DataError, UsageError, did_you_mean
from histokit.plugin.dataset import RESERVED_COLUMNS

#: What columns of labels are called where the file does not say which one holds classes.
_LABELS = ("label", "labels", "target", "class", "y", "category")

#: Bytes of images that are read at once, and how many they are at most.
_BLOCK_BYTES, _MOST_ROWS = 1 << 21, 1024

_A_FILE = "Parquet file"


class ParquetImages(EncodedImages):
    """A Parquet file with an image in each row."""

    @cached_property
    def _schema(self) -> pa.Schema:
        with opened_parquet(self.file) as file:
            return file.schema_arrow

    @cached_property
    def _features(self) -> Mapping[str, Any]:
        """What ``datasets`` says of the columns."""
        try:
            document = json.loads((self._schema.metadata or {})[b"huggingface"])
            return dict(document["info"]["features"])
        except (KeyError, ValueError, TypeError):
            return {}

    @cached_property
    def _count(self) -> int:
        with opened_parquet(self.file) as file:
            return int(file.metadata.num_rows)

    @cached_property
    def image_column(self) -> str:
        """The column of images.

        Raises
        ------
        DataError
            If there is none, or there are several.
        UsageError
            If an option names another column.
        """
        found = [field.name for field in self._schema if _holds_bytes(field.type)]
        asked = self.options.images
        if asked:
            if len(asked) != 1 or asked[0] not in found:
                raise UsageError(
                    f"The file {str(self.file)!r} has no column of images {','.join(asked)!r}.",
                    next=f"{did_you_mean(asked[0], found)}Columns of encoded images are: {', '.join(found) or 'none'}.",
                )
            return asked[0]
        if len(found) == 1:
            return found[0]
        several = f"several columns of encoded images ({', '.join(found)})"
        raise DataError(
            f"The file {str(self.file)!r} has {several if found else 'no column of encoded images'}; its columns are: "
            f"{self._columns_listed()}.",
            next="Name the one of images: -o images=COLUMN; it holds the bytes of PNG, JPEG or TIFF files.",
        )

    def _columns_listed(self) -> str:
        return ", ".join(f"{field.name} ({field.type})" for field in self._schema)

    @cached_property
    def _label_column(self) -> str | None:
        found, told = self._column_of_labels(), self.options.label_column
        if found is not None and told not in (None, found):
            raise UsageError(
                f"The labels of {str(self.file)!r} are its column {found!r}, not {told!r}: label_column is for tables "
                "beside images.",
                next="Name the column with -o labels=COLUMN instead.",
            )
        return found

    def _column_of_labels(self) -> str | None:
        names, asked = self._schema.names, self.options.labels
        if asked == NO_LABELS:
            return None
        if asked:
            if len(asked) != 1 or asked[0] not in names:
                raise UsageError(
                    f"The file {str(self.file)!r} has no column {','.join(asked)!r} of labels.",
                    next=f"{did_you_mean(asked[0], names)}Its columns are: {self._columns_listed()}.",
                )
            return asked[0]
        classes = [name for name in names if self._class_names(name)]
        found = next((name for name in _LABELS if name in names), classes[0] if len(classes) == 1 else None)
        if found is None:
            raise DataError(
                f"The file {str(self.file)!r} has no column of labels; its columns are: {self._columns_listed()}.",
                next="Name it: -o labels=COLUMN; for images without labels, add -o labels=none.",
            )
        return found

    def _class_names(self, column: str) -> Sequence[str]:
        feature = self._features.get(column)
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else ()

    @cached_property
    def _described(self) -> tuple[Sequence[str | None] | None, TidyTable]:
        """Labels, and the columns that are neither images nor labels."""
        images, label = self.image_column, self._label_column
        skipped: list[str] = []
        wanted: list[str] = []
        for field in self._schema:
            if field.name == label or not (field.name == images or _is_binary(field.type)):
                taken = field.name != label and stored_name(field.name) in RESERVED_COLUMNS
                (skipped if taken else wanted).append(field.name)
        with opened_parquet(self.file) as file:
            read = file.read(columns=wanted)
        labels = None if label is None else self._labels(label, read.column(label))
        columns = {name: self._tidy(name, read.column(name)) for name in wanted if name != label}
        sheet = read_table(self.file, self.options.texts, found=pa.table(columns))
        notes = [
            f"The column {name!r} of {self.path} was left out: the name is taken by a field that every sample has"
            for name in skipped
        ]
        return labels, TidyTable(sheet.table, sheet.names, [*notes, *sheet.notes])

    def _labels(self, name: str, column: pa.ChunkedArray) -> Sequence[str | None]:
        column = plain(column)
        if pa.types.is_nested(column.type):
            raise DataError(
                f"The column {name!r} of {str(self.file)!r} holds several labels for each image ({column.type}).",
                next="Name a column with one: -o labels=COLUMN.",
            )
        names = self.class_names()
        known: dict[Any, str | None] = {}
        found = []
        for row, value in enumerate(column.to_pylist()):
            if value not in known:
                known[value] = label_text(value, names, f"Row {row} of the column {name!r} of {str(self.file)!r}")
            found.append(known[value])
        return found

    def _tidy(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        names = self._class_names(name)
        column = plain(column)
        if not names or not pa.types.is_integer(column.type):
            return column
        where = f"The column {name!r} of {str(self.file)!r}"
        return pa.chunked_array([pa.array([label_text(v, names, where) for v in column.to_pylist()], pa.string())])

    def class_names(self) -> Sequence[str]:
        """Return the names that were given, or those that the file tells."""
        label = self._label_column
        return self.options.names or (self._class_names(label) if label else ())

    def columns(self) -> Mapping[str, type]:
        """Return the columns that are neither images nor labels."""
        return python_types(self._described[1].table)

    def names(self) -> Collection[str]:
        """Return all columns, as the store calls them."""
        return list(map(stored_name, filter(None, self._schema.names)))

    def entries(self) -> Iterator[HeldImage]:
        """Yield the rows.

        Raises
        ------
        DataError
            If labels are no classes.
        """
        labels, sheet = self._described
        self.warnings[:] = sheet.notes
        rows: Iterator[dict[str, Any]] = iter(())
        if sheet.table.num_columns:
            rows = (row for batch in sheet.table.to_batches(max_chunksize=4096) for row in batch.to_pylist())
        for row in range(self._count):
            yield HeldImage(str(row), labels[row] if labels else None, self.role, next(rows, {}))

    def position(self, part: str) -> int:
        """Return the number of a row."""
        return number_of(part, self._count, self.file)

    def part_digests(self) -> Iterator[bytes]:
        """Yield a digest of the bytes of each image; nothing for a row without."""
        groups = _RowGroups(self.file, self.image_column)
        for group in range(len(groups.starts) - 1):
            for block in groups.blocks(group):
                for data in block:
                    yield b"" if data.as_py() is None else encoded_digest(data.as_py())

    @cached_property
    def _groups(self) -> _RowGroups:
        return _RowGroups(self.file, self.image_column)

    def _data(self, part: str) -> bytes:
        row = self.position(part)
        with readable(self.file, _A_FILE):
            group, number, within = self._groups.place(row)
            block = self.blocks.get((group, number), partial(self._groups.block, group, number))
            data: bytes | None = block[within].as_py()
        if data is None:
            raise DataError(
                f"Row {row} of {str(self.file)!r} has no bytes in the column {self.image_column!r}.",
                next="Save the table with images in it: files that it names elsewhere are not looked for.",
            )
        return data

    def called(self, part: str) -> str:
        """Return the number of a row with the file."""
        return f"Row {part} of {self.path}"


class _RowGroups:
    """A column of bytes, read some rows at a time; a group of rows may be as large as the file."""

    def __init__(self, file: Path, column: str):
        with opened_parquet(file) as opened:
            schema, metadata = opened.schema_arrow, opened.metadata
        self._file, self._column = file, column
        self._leaf = f"{column}.bytes" if pa.types.is_struct(schema.field(column).type) else column
        self.starts = [0]
        self._rows = []
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            self.starts.append(self.starts[-1] + group.num_rows)
            row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
            self._rows.append(max(1, min(_MOST_ROWS, _BLOCK_BYTES // row_bytes)))
        self._now: tuple[int, int, Iterator[pa.Array]] = (-1, 0, iter(()))

    def place(self, row: int) -> tuple[int, int, int]:
        """Return the group of a row, the number of its block in there, and its place in that."""
        group = bisect_right(self.starts, row) - 1
        return group, *divmod(row - self.starts[group], self._rows[group])

    def block(self, group: int, number: int) -> pa.Array:
        """Return a block of a group; the one that comes next is read on, without beginning anew."""
        if self._now[0] != group or self._now[1] > number:
            self._now = group, 0, self.blocks(group)
        _, next_one, blocks = self._now
        for _ in range(next_one, number):
            next(blocks)
        found = next(blocks)
        self._now = group, number + 1, blocks
        return found

    def blocks(self, group: int) -> Iterator[pa.Array]:
        """Yield the blocks of a group."""
        rows = self._rows[group]
        held: list[pa.Array] = []
        with opened_parquet(self._file) as file:
            for batch in file.iter_batches(rows, row_groups=[group], columns=[self._leaf], use_threads=False):
                column = batch.column(0)
                column = column.field("bytes") if pa.types.is_struct(column.type) else column
                column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
                held.append(column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column)
                # Arrow may give less at a time than it is asked for.
                if sum(map(len, held)) >= rows:
                    joined = pa.concat_arrays(held)
                    yield joined.slice(0, rows)
                    held = [joined.slice(rows)]
        if sum(map(len, held)):
            yield pa.concat_arrays(held)


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind) and not pa.types.is_fixed_size_binary(kind)
