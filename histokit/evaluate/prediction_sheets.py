"""Predictions as tables for people, and as rows of a JSON document."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from histokit.layout import Sheet

_SCORE = "score:"

#: Columns that are left out where they are empty.
_OPTIONAL = ("part", "box", "group")


def finite_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions with none in place of infinite numbers, which JSON does not have."""
    return [{k: v if not _infinite(v) else None for k, v in row.items()} for row in rows]


def prediction_sheets(found: pa.Table, rows: list[dict[str, Any]]) -> list[Sheet]:
    """Return the table of predictions, given as rows as well, and those with fewer columns for where it has no room."""
    empty = {name for name in _OPTIONAL if name in found.column_names and found.column(name).null_count == len(found)}
    shown = [name for name in found.column_names if name not in empty]
    whole = Sheet("", shown, [[row[name] for name in shown] for row in rows])
    return [whole, *_narrow(rows, [name for name in shown if not name.startswith(_SCORE)])]


def _narrow(rows: list[dict[str, Any]], shown: list[str]) -> list[Sheet]:
    """Return the predictions with fewer and fewer columns: of the scores only that of the predicted class."""
    least = ["id", "true", "predicted"]
    if "residual" in shown:
        chosen = [shown, [n for n in shown if n != "image"], [*least, "residual", "fold"], [*least, "residual"], least]
        return [Sheet("", names, [[row[n] for n in names] for row in rows]) for names in chosen]
    chosen = [shown, [n for n in shown if n != "image"], [n for n in shown if n in (*least, "fold")], least]
    scores = [row[f"{_SCORE}{row['predicted']}"] for row in rows]
    return [
        Sheet(
            "", [*names, "score"], [[*(row[n] for n in names), score] for row, score in zip(rows, scores, strict=True)]
        )
        for names in chosen
    ]


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and value in (float("inf"), float("-inf"))
