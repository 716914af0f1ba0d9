"""In what two tables of features of one name differ, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from histokit.errors import counted, some
from histokit.store.fingerprints import spec_differences
from histokit.store.vectors import FeatureTable

#: The field of a spec that has a digest of the names of columns, or how many they are where they have none.
_COLUMNS = "columns"


def table_differences(table: FeatureTable, other: FeatureTable) -> Iterator[str]:
    """Yield what is otherwise in another table: fields of its spec, and columns by their names."""
    return differences(table, other.spec, other.info.get(_COLUMNS) or (), other.width)


def differences(table: FeatureTable, spec: Mapping[str, Any], names: Sequence[str], width: int) -> Iterator[str]:
    """Yield what is otherwise in vectors that are no table yet.

    Parameters
    ----------
    table : FeatureTable
    spec : mapping
    names : sequence of str
        Of their columns, nothing where these have none.
    width : int
    """
    before = {name: value for name, value in table.spec.items() if name != _COLUMNS}
    yield from spec_differences(before, {name: value for name, value in spec.items() if name != _COLUMNS})
    if table.spec.get(_COLUMNS) != spec.get(_COLUMNS):
        yield f"columns: {_columns(list(table.info.get(_COLUMNS) or ()), table.width, list(names), width)}"


def _columns(before: list[str], width_before: int, after: list[str], width: int) -> str:
    if not (before and after):
        return f"{_counted(width_before, before)} → {_counted(width, after)}"
    there, here = set(before), set(after)
    lost, more = [name for name in before if name not in here], [name for name in after if name not in there]
    if not (lost or more):
        place = next(place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new)
        return f"in another order, from number {place + 1} on: {before[place]} → {after[place]}"
    parts = [f"{word} {some(names)}" for word, names in (("without", lost), ("with", more)) if names]
    return ", ".join(parts)


def _counted(width: int, names: Sequence[str]) -> str:
    return counted(width, "number", "numbers") + ("" if names else " without names")
