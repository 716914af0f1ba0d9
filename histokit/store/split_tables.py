"""The splits of a dataset: those that the data came with stand in the dataset's record, the others in their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import StoreError
from histokit.store.database import quote
from histokit.store.documents import Documents
from histokit.store.records import DatasetRecord
from histokit.store.split_records import SPLIT_SCHEMA, Split
from histokit.store.tables import stretches

PUBLISHED = "published"

#: The columns that tell the rows of one split from those of others.
_KEYS = ("split", "digest")


class SplitTables:
    """Reads and writes splits.

    Parameters
    ----------
    documents : Documents
    """

    def __init__(self, documents: Documents):
        self.documents = documents
        self.database = documents.database

    def every(
        self, dataset: str, record: DatasetRecord | None, unreadable: Callable[[StoreError], None] | None = None
    ) -> list[Split]:
        """Return the splits of a dataset, by name.

        `unreadable` is told of what cannot be read, which is an error where it is not given.
        """
        headers = self.headers(dataset, record, unreadable)
        read = dict(self.read_all(dataset, list(headers.values())))
        found = []
        for name, header in headers.items():
            split = read[name, header["digest"]]
            if isinstance(split, Split):
                found.append(split)
            elif unreadable is None:
                raise split
            else:
                unreadable(split)
        return found

    def headers(
        self, dataset: str, record: DatasetRecord | None, unreadable: Callable[[StoreError], None] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return name → header of the splits of a dataset, by name; see `every`."""
        try:
            own = self.documents.find("splits", ("dataset", dataset), key="name")
        except StoreError as error:
            if unreadable is None:
                raise
            unreadable(error)
            own = []
        published = (record.published if record else None) or []
        # Published ones stand among the others where an earlier version wrote them. One that was made by hand under a
        # published one's name takes its place.
        ranked = sorted([*own, *published], key=lambda h: (h["source"] != PUBLISHED, h in published))
        named = {header["name"]: header for header in ranked}
        return {name: named[name] for name in sorted(named)}

    def forget_published(self, dataset: str) -> None:
        """Remove the headers of published splits that an earlier version kept among the others."""
        for header in self.documents.find("splits", ("dataset", dataset), key="name"):
            if header["source"] == PUBLISHED:
                self.database.delete("splits", f"dataset = {quote(dataset)} AND name = {quote(header['name'])}")

    def read(self, header: Mapping[str, Any], rows: pa.Table | None = None) -> Split:
        """Return the split of a header, of rows where they were read already.

        Raises
        ------
        StoreError
            If its rows are not those that it was made of.
        """
        if rows is None:
            where = f"split = {quote(header['name'])} AND digest = {quote(header['digest'])}"
            rows = self.database.read(f"splits.{header['dataset']}", SPLIT_SCHEMA.names, where)
        values = {k: v for k, v in header.items() if k != "digest"}
        split = Split(rows=_once(rows).cast(SPLIT_SCHEMA), **values)
        if split.digest != header["digest"]:
            again = f"histokit split {split.dataset} --name {split.name} …"
            raise StoreError(
                f"The rows of the split {split.name!r} of {split.dataset!r} are not those that it was made of.",
                next=f"Make it again: {'ingest the dataset again' if split.source == PUBLISHED else again}",
            )
        return split

    def read_all(
        self, dataset: str, headers: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[tuple[str, str], Split | StoreError]]:
        """Yield name and digest of headers of a dataset, and the split or why it cannot be read, in one pass.

        Rows of one split are held. One whose rows do not stand together comes once more, whole.
        """
        known = {(header["name"], header["digest"]): header for header in headers}
        met: Counter[tuple[str, str]] = Counter()
        try:
            columns = [*_KEYS, *SPLIT_SCHEMA.names]
            for key, rows in stretches(
                self.database.scan(f"splits.{dataset}", columns) if len(known) > 1 else (), _KEYS
            ):
                if key in known:
                    met[key] += 1
                    yield key, self._read(known[key], rows.select(SPLIT_SCHEMA.names))
        except StoreError as error:
            yield from ((key, error) for key in known)
            return
        for key, header in known.items():
            if met[key] != 1:
                yield key, self._read(header)

    def _read(self, header: Mapping[str, Any], rows: pa.Table | None = None) -> Split | StoreError:
        try:
            return self.read(header, rows)
        except StoreError as error:
            return error

    def write_rows(self, split: Split) -> None:
        """Write the rows of a split, which are not seen before its header is there; those that are there stay."""
        table = f"splits.{split.dataset}"
        same = f"split = {quote(split.name)} AND digest = {quote(split.digest)}"
        there = self.database.count(table, same)
        # Another process may be reading them, and this one may be killed before it has written them again.
        if there == len(split.rows) and self._is_whole(split):
            return
        rows = split.rows.select(SPLIT_SCHEMA.names)
        for position, (column, value) in enumerate({"split": split.name, "digest": split.digest}.items()):
            rows = rows.add_column(position, column, pa.repeat(pa.scalar(value, pa.string()), len(rows)))
        if there:
            self.database.delete(table, same)
        self.database.append(table, rows)

    def _is_whole(self, split: Split) -> bool:
        try:
            self.read(split.header())
        except StoreError:
            return False
        return True

    def remove_others(self, dataset: str, headers: Iterable[Mapping[str, Any]]) -> None:
        """Remove the rows that belong to no header any more."""
        kept = [f"(split = {quote(h['name'])} AND digest = {quote(h['digest'])})" for h in headers]
        self.database.delete(f"splits.{dataset}", f"NOT ({' OR '.join(kept)})" if kept else "true")


def _once(rows: pa.Table) -> pa.Table:
    """Return the rows of a split, which earlier versions wrote several times where processes made it at one moment."""
    if not len(rows):
        return rows
    first = rows.filter(pc.equal(rows.column("id"), rows.column("id")[0]))
    places = list(zip(first.column("repeat").to_pylist(), first.column("fold").to_pylist(), strict=True))
    return rows.slice(0, len(rows) * len(set(places)) // len(places))
