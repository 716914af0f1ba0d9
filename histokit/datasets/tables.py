"""Reading of CSV and Parquet tables, as the columns of samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.plugin.dataset import RESERVED_COLUMNS


def read_table(path: Path, text_columns: Collection[str] = ()) -> pa.Table:
    """Read a ``.csv``, ``.tsv`` or ``.parquet`` file with columns of whole numbers, numbers, booleans and text.

    Parameters
    ----------
    path : Path
    text_columns : collection of str
        Columns that are text whatever they look like, so that ``0012`` stays ``0012``.

    Returns
    -------
    pyarrow.Table
        Columns of type int64, float64, bool or string; other types as text, nested ones left out.

    Raises
    ------
    DataError
        If the file is absent or cannot be read.
    """
    if not path.is_file():
        raise DataError(
            f"The table {str(path)!r} does not exist.", next="Give its path, whole or relative to the root."
        )
    try:
        table = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path, text_columns)
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        plain = table if twice else _normalise(table, text_columns)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"The table {str(path)!r} cannot be read: {reason}",
            next="Give a CSV file in UTF-8 with a header line, or a Parquet file.",
        ) from error
    if twice:
        raise DataError(
            f"The table {str(path)!r} has several columns named {twice[0]!r}.", next="Rename or remove all but one."
        )
    return plain


def require_columns(table: pa.Table, names: Iterable[str], path: Path, option: str = "") -> None:
    """Raise a `UsageError` that names the first column which the table does not have, and the option that says it."""
    for name in names:
        if name not in table.column_names:
            raise UsageError(
                f"The table {str(path)!r} has no column {name!r}.",
                next=f"{did_you_mean(name, table.column_names)}Its columns are: {', '.join(table.column_names)}."
                + (f" Name the right one with -o {option}=COLUMN." if option else ""),
            )


def refuse_reserved(names: Iterable[str], where: str) -> None:
    """Raise a `UsageError` where a metadata column would have the name of a sample's own field."""
    for name in names:
        if name in RESERVED_COLUMNS:
            raise UsageError(
                f"{where} has {name!r}, which is the name of a field that every sample has.",
                next=f"Rename it, for instance to {name}_id; taken are: {', '.join(RESERVED_COLUMNS)}.",
            )


def python_types(table: pa.Table) -> dict[str, type]:
    """Return the Python type of each column of a table read by `read_table`."""
    return {field.name: _python_type(field.type) for field in table.schema}


def clean(value: Any) -> Any:
    """Return none for an empty text and for NaN, else the value."""
    return None if value == "" or value != value else value


def _read_csv(path: Path, text_columns: Collection[str]) -> pa.Table:
    from pyarrow import csv

    def read(text: Collection[str]) -> pa.Table:
        return csv.read_csv(
            path,
            parse_options=csv.ParseOptions(
                delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(column_types={name: pa.string() for name in text}),
        )

    table = read(text_columns)
    others = {f.name for f in table.schema if not _is_plain(f.type) and not pa.types.is_null(f.type)}
    return read({*text_columns, *others}) if others else table


def _read_parquet(path: Path) -> pa.Table:
    from pyarrow import parquet

    return parquet.read_table(path)


def _normalise(table: pa.Table, text_columns: Collection[str]) -> pa.Table:
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not pa.types.is_nested(column.type):
            columns[name] = column.cast(pa.string() if name in text_columns else _plain_type(column.type))
    return pa.table(columns)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    return pa.float64() if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else pa.string()


def _is_plain(kind: pa.DataType) -> bool:
    return kind in (pa.bool_(), pa.int64(), pa.float64(), pa.string())


def _python_type(kind: pa.DataType) -> type:
    types = {pa.bool_(): bool, pa.int64(): int, pa.float64(): float}
    return types.get(kind, str)
