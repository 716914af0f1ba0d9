"""Rows of a feature table, of which each key is there once, however many processes and threads add to it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from histokit.store.database import Database
from histokit.store.digest_columns import stream
from histokit.store.digest_positions import Lookup, Positions


class _Version(NamedTuple):
    """A version of a table, and the oldest of its files, of whatever version that is."""

    table: Any
    oldest: str | None

    @classmethod
    def of(cls, table: Any) -> _Version:
        number = min(table.fragment_ids(), default=None)
        if number is None:
            return cls(table, None)
        return cls(table, os.path.join(table.uri, "data", _file(table.get_fragment(number).metadata)))

    def is_current(self) -> bool:
        """Return whether the table is there, and not another one that has as many versions, made in its place."""
        if self.table.latest_version != self.table.version:
            return False
        return self.oldest is None or os.path.exists(self.oldest)


class KeyedRows:
    """Finds and adds the rows of some samples, each key once.

    Parameters
    ----------
    database : Database
    name : str
        Of a feature table that is there.
    keys : Lookup
        Position of a sample → key of its row.
    count : int
        Of all positions.

    Attributes
    ----------
    stored : (count,) bool array
        Which of the samples have a row, as of the last look.
    arrivals : int
        How often rows were found that others had added.

    Notes
    -----
    No row can be doubled, and that needs no lock: rows are added to exactly that version of the table of which all
    keys were looked at, and `Database.add_on` adds nothing where any other rows were added since. Then the keys that
    came are looked at as well, the samples that they belong to are left out, and it is tried again. Each failure is
    another's success, so that it ends.

    One thread may look while another one adds: samples are only ever marked as stored, and a file counts as looked
    at after all its keys were marked.
    """

    def __init__(self, database: Database, name: str, keys: Lookup, count: int):
        self.stored = np.zeros(count, dtype=bool)
        self.arrivals = 0
        self._database = database
        self._name = name
        self._keys = keys
        self._version: _Version | None = None
        self._seen: set[str] = set()

    def look(self) -> None:
        """Take note of the rows that came since the last look; each is read once, although others add to them."""
        self._current()

    def insert(self, positions: Positions, rows: pa.Table) -> int:
        """Add the rows of samples that have none yet, and return their number.

        Parameters
        ----------
        positions : (n,) array of int
            None twice.
        rows : pyarrow.Table
            A row for each of them.
        """
        while True:
            version = self._current()
            new = ~self.stored[positions]
            if not new.all():
                positions, rows = positions[new], rows.filter(pa.array(new))
            if not len(positions):
                return 0
            added = self._database.add_on(self._name, version, rows)
            if added is not None:
                break
        self.stored[positions] = True
        version, fragments = added
        self._version = _Version.of(version)
        self._seen.update(map(_file, fragments))
        return len(positions)

    def _current(self) -> Any:
        """Return the table as it is now, after a look at all its keys."""
        with self._database.reading(self._name):
            held = self._version
            if held is not None and held.is_current():
                return held.table
            version = self._database.to_add(self._name)
            fragments = [fragment.metadata for fragment in version.get_fragments()]
            unseen = {each.id: _file(each) for each in fragments if _file(each) not in self._seen}
            parts = [version.get_fragment(number) for number in unseen]
            for digests in stream(version, "key", parts) if parts else ():
                self.stored[self._keys.find(digests)[1]] = True
        self.arrivals += bool(parts)
        self._seen.update(unseen.values())
        self._version = _Version.of(version)
        return version


def _file(fragment: Any) -> str:
    """Return what, unlike a fragment's number, is never used again."""
    return str(fragment.files[0].path)
