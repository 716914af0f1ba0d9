"""The samples of a dataset, read from the store a window at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histokit.plugin import Sample
from histokit.reading.reader import rebuild_sample
from histokit.store import DatasetRecord, Store
from histokit.store.digest_columns import DIGEST, as_digests
from histokit.store.digest_positions import Lookup, Positions
from histokit.store.fingerprints import row_key

_WINDOW = 8_192

#: Rows that are kept for those who take them a few hundred at a time; where fewer than one in so many is wanted, they
#: are picked.
_KEPT, _SPARSE = 2_048, 8


class Samples:
    """The samples of a dataset as they are at one moment, of which only digests are held.

    Parameters
    ----------
    store : Store
    record : DatasetRecord
    """

    def __init__(self, store: Store, record: DatasetRecord):
        self._name, self._database = f"samples.{record.name}", store.database
        self._ingested = store.ingested(record, "samples")
        self._rows = self._ingested.table
        self.count = int(self._rows.count_rows())
        self._kept: tuple[int, pa.Table] | None = None

    def _batches(self) -> Iterator[pa.RecordBatch]:
        columns = ["id", "content"]
        with self._database.reading(self._name):
            yield from self._rows.to_batches(columns, batch_size=_WINDOW, batch_readahead=2, scan_in_order=True)

    @cached_property
    def _digests(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.bytes_], npt.NDArray[np.bool_]]:
        keys, contents = np.zeros(self.count, DIGEST), np.zeros(self.count, DIGEST)
        usable = np.zeros(self.count, dtype=bool)
        start = 0
        for batch in self._ingested.batches(["id", "content"], _WINDOW):
            here = slice(start, start + len(batch))
            pairs = zip(batch.column("id").to_pylist(), batch.column("content").to_pylist(), strict=True)
            keys[here] = np.frombuffer(b"".join(row_key(i, content or b"") for i, content in pairs), DIGEST)
            contents[here] = as_digests(batch.column("content"))
            usable[here] = batch.column("content").is_valid().to_numpy(zero_copy_only=False)
            start = here.stop
        return keys, contents, usable

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Whether each sample's files could be read at ingestion."""
        return self._digests[2]

    @cached_property
    def keys(self) -> Lookup:
        """The samples by the key of their feature rows."""
        places = np.flatnonzero(self.usable)
        return Lookup(self._digests[0][places], places)

    @cached_property
    def contents(self) -> Lookup:
        """The samples by their content."""
        places = np.flatnonzero(self.usable)
        return Lookup(self._digests[1][places], places)

    @cached_property
    def twins(self) -> Twins:
        """The samples of the same content."""
        return Twins(self.count, *self.contents.twins())

    def settle(self) -> None:
        """Let go of what only a plan needs."""
        _ = self.keys, self.twins
        self.__dict__.pop("contents", None)
        self.__dict__.pop("_digests", None)

    def locate(self, ids: Collection[str]) -> dict[str, tuple[int, bytes | None]]:
        """Return position and content of those of the samples that are there."""
        found: dict[str, tuple[int, bytes | None]] = {}
        wanted = pa.array(sorted(ids), pa.string())
        start = 0
        for batch in self._batches() if ids else ():
            for i in np.flatnonzero(pc.is_in(batch.column("id"), wanted)):
                found[batch.column("id")[i].as_py()] = (start + int(i), batch.column("content")[i].as_py())
            start += len(batch)
        return found

    def names(self, positions: Sequence[int] | Positions) -> tuple[list[str], list[bytes]]:
        """Return the ids and the contents of samples."""
        with self._database.reading(self._name):
            rows = self._rows.take([int(p) for p in positions], columns=["id", "content"])
        return rows.column("id").to_pylist(), rows.column("content").to_pylist()

    def take(self, positions: Sequence[int]) -> list[tuple[Sample, bytes]]:
        """Rebuild samples, each with its content."""
        rows = self._taken(positions).to_pylist() if len(positions) else []
        return [(rebuild_sample(row), row["content"]) for row in rows]

    def _taken(self, positions: Sequence[int]) -> pa.Table:
        """Return rows; of many that are near each other, some thousand are read at once and kept."""
        first, last = min(positions), max(positions)
        start = first - first % _KEPT
        with self._database.reading(self._name):
            if last >= start + _KEPT or len(positions) * _SPARSE < last + 1 - first:
                return self._rows.take(list(positions))
            if self._kept is None or self._kept[0] != start:
                self._kept = start, self._rows.to_table(offset=start, limit=_KEPT, scan_in_order=True)
        return self._kept[1].take([position - start for position in positions])


class Twins:
    """Samples of one content: the first of them leads, the others follow.

    Parameters
    ----------
    count : int
        Of all samples.
    followers, leaders : array of int
        Positions, sorted by leader.
    """

    def __init__(self, count: int, followers: Positions, leaders: Positions):
        self._followers = followers
        self._leaders = leaders
        self._follows = np.zeros(count, dtype=bool)
        self._follows[followers] = True

    def led(self, missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which samples lead one that is missing, be it themselves."""
        found = missing & ~self._follows
        found[self._leaders[missing[self._followers]]] = True
        return found

    def groups(self, start: int, stop: int, missing: Sequence[npt.NDArray[np.bool_]]) -> dict[int, list[int]]:
        """Return leader → the positions under it that are missing somewhere, of the leaders from start to stop."""
        if not missing:
            return {}
        here = np.logical_or.reduce([part[start:stop] for part in missing]) & ~self._follows[start:stop]
        found = {start + int(i): [start + int(i)] for i in np.flatnonzero(here)}
        behind = slice(*np.searchsorted(self._leaders, [start, stop]))
        followers = self._followers[behind]
        lacking = np.logical_or.reduce([part[followers] for part in missing])
        for leader, follower in zip(self._leaders[behind][lacking], followers[lacking], strict=True):
            found.setdefault(int(leader), []).append(int(follower))
        return dict(sorted(found.items()))
