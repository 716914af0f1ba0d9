"""Objects as notebooks show them: tables of HTML, of what a person would ask first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape
from typing import Any

from histokit.layout import Sheet, is_number, shown

#: Of longer tables so many rows are shown.
_ROWS = 30


class InNotebooks(ABC):
    """An object that a notebook shows as tables."""

    @abstractmethod
    def sheets(self) -> Iterable[Sheet]:
        """Return what is shown."""

    def _repr_html_(self) -> str:
        return "".join(map(sheet_html, self.sheets()))


def sheet_html(sheet: Sheet) -> str:
    """Return a table as HTML; of more than 30 rows the first.

    Examples
    --------
    >>> sheet_html(Sheet("a < b", ["n"], [[1.5]]))[:39]
    '<table><caption style="text-align:left"'
    """
    head = "".join(f"<th>{_text(name)}</th>" for name in sheet.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in sheet.rows[:_ROWS])
    left = len(sheet.rows) - _ROWS
    more = f'<tr><td colspan="{len(sheet.columns)}">… and {left:,} more</td></tr>' if left > 0 else ""
    caption = f'<caption style="text-align:left">{escape(sheet.title)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}{more}</tbody></table>"


def _cell(value: Any) -> str:
    side = "right" if is_number(value) else "left"
    return f'<td style="text-align:{side}">{_text(value)}</td>'


def _text(value: Any) -> str:
    return escape(str(shown(value)))
