"""A table of labels, looked up by a key such as the slide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from histokit.datasets.tables import clean, python_types, read_table, refuse_reserved, require_columns
from histokit.errors import DataError, UsageError, did_you_mean


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
            next=f"Name all of them: -o classes={','.join(sorted(labels))}.",
        )


class LabelTable:
    """Labels and further columns by key.

    Parameters
    ----------
    path : Path
        A CSV or Parquet file; read when first needed.
    on : str
        The column that holds the key.
    label : str
        The column that holds the label.
    text : tuple
        Further columns that are text whatever they look like, where the table has them.
    """

    def __init__(self, path: Path, on: str, label: str, text: tuple[str | None, ...] = ()):
        self.path, self.on, self.label = path, on, label
        self.text = {on, label, *(name for name in text if name)}
        self._met: set[str] = set()

    @cached_property
    def _table(self) -> Any:
        table = read_table(self.path, self.text)
        for option, name in (("on", self.on), ("label_column", self.label)):
            require_columns(table, (name,), self.path, option)
        refuse_reserved((n for n in table.column_names if n not in (self.on, self.label)), f"The table {self.path}")
        return table

    def columns(self) -> dict[str, type]:
        """Return the types of the columns that are neither key nor label.

        Raises
        ------
        DataError
            If the table is absent or cannot be read.
        UsageError
            If it lacks a column or has one with a reserved name.
        """
        types = python_types(self._table)
        return {name: kind for name, kind in types.items() if name not in (self.on, self.label)}

    @cached_property
    def _rows(self) -> dict[str, tuple[str | None, dict[str, Any]]]:
        rows: dict[str, tuple[str | None, dict[str, Any]]] = {}
        for values in self._table.to_pylist():
            key = clean(values.pop(self.on))
            row = clean(values.pop(self.label)), {name: clean(value) for name, value in values.items()}
            if key is not None and rows.setdefault(key, row) != row:
                raise DataError(
                    f"The table {str(self.path)!r} has rows that contradict each other for {self.on}={key!r}.",
                    next=f"Keep one row for each {self.on}.",
                )
        return rows

    def row(self, key: str) -> tuple[str | None, dict[str, Any]]:
        """Return the label and the further columns of a key; none and nothing where it has no row."""
        self._met.add(key)
        return self._rows.get(key, (None, {}))

    def unused(self) -> Iterator[str]:
        """Yield a sentence where keys of the table were never asked for."""
        unused = [key for key in self._rows if key not in self._met]
        if unused:
            count = "1 row" if len(unused) == 1 else f"{len(unused)} rows"
            yield f"{count} of the table of labels have no image, for example {self.on}={unused[0]!r}"
