"""What is known of files, of which there may be millions, in a few bytes for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.ingest.digest_process import State
from histokit.plugin.digests import DIGEST_BYTES
from histokit.reading.ingested_files import state_columns
from histokit.store.records import FILE_SCHEMA
from histokit.store.spilled_rows import SpilledRows

#: Files whose states are held as they are; more than those of samples that are looked at at once.
_WINDOW = 1 << 15

_AT_ONCE = 65_536


class _Packed(NamedTuple):
    """The states of files that can be read, in the order of the first half of the digests of their paths."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    #: Their states as of `histokit.plugin.digests.state_of`.
    facts: NDArray[np.int64]
    digests: NDArray[np.void]

    @classmethod
    def merged(cls, *parts: _Packed) -> _Packed:
        # Merges what is sorted already.
        order = np.argsort(np.concatenate([part.first for part in parts]), kind="stable")
        columns: Any = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
        return cls(*columns)

    def find(self, keys: NDArray[np.uint64]) -> Iterator[tuple[int, State]]:
        if not len(self.first):  # No file could be read.
            return
        places = np.minimum(np.searchsorted(self.first, keys[:, 0]), len(self.first) - 1)
        met = np.flatnonzero((self.first[places] == keys[:, 0]) & (self.second[places] == keys[:, 1]))
        places = places[met]
        columns = (met.tolist(), self.facts[places].tolist(), self.digests[places].tolist())
        for number, (size, mtime_ns, inode_ctime), digest in zip(*columns, strict=True):
            yield number, (size, mtime_ns, inode_ctime, digest, None)


class FileStates:
    """Maps paths to states; of those that came long ago, a digest of the path stands for the path.

    Parameters
    ----------
    rows : SpilledRows, optional
        Of `FILE_SCHEMA`, to which all states are added in the order in which they come.
    """

    def __init__(self, rows: SpilledRows | None = None):
        self._rows = rows
        self._window: dict[str, State] = {}
        self._before: dict[str, State] = {}
        #: Found again among the packed ones.
        self._again: dict[str, State] = {}
        #: Of files that cannot be read.
        self._lost: dict[str, State] = {}
        self._packed: list[_Packed] = []

    @classmethod
    def of(cls, files: pa.Table) -> Self:
        """Return the states in a table of `FILE_SCHEMA`, but those of files that could not be read."""
        found = cls()
        parts = []
        for batch in files.to_batches(max_chunksize=_AT_ONCE):
            whole = batch.filter(batch.column("digest").is_valid())
            facts = state_columns(whole)
            parts.append(_packed(whole.column("path").to_pylist(), facts, whole.column("digest").to_pylist()))
        found._packed = [_Packed.merged(*parts)] if parts else []
        return found

    def __bool__(self) -> bool:
        return bool(self._packed or self._window)

    def get(self, path: str) -> State | None:
        """Return the state of a file, or none."""
        state = self._window.get(path) or self._before.get(path)
        if state is None and (self._packed or self._lost):
            return self._again.get(path) or self.find([path])[0]
        return state

    def find(self, paths: Sequence[str]) -> list[State | None]:
        """Return the states of files; faster than one by one."""
        found = [self._window.get(path) or self._before.get(path) or self._lost.get(path) for path in paths]
        if not self._packed or not (unknown := [place for place, state in enumerate(found) if state is None]):
            return found
        keys = _keys(paths[place] for place in unknown)
        if len(self._again) > _WINDOW:
            self._again = {}
        for packed in self._packed:
            for number, state in packed.find(keys):
                found[unknown[number]] = state
                if self._rows is not None:
                    self._again[paths[unknown[number]]] = state
        return found

    def add(self, path: str, state: State) -> None:
        """Take the state of another file."""
        self._window[path] = state
        if len(self._window) >= _WINDOW:
            self._pack(self._window)
            self._before, self._window = self._window, {}

    def to_rows(self) -> SpilledRows:
        """Return all that came as rows, after which no more may come."""
        assert self._rows is not None
        if self._window:
            self._rows.add(_batch(self._window))
            self._before, self._window = {**self._before, **self._window}, {}
        return self._rows

    def _pack(self, states: dict[str, State]) -> None:
        if self._rows is not None:
            self._rows.add(_batch(states))
            self._lost.update((path, state) for path, state in states.items() if state[3] is None)
        whole = {path: state for path, state in states.items() if state[3] is not None}
        if not whole:
            return
        facts = np.array([state[:3] for state in whole.values()], np.int64)
        self._packed.append(_Packed.merged(_packed(whole, facts, (state[3] or b"" for state in whole.values()))))
        # So that there are few of them, and each state is moved few times.
        while len(self._packed) > 1 and len(self._packed[-2].first) <= 2 * len(self._packed[-1].first):
            self._packed[-2:] = [_Packed.merged(*self._packed[-2:])]


def _packed(paths: Iterable[str], facts: NDArray[np.int64], digests: Iterable[bytes]) -> _Packed:
    keys = _keys(paths)
    return _Packed(keys[:, 0], keys[:, 1], facts, np.frombuffer(b"".join(digests), f"V{DIGEST_BYTES}"))


def _keys(paths: Iterable[str]) -> NDArray[np.uint64]:
    digests = (blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest() for path in paths)
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _batch(states: dict[str, State]) -> pa.RecordBatch:
    columns = [list(states), *map(list, zip(*states.values(), strict=True))]
    return pa.record_batch(list(map(pa.array, columns, FILE_SCHEMA.types)), schema=FILE_SCHEMA)
