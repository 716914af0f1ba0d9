"""Whether a file that `export_features` wrote still holds all of its features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from histokit.errors import DataError, counted, some
from histokit.store import Store

#: Of the numbers up to the last one, how many may be absent; a selection leaves out more.
_FEW = 0.1


def require_all(columns: Sequence[str], there: Sequence[str], path: Path) -> None:
    """Raise where a file lacks columns that it says it was written with.

    Raises
    ------
    DataError
    """
    held = set(there)
    absent = [name for name in columns if name not in held]
    if absent:
        raise DataError(
            f"The file {str(path)!r} was written with {counted(len(columns), 'feature', 'features')} and lacks "
            f"{len(absent):,} of them: {some(absent)}.",
            next="Export them again; columns that are not wanted are left out by a selection, or of a .csv.",
        )


def absent_notes(store: Store, columns: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each layer of which a file without provenance holds some of the columns.

    What a layer's columns are is known where it is in the store; where they are numbers, also by the gaps.
    """
    held: dict[str, list[str]] = {}
    for column in columns:
        if column.endswith("]") and "[" in column.partition("/")[2]:
            place = column.index("[", column.index("/"))
            held.setdefault(column[:place], []).append(column[place + 1 : -1])
    tables = {table.address: table for table in store.feature_tables()} if held else {}
    for layer, names in held.items():
        table = tables.get(layer.partition("@")[0])
        absent = _gaps(names) if table is None else [name for name in table.columns if name not in set(names)]
        if absent:
            every = len(names) + len(absent)
            forms = (f"of the {every:,} columns of {layer} {is_} not in the file" for is_ in ("is", "are"))
            yield f"{counted(len(absent), *forms)}: {some(absent)}"


def _gaps(names: Sequence[str]) -> list[str]:
    if not all(name.isdecimal() for name in names):
        return []
    numbers = {int(name) for name in names}
    absent = [str(k) for k in range(max(numbers)) if k not in numbers]
    return absent if len(absent) <= _FEW * max(numbers) else []
