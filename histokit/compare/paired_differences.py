"""Paired differences of two methods on the same samples, by bootstrap over groups and by McNemar's test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from histokit.compare.score_table import Cell, Table
from histokit.compare.scored import Floats
from histokit.compare.table_columns import Column
from histokit.evaluate.summary import ENOUGH_GROUPS, percentile_intervals

Places = NDArray[np.intp]
Document = dict[str, Any]

#: What rounding leaves, as a share of the scores.
_ROUNDING = 1e-12
#: So many resampled differences are held at once.
_AT_ONCE = 500_000
#: How many bits a byte has.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)


class PairedDifferences(Sequence[Document]):
    """The differences of each two methods that were scored on the same samples of a split.

    They are worked out when they are looked at: a thousand methods have half a million of them. Each has ``first``,
    ``second``, ``difference`` of the scores, its 95 % ``interval`` and ``p``, and ``mcnemar``: how many samples only
    one of the two got right, ``first_alone`` and ``second_alone``, and the two-sided ``p`` of McNemar's test (1947) in
    its exact form, by the binomial distribution. It takes samples as independent: none where they are of groups or were
    predicted several times, where a method has several runs, and where numbers are predicted.
    """

    def __init__(self, columns: Sequence[_ColumnPairs] = ()):
        self._columns = list(columns)
        self._ends = list(accumulate(column.count for column in self._columns))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Document: ...
    @overload
    def __getitem__(self, place: slice) -> list[Document]: ...
    def __getitem__(self, place: int | slice) -> Document | list[Document]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        number = int(np.searchsorted(self._ends, place, side="right"))
        return self._columns[number].at(place - (self._ends[number - 1] if number else 0))

    def __iter__(self) -> Iterator[Document]:
        for column in self._columns:
            yield from column.every()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PairedDifferences({len(self)})"

    @property
    def reliable(self) -> int:
        """Of how many the samples are of enough groups."""
        return sum(column.reliable for column in self._columns)

    def of(self, methods: Mapping[str, str]) -> Iterator[Document]:
        """Yield those of one method of each column with each other one, by the names of columns."""
        for column in self._columns:
            yield from column.of(methods.get(column.column.name))


class _ColumnPairs:
    """The pairs of methods on one column.

    Parameters
    ----------
    column : Column
    present : mapping of method to Cell
        Those that have a score there, or might have.
    """

    def __init__(self, column: Column, present: Mapping[str, Cell]):
        self.column, self._names, self._cells = column, list(present), list(present.values())
        known: dict[str, int] = {}
        numbers = [known.setdefault(cell.samples, len(known)) if cell.samples else -1 for cell in self._cells]
        self._samples = np.array(numbers, np.intp)
        self._ends = list(accumulate(len(self._partners(first)) for first in range(len(self._cells))))
        self.count = self._ends[-1] if self._ends else 0

    def _partners(self, first: int) -> Places:
        """Return the places of later methods that were scored on the same samples as that at a place."""
        same = self._samples[first + 1 :] == self._samples[first]
        return np.flatnonzero(same & (self._samples[first] >= 0)) + first + 1

    def apart(self) -> tuple[int, tuple[str, str] | None]:
        """Return how many pairs were not scored on the same samples, and the first of them."""
        every = len(self._cells) * (len(self._cells) - 1) // 2
        if every == self.count:
            return 0, None
        for first in range(len(self._cells)):
            others = np.setdiff1d(np.arange(first + 1, len(self._cells)), self._partners(first))
            if len(others):
                return every - self.count, (self._names[first], self._names[int(others[0])])
        raise AssertionError("a pair is missing")

    @property
    def reliable(self) -> int:
        return sum(len(self._partners(first)) for first, cell in enumerate(self._cells) if cell.groups >= ENOUGH_GROUPS)

    def at(self, place: int) -> Document:
        first = int(np.searchsorted(self._ends, place, side="right"))
        second = self._partners(first)[place - (self._ends[first - 1] if first else 0)]
        return next(self._told(np.array([first]), np.array([second])))

    def every(self) -> Iterator[Document]:
        for first in range(len(self._cells)):
            partners = self._partners(first)
            yield from self._told(np.full(len(partners), first), partners)

    def of(self, method: str | None) -> Iterator[Document]:
        if method in self._names:
            chosen = self._names.index(method)
            same = (self._samples == self._samples[chosen]) & (self._samples >= 0)
            others = np.flatnonzero(same & (np.arange(len(same)) != chosen))
            yield from self._told(np.minimum(others, chosen), np.maximum(others, chosen))

    def _told(self, first: Places, second: Places) -> Iterator[Document]:
        rows = max(1, _AT_ONCE // max(1, self._resampled.shape[1]))
        for start in range(0, len(first), rows):
            a, b = first[start : start + rows], second[start : start + rows]
            found = less(self._resampled[a], self._resampled[b])
            each = zip(
                a, b, percentile_intervals(found), share_beyond_zero(found), self._count_right(a, b), strict=True
            )
            for one, other, interval, p, right in each:
                yield self._document(int(one), int(other), interval, None if np.isnan(p) else float(p), right)

    def _document(
        self, first: int, second: int, interval: list[float] | None, p: float | None, right: Document | None
    ) -> Document:
        a, b = self._cells[first], self._cells[second]
        defined = a.score is not None and b.score is not None
        return {
            "column": self.column.name,
            "metric": self.column.metric,
            "first": self._names[first],
            "second": self._names[second],
            "first_runs": [entry.run.id for entry in a.runs],
            "second_runs": [entry.run.id for entry in b.runs],
            "difference": float(less(a.score, b.score)) if defined else None,
            "interval": interval if a.groups > 1 and defined else None,
            "p": p if a.groups > 1 and defined else None,
            "mcnemar": right,
            "groups": a.groups,
            "reliable": a.groups >= ENOUGH_GROUPS,
        }

    @cached_property
    def _resampled(self) -> Floats:
        """The (methods, B) resampled scores; of methods that are in no pair they are not known."""
        draws = max((len(cell.resampled) for cell in self._cells), default=0)
        unknown = np.full(draws, np.nan)
        return np.stack([cell.resampled if len(cell.resampled) == draws else unknown for cell in self._cells])

    @cached_property
    def _right(self) -> list[NDArray[np.uint8] | None]:
        return [cell.right for cell in self._cells]

    def _count_right(self, first: Places, second: Places) -> list[Document | None]:
        """Return of each pair how many samples only the one and only the other got right, and McNemar's p."""
        alone = []
        for a, b in zip(first, second, strict=True):
            one, other = self._right[a], self._right[b]
            alone.append(None if one is None or other is None else (_count(one & ~other), _count(other & ~one)))
        known = np.array([counts for counts in alone if counts is not None], int).reshape(-1, 2)
        p = iter(mcnemar(known[:, 0], known[:, 1]).tolist())
        return [c and {"first_alone": c[0], "second_alone": c[1], "p": next(p)} for c in alone]


def pair_differences(table: Table, columns: Sequence[Column]) -> tuple[PairedDifferences, list[str]]:
    """Return the difference of each two methods that were scored on the same samples of a split.

    Parameters
    ----------
    table : Table
    columns : sequence of Column

    Returns
    -------
    PairedDifferences, list of str
        And notes on methods that could not be paired.
    """
    every = [
        _ColumnPairs(column, {method: cells[column] for method, cells in table.items() if column in cells})
        for column in columns
    ]
    notes = [note for pairs in every for note in _unpaired(pairs.column, *pairs.apart())]
    return PairedDifferences(every), notes


def less(first: Any, second: Any) -> Floats:
    """Return differences; those that are left by rounding, as of means in another order of their terms, are 0."""
    found = np.subtract(first, second)
    return np.where(np.abs(found) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second)), 0.0, found)


def _count(bits: NDArray[np.uint8]) -> int:
    return int(_BITS[bits].sum())


def mcnemar(first: NDArray[np.intp], second: NDArray[np.intp]) -> Floats:
    """Return the p of so many samples that only the one method, and only the other one, got right."""
    from scipy.special import bdtr

    both = first + second
    return np.where(both > 0, np.minimum(1.0, 2 * bdtr(np.minimum(first, second).astype(float), both, 0.5)), 1.0)


def share_beyond_zero(differences: Floats) -> Floats:
    """Return twice the smaller share of resampled differences that are not above, or not below, zero; at most 1.

    One is added to counts and total, so that it is never zero (Davison and Hinkley 1997, section 4.2). It reads like
    a two-sided p of no difference, and is as rough as there are few groups.

    Parameters
    ----------
    differences : (..., B) array
        Those that are NaN do not count; NaN is the share where all are.
    """
    total = (~np.isnan(differences)).sum(-1)
    counts = np.minimum((differences <= 0).sum(-1), (differences >= 0).sum(-1))
    return np.where(total > 0, np.minimum(1.0, 2 * (1 + counts) / (1 + total)), np.nan)


def _unpaired(column: Column, count: int, first: tuple[str, str] | None) -> Iterator[str]:
    if first and count == 1:
        yield f"{' and '.join(first)} are not paired on {column.name}: they were not scored on the same samples"
    elif first:
        yield (
            f"{count} pairs of methods, such as {' and '.join(first)}, are not paired on {column.name}: "
            "they were not scored on the same samples"
        )
