"""A table of labels, looked up by a key such as the slide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from histokit.datasets.cells import tidy_text
from histokit.datasets.number_columns import with_numbers
from histokit.datasets.tables import TidyTable, python_types, read_table, require_columns, stored_name, taken
from histokit.errors import DataError, UsageError, counted, did_you_mean
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.options import split_list, typed_option

#: The texts of the columns by which a row is found.
Key = tuple[str, ...]

_WITH_FRACTION = re.compile(r"-?[0-9]+\.0+")


def asked_classes(classes: Sequence[str], positive: str | None) -> tuple[tuple[str, ...] | None, str | None]:
    """Return classes, and the positive one, in the form that labels of data are brought to; none where not given."""
    return tuple(map(tidy_text, classes)) or None, positive and tidy_text(positive)


def require_labels(labels: set[str], positive: str | None, classes: Sequence[str] | None) -> None:
    """Raise a `UsageError` where `positive` is no label of the data, or `classes` does not name them all."""
    if positive is not None and positive not in labels:
        raise UsageError(
            f"The option positive={positive!r} is not a label of these data.",
            next=f"{did_you_mean(positive, labels)}The labels are: {', '.join(sorted(labels)) or 'none'}.",
        )
    unnamed = sorted(labels - set(classes)) if classes else []
    if unnamed:
        raise UsageError(
            f"The label {unnamed[0]!r} is not among the classes {', '.join(classes or ())}.",
            next=f"Name all of them: {typed_option('classes', sorted(labels))}",
        )


def key_fields(on: str) -> dict[str, str]:
    """Return the fields that the option ``on`` names, with the columns they are in a table: ``plate,well:Well No``."""
    pairs = [text.partition(":") for text in split_list(on) or [""]]
    return {field.strip(): column.strip() or field.strip() for field, _, column in pairs}


def pattern_of(on: str) -> str:
    """Return the pattern of paths whose folders are the fields that the option ``on`` names, with any depth below."""
    return "".join(f"{{{name}}}/" for name in key_fields(on)) + "**"


class LabelTable:
    """Labels and further columns by key.

    Parameters
    ----------
    path : Path
        A CSV or Parquet file; read when first needed.
    on : mapping
        What the parts of the key are called, with the columns that hold them.
    label : str
        The column that holds the label.
    text : tuple
        Further columns that are text whatever they look like, where the table has them.
    apart : tuple
        Columns that are none of the metadata, where the table has them: whoever looks up a row knows what they mean.
    needs_label : bool
        Whether there has to be a column of labels.
    fields : sequence of str
        Of paths, by which rows could be found as well.
    """

    def __init__(
        self,
        path: Path,
        on: Mapping[str, str],
        label: str,
        text: tuple[str | None, ...] = (),
        apart: tuple[str, ...] = (),
        needs_label: bool = True,
        fields: Sequence[str] = (),
    ):
        self.path, self.on, self.label = path, tuple(on), stored_name(label)
        self._columns = {field: stored_name(column) for field, column in on.items()}
        self.apart, self.needs_label, self.fields = apart, needs_label, fields
        self.text = {self.label, *(name for name in text if name)}
        self._met: set[Key] = set()

    @cached_property
    def _sheet(self) -> TidyTable:
        sheet = read_table(self.path, self.text, set(self._columns.values()))
        sheet = with_numbers(sheet, [name for name in self.apart if name == "mpp"], self.path)
        table = sheet.table
        self._require_keys(sheet)
        if self.needs_label:
            require_columns(sheet, (self.label,), self.path, "label_column")
        table = table.rename_columns([self._fields.get(name, name) for name in table.column_names])
        fields = [name for name in table.column_names if name in RESERVED_COLUMNS and name not in self._own]
        return replace(sheet, table=table.drop_columns(fields), notes=[*sheet.notes, *map(taken, fields)])

    @property
    def _fields(self) -> dict[str, str]:
        return {column: field for field, column in self._columns.items()}

    def _require_keys(self, sheet: TidyTable) -> None:
        if len(self._fields) < len(self.on):
            raise UsageError("The option on names a column twice.", next="Name each column once.")
        for field, column in self._columns.items():
            if column not in sheet.table.column_names:
                known = ", ".join(sheet.names)
                # Where no fields are told, as of slides, the option is the column alone.
                right = (
                    f"{field}, or with -o on={field}:COLUMN where it is called otherwise" if self.fields else "COLUMN"
                )
                raise UsageError(
                    f"The table {str(self.path)!r} has no column {column!r}.",
                    next=f"{did_you_mean(column, sheet.names)}Its columns are: {known}. Name the right one with "
                    f"-o on={right}.",
                )
            if column != field and field in sheet.table.column_names:
                raise UsageError(
                    f"The table {str(self.path)!r} has both columns {column!r} and {field!r}.",
                    next=f"Name the field in the pattern otherwise, or find rows by its column: -o on={field}.",
                )

    def columns(self) -> dict[str, type]:
        """Return the types of the columns that are neither key nor label.

        Raises
        ------
        DataError
            If the table is absent or cannot be read.
        UsageError
            If it lacks a column.
        """
        types = python_types(self._sheet.table)
        return {name: kind for name, kind in types.items() if name not in self._own}

    @property
    def names(self) -> list[str]:
        """What the columns of the table are called, in the table and as fields of paths."""
        return list(dict.fromkeys([*self._sheet.names, *self.on]))

    @property
    def _own(self) -> tuple[str, ...]:
        return *self.on, self.label, *self.apart

    def refuse_labels(self, pattern: str) -> None:
        """Raise a `UsageError` where the table has labels although the paths have them as well."""
        if self.label in self._sheet.table.column_names:
            raise UsageError(
                f"Labels come from the column {self.label!r} of {str(self.path)!r} and from {{label}} in the pattern "
                f"{pattern!r} as well.",
                next="Name the field in the pattern otherwise, such as {kind}, or the column in the table.",
            )

    @cached_property
    def _rows(self) -> dict[Key, tuple[str | None, dict[str, Any]]]:
        rows: dict[Key, tuple[str | None, dict[str, Any]]] = {}
        first: dict[Key, int] = {}
        for number, values in enumerate(self._sheet.table.to_pylist(), start=1):
            key = tuple(values.pop(name) for name in self.on)
            row = values.pop(self.label, None), values
            if None in key:
                continue
            before = first.setdefault(key, number)
            if rows.setdefault(key, row) != row:
                raise DataError(
                    f"The table {str(self.path)!r} has rows that contradict each other for {self._named(key)}: "
                    f"{before} and {number}.",
                    next=f"Keep one row for each {' and '.join(self.on)}{self._further_fields()}.",
                )
        return rows

    def _named(self, key: Key) -> str:
        return ", ".join(f"{name}={text!r}" for name, text in zip(self.on, key, strict=True))

    def _further_fields(self) -> str:
        """Return what to ask for where rows are told apart by more than what they are found by now."""
        names = [name for name in self.fields if name in self._sheet.table.column_names and name not in self.on]
        asked = [field if field == column else f"{field}:{column}" for field, column in self._columns.items()]
        return f", or find rows by more: {typed_option('on', [*names, *asked])}" if names else ""

    @cached_property
    def _whole(self) -> list[dict[str, str]]:
        """Of each column, what whole numbers are that pandas wrote where some of its cells are empty: 1.0."""
        columns = [set(texts) for texts in zip(*self._rows, strict=True)]
        return [
            {text.partition(".")[0]: text for text in texts} if all(map(_WITH_FRACTION.fullmatch, texts)) else {}
            for texts in columns
        ]

    def _key(self, texts: Key) -> Key:
        if texts in self._rows or not self._rows:
            return texts
        return tuple(whole.get(text, text) for whole, text in zip(self._whole, texts, strict=True))

    def __contains__(self, text: str) -> bool:
        return self._key((text,)) in self._rows

    def row(self, *texts: str) -> tuple[str | None, dict[str, Any]]:
        """Return the label and the further columns of a key; none and nothing where it has no row."""
        key = self._key(texts)
        self._met.add(key)
        return self._rows.get(key, (None, {}))

    def join(self, other: LabelTable) -> None:
        """Count the rows as asked for that another reading of the same table was asked for."""
        self._met |= other._met

    def require_met(self) -> None:
        """Raise where rows were asked for and none is there, as where only one side has the endings of files.

        Raises
        ------
        DataError
        """
        if not self._met or not self._rows or any(key in self._rows for key in self._met):
            return
        row, asked = next(iter(self._rows)), min(self._met)
        raise DataError(
            f"No row of the table {str(self.path)!r} is that of an image: its first row of "
            f"{len(self._rows):,} has {self._named(row)}, and the first image {self._named(asked)}.",
            next=self._endings() or "Both have to be the same text: mend either, or name another column with -o on.",
        )

    def _endings(self) -> str:
        """Return what to do where keys differ by the endings of files alone."""
        columns = zip(self.on, zip(*self._rows, strict=True), zip(*self._met, strict=True), strict=True)
        for name, listed, asked in columns:
            if {PurePosixPath(text).stem for text in listed} & set(asked):
                return (
                    f"Let the field take the endings of files as the column has them: end the pattern with {{{name}}}."
                )
            if {PurePosixPath(text).stem for text in asked} & set(listed):
                return f"Keep the endings of files out of the field: end the pattern with {{{name}}}.*."
        return ""

    def lacking(self) -> Iterator[str]:
        """Yield a sentence where keys that were asked for have no row."""
        absent = sorted(key for key in self._met if key not in self._rows)
        if absent:
            rows = counted(len(absent), "row is", "rows are")
            yield f"{rows} missing in the table of labels, for example that of {self._named(absent[0])}"

    def remarks(self) -> Iterator[str]:
        """Yield what the user should know of the table, and a sentence where keys of it were never asked for."""
        yield from self._sheet.notes
        unused = [key for key in self._rows if key not in self._met]
        if unused:
            rows = counted(len(unused), "row of the table of labels has", "rows of the table of labels have")
            yield f"{rows} no image, for example {self._named(unused[0])}"
