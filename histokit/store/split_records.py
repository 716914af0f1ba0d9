"""A split of a dataset: its rows, and the folds that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.plugin.digests import digest_texts

_AT_ONCE = 65_536

#: Values that are Python objects at a time.
_OBJECTS = 1024
_ROWS_AT_ONCE = 1 << 20

SPLIT_SCHEMA = pa.schema([("repeat", pa.int16()), ("fold", pa.int16()), ("id", pa.string()), ("role", pa.string())])


#: The roles of samples in a fold; elsewhere they are numbers, which are places in it.
ROLE_NAMES = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)


class FoldRows(NamedTuple):
    """The rows of one fold of one repeat: for each, the number of its sample and of its role."""

    repeat: int
    fold: int
    samples: NDArray[np.integer]
    roles: NDArray[np.int8]


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
    def barred(self) -> str | None:
        """The column of batches, of which no fold trains on one that it tests, be it of the split it is drawn from."""
        found: str | None = self.params.get("bar") or self.params.get("barred")
        return found

    @property
    def fold_count(self) -> int:
        """How many folds all repeats have together."""
        return int(self.rows.select(["repeat", "fold"]).group_by(["repeat", "fold"]).aggregate([]).num_rows)

    def only(self, repeat: int, fold: int) -> Split:
        """Return one fold of it, as a split of the same name."""
        here = pc.and_(pc.equal(self.rows.column("repeat"), repeat), pc.equal(self.rows.column("fold"), fold))
        return replace(self, rows=self.rows.filter(here))

    def folds(self) -> list[Fold]:
        """Return the folds in the order of repeat and fold; they are found once, and are not to be changed."""
        return list(self._folds)

    @cached_property
    def numbered(self) -> tuple[list[str], list[FoldRows]]:
        """The ids, sorted, and the folds as their numbers, by which large splits are looked through without texts."""
        ids = _values(self.rows.column("id"))
        return ids.to_pylist(), list(rows_by_fold(self.rows, ids))

    @cached_property
    def _folds(self) -> list[Fold]:
        ids, folds = self.numbered
        # An id is one text, in however many folds it is.
        named = np.array([*ids, None], object)[:-1]
        return [
            Fold(each.repeat, each.fold, *(named[each.samples[each.roles == role]].tolist() for role in range(3)))
            for each in folds
        ]

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


def fold_table(ids: Sequence[str] | NDArray[np.object_], folds: Iterable[FoldRows]) -> pa.Table:
    """Return the rows of folds over some ids as a table of `SPLIT_SCHEMA`, without a Python object for each of them."""
    texts, roles = pa.array(ids, pa.string()), pa.array(ROLE_NAMES, pa.string())
    batches: list[pa.RecordBatch] = []
    waiting: list[FoldRows] = []
    count = 0

    def write() -> None:
        lengths = [len(each.samples) for each in waiting]
        columns = [
            pa.array(np.repeat(np.array([each.repeat for each in waiting], np.int16), lengths)),
            pa.array(np.repeat(np.array([each.fold for each in waiting], np.int16), lengths)),
            texts.take(pa.array(np.concatenate([each.samples for each in waiting]))),
            roles.take(pa.array(np.concatenate([each.roles for each in waiting]))),
        ]
        batches.append(pa.record_batch(columns, schema=SPLIT_SCHEMA))
        waiting.clear()

    for each in folds:
        waiting.append(each)
        count += len(each.samples)
        if count >= _ROWS_AT_ONCE:
            write()
            count = 0
    if waiting:
        write()
    return pa.Table.from_batches(batches, SPLIT_SCHEMA)


def rows_by_fold(rows: pa.Table, ids: Sequence[str] | NDArray[np.object_] | pa.Array) -> Iterator[FoldRows]:
    """Yield the folds of rows of `SPLIT_SCHEMA` over some ids, in the order of repeat and fold; see `fold_table`."""
    repeat, fold = (rows.column(name).to_numpy() for name in ("repeat", "fold"))
    sample = pc.index_in(rows.column("id"), value_set=pa.array(ids, pa.string())).to_numpy()
    role = pc.index_in(rows.column("role"), value_set=pa.array(ROLE_NAMES)).to_numpy().astype(np.int8)
    order = np.lexsort((fold, repeat))
    change = (np.diff(repeat[order]) != 0) | (np.diff(fold[order]) != 0)
    for part in np.split(order, np.flatnonzero(change) + 1):
        if len(part):
            yield FoldRows(int(repeat[part[0]]), int(fold[part[0]]), sample[part], role[part])


def _numbered(rows: pa.Table) -> tuple[list[pa.Array], list[NDArray[np.int64]]]:
    """Return the values that each column holds, in their order, and for each row the numbers of its values."""
    kinds, codes = [], []
    for name in SPLIT_SCHEMA.names:
        column = rows.column(name)
        kinds.append(_values(column))
        codes.append(pc.index_in(column, value_set=kinds[-1]).to_numpy().astype(np.int64))
    return kinds, codes


def _values(column: pa.ChunkedArray) -> pa.Array:
    """Return the values that a column holds, in their order."""
    values = pc.unique(column)
    return values.take(pc.sort_indices(values))


def _keys(kinds: list[pa.Array], codes: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return a number for each row, by which rows are in the order of their columns."""
    keys = np.zeros(len(codes[0]), np.int64)
    for values, numbers in zip(kinds, codes, strict=True):
        keys = keys * len(values) + numbers
    return keys


def _texts(kinds: list[pa.Array], codes: list[NDArray[np.int64]]) -> Iterator[pa.Array]:
    """Yield the rows as Python writes tuples, many at a time: each value is written once."""
    written = parts_of_tuples(kinds)
    for start in range(0, len(codes[0]), _AT_ONCE):
        parts = [t.take(pa.array(n[start : start + _AT_ONCE])) for t, n in zip(written, codes, strict=True)]
        yield pc.binary_join_element_wise(*parts, "")


def parts_of_tuples(columns: Sequence[pa.Array | pa.ChunkedArray]) -> list[pa.Array]:
    """Return the values of columns as parts of texts: joined row by row, these are tuples as Python writes them."""
    last = len(columns) - 1
    return [
        _written(values, "" if place else "(", ")" if place == last else ", ") for place, values in enumerate(columns)
    ]


def _written(values: pa.Array | pa.ChunkedArray, before: str, after: str) -> pa.Array:
    """Return each value as Python writes it between two texts; only some of them are objects at a time."""
    pieces = [pa.array([], pa.string())]
    for start in range(0, len(values), _OBJECTS):
        piece = values[start : start + _OBJECTS].to_pylist()
        pieces.append(pa.array([f"{before}{value!r}{after}" for value in piece], pa.string()))
    return pa.concat_arrays(pieces)
