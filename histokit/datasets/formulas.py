"""Cells of CSV files that a spreadsheet would run as formulas: written with an apostrophe before them."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

#: With apostrophes that are there already, so that one more can be taken away again.
_FORMULA = r"^'*[=+\-@\t\r\n]"
_GUARDED = r"^'+[=+\-@\t\r\n]"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def guarded_text(text: str) -> str:
    """Return a text with an apostrophe before it where it begins as a formula; numbers stay."""
    return f"'{text}" if re.search(_FORMULA, text) and not re.search(_NUMBER, text) else text


def plain_text(text: str) -> str:
    """Return the text that `guarded_text` was given."""
    return text[1:] if re.search(_GUARDED, text) else text


def guarded(table: pa.Table) -> pa.Table:
    """Return a table to be written as CSV, its texts and names as `guarded_text` gives them."""

    def guard(column: Any) -> Any:
        number = pc.match_substring_regex(column, _NUMBER)
        formula = pc.and_not(pc.match_substring_regex(column, _FORMULA), number)
        return pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)

    return _texts(table, guard).rename_columns([guarded_text(name) for name in table.column_names])


def plain(table: pa.Table) -> pa.Table:
    """Return the table that `guarded` was given."""

    def undo(column: Any) -> Any:
        return pc.if_else(pc.match_substring_regex(column, _GUARDED), pc.utf8_slice_codeunits(column, 1), column)

    return _texts(table, undo).rename_columns([plain_text(name) for name in table.column_names])


def _texts(table: pa.Table, change: Any) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(place, field, change(table.column(place)))
    return table
