"""A split of a dataset: its rows, and the folds that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.plugin.digests import digest_texts

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
        kinds, codes = _numbered(self.rows)
        keys = _keys(kinds, codes)
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys)
            codes = [numbers[order] for numbers in codes]
        return digest_texts(_texts(kinds, codes)).hex()

    @property
    def fold_count(self) -> int:
        """How many folds all repeats have together."""
        return int(self.rows.select(["repeat", "fold"]).group_by(["repeat", "fold"]).aggregate([]).num_rows)

    def folds(self) -> list[Fold]:
        """Return the folds in the order of repeat and fold; they are found once, and are not to be changed."""
        return list(self._folds)

    @cached_property
    def _folds(self) -> list[Fold]:
        kinds, (repeat, fold, sample, role) = _numbered(self.rows)
        repeats, folds, ids, roles = (kind.to_pylist() for kind in kinds)
        # An id is one text, in however many folds it is.
        named = np.array([*ids, None], object)[:-1]
        keys = (repeat * len(folds) + fold) * len(roles) + role
        order = np.argsort(keys, kind="stable")
        starts = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
        found: dict[tuple[int, int], Fold] = {}
        for start, stop in pairwise(starts):
            if start < stop:
                first = order[start]
                place = (repeats[repeat[first]], folds[fold[first]])
                entry = found.setdefault(place, Fold(*place, [], [], []))
                getattr(entry, roles[role[first]]).extend(named[sample[order[start:stop]]].tolist())
        return list(found.values())

    def __repr__(self) -> str:
        return f"Split({self.dataset}: {self.name}, {self.fold_count} folds, {self.source})"

    def header(self) -> dict[str, Any]:
        """Return everything but the rows, as JSON-serialisable data."""
        names = ("dataset", "name", "group", "seed", "leaks", "source", "params", "digest")
        return {name: getattr(self, name) for name in names}


def split_rows(rows: Iterable[tuple[int, int, str, str]]) -> pa.Table:
    """Return rows of (repeat, fold, sample id, role) as a table of `SPLIT_SCHEMA`."""
    listed = list(rows)
    columns = [pa.array([row[i] for row in listed], kind) for i, kind in enumerate(SPLIT_SCHEMA.types)]
    return pa.table(columns, schema=SPLIT_SCHEMA)


def _numbered(rows: pa.Table) -> tuple[list[pa.Array], list[NDArray[np.int64]]]:
    """Return the values that each column holds, in their order, and for each row the numbers of its values."""
    kinds, codes = [], []
    for name in SPLIT_SCHEMA.names:
        column = rows.column(name)
        values = pc.unique(column)
        values = values.take(pc.sort_indices(values))
        kinds.append(values)
        codes.append(pc.index_in(column, value_set=values).to_numpy().astype(np.int64))
    return kinds, codes


def _keys(kinds: list[pa.Array], codes: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return a number for each row, by which rows are in the order of their columns."""
    keys = np.zeros(len(codes[0]), np.int64)
    for values, numbers in zip(kinds, codes, strict=True):
        keys = keys * len(values) + numbers
    return keys


def _texts(kinds: list[pa.Array], codes: list[NDArray[np.int64]]) -> Iterator[pa.Array]:
    """Yield the rows as Python writes tuples, many at a time: each value is written once."""
    ends = [("(", ", "), ("", ", "), ("", ", "), ("", ")")]
    written = [
        pa.array([f"{before}{value!r}{after}" for value in values.to_pylist()], pa.string())
        for values, (before, after) in zip(kinds, ends, strict=True)
    ]
    for start in range(0, len(codes[0]), _AT_ONCE):
        parts = [t.take(pa.array(n[start : start + _AT_ONCE])) for t, n in zip(written, codes, strict=True)]
        yield pc.binary_join_element_wise(*parts, "")
