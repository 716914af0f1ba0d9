"""A split of a dataset: its rows, and the folds that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from histokit.plugin.digests import digest_stream

_AT_ONCE = 65_536

SPLIT_SCHEMA = pa.schema([("repeat", pa.int16()), ("fold", pa.int16()), ("id", pa.string()), ("role", pa.string())])


class Fold(NamedTuple):
    """The sample ids of one fold of one repeat."""

    repeat: int
    fold: int
    train: list[str]
    val: list[str]
    test: list[str]


@dataclass(frozen=True)
class Split:
    """A named set of rows (repeat, fold, sample id, role).

    Parameters
    ----------
    dataset, name : str
    rows : pyarrow.Table
        Of `SPLIT_SCHEMA`; role is ``train``, ``val`` or ``test``.
    group : str, optional
        The column that no fold cuts through.
    seed : int, optional
    leaks : str, optional
        A sentence on what leaks, where a published split leaks.
    source : str
        ``published``, ``generated`` or ``file``.
    params : dict
        How it was made, and notes.
    """

    dataset: str
    name: str
    rows: pa.Table
    group: str | None = None
    seed: int | None = None
    leaks: str | None = None
    source: str = "generated"
    params: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The digest of the sorted rows, as hexadecimal text."""
        order = [(name, "ascending") for name in SPLIT_SCHEMA.names]
        rows = self.rows.select(SPLIT_SCHEMA.names).sort_by(order)
        return digest_stream(repr(row).encode() for row in _tuples(rows)).hex()

    def folds(self) -> list[Fold]:
        """Return the folds in the order of repeat and fold."""
        found: dict[tuple[int, int], Fold] = {}
        for repeat, fold, sample_id, role in _tuples(self.rows):
            entry = found.setdefault((repeat, fold), Fold(repeat, fold, [], [], []))
            getattr(entry, role).append(sample_id)
        return [found[key] for key in sorted(found)]

    def __repr__(self) -> str:
        places = self.rows.select(["repeat", "fold"]).group_by(["repeat", "fold"]).aggregate([]).num_rows
        return f"Split({self.dataset}: {self.name}, {places} folds, {self.source})"

    def header(self) -> dict[str, Any]:
        """Return everything but the rows, as JSON-serialisable data."""
        names = ("dataset", "name", "group", "seed", "leaks", "source", "params", "digest")
        return {name: getattr(self, name) for name in names}


def split_rows(rows: Iterable[tuple[int, int, str, str]]) -> pa.Table:
    """Return rows of (repeat, fold, sample id, role) as a table of `SPLIT_SCHEMA`."""
    listed = list(rows)
    columns = [pa.array([row[i] for row in listed], kind) for i, kind in enumerate(SPLIT_SCHEMA.types)]
    return pa.table(columns, schema=SPLIT_SCHEMA)


def _tuples(rows: pa.Table) -> Iterator[tuple[int, int, str, str]]:
    for batch in rows.select(SPLIT_SCHEMA.names).to_batches(max_chunksize=_AT_ONCE):
        yield from zip(*(batch.column(name).to_pylist() for name in SPLIT_SCHEMA.names), strict=True)
