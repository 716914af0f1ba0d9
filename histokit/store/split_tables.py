"""The splits of a dataset: those that the data came with stand in the dataset's record, the others in their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import StoreError
from histokit.store.database import quote
from histokit.store.documents import Documents
from histokit.store.records import DatasetRecord
from histokit.store.split_records import SPLIT_SCHEMA, Split

PUBLISHED = "published"


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
        found = []
        for header in self.headers(dataset, record, unreadable).values():
            try:
                found.append(self.read(header))
            except StoreError as error:
                if unreadable is None:
                    raise
                unreadable(error)
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

    def read(self, header: Mapping[str, Any]) -> Split:
        """Return the split of a header.

        Raises
        ------
        StoreError
            If its rows are not those that it was made of.
        """
        where = f"split = {quote(header['name'])} AND digest = {quote(header['digest'])}"
        rows = _once(self.database.read(f"splits.{header['dataset']}", SPLIT_SCHEMA.names, where))
        values = {k: v for k, v in header.items() if k != "digest"}
        split = Split(rows=rows.cast(SPLIT_SCHEMA), **values)
        if split.digest != header["digest"]:
            again = f"histokit split {split.dataset} --name {split.name} …"
            raise StoreError(
                f"The rows of the split {split.name!r} of {split.dataset!r} are not those that it was made of.",
                next=f"Make it again: {'ingest the dataset again' if split.source == PUBLISHED else again}",
            )
        return split

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
