"""Columns of a table that have to be numbers, whatever else is in them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc

from histokit.datasets.cells import OddCell
from histokit.datasets.regions.boxes import require_resolution
from histokit.datasets.tables import TidyTable, bad_cell


def with_numbers(sheet: TidyTable, names: Collection[str], path: Path) -> TidyTable:
    """Return a table some of whose columns are numbers, where they are there.

    Raises
    ------
    DataError
        If one holds a cell that is no number; it is named.
    """
    table = sheet.table
    for name in names:
        if name in table.column_names and not _is_number(table.column(name).type):
            column = as_numbers(table.column(name), name, path)
            table = table.set_column(table.column_names.index(name), name, column)
    return sheet if table is sheet.table else replace(sheet, table=table)


def as_numbers(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """Return a column of texts as float64.

    Raises
    ------
    DataError
        If a cell is no number; it is named.
    """
    try:
        return pc.cast(pc.cast(column, pa.string()), pa.float64())
    except pa.ArrowInvalid:
        for row, text in enumerate(column.to_pylist(), start=1):
            if text is not None and not _reads(str(text)):
                odd = OddCell(row, str(text), True)
                raise bad_cell(path, name, odd, "leave it empty where there is no number") from None
        raise


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _reads(text: str) -> bool:
    try:
        pc.cast(pa.scalar(text), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def resolution_in(text: str | None) -> float | None:
    """Return the micrometres per pixel that stand in the place of a column, none where it is a column.

    Raises
    ------
    UsageError
        If no image has so many.
    """
    try:
        number = float(text or "")
    except ValueError:
        return None
    require_resolution(number, str(text))
    return number
