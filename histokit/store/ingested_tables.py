"""The samples and the files of a dataset, in the versions of their tables that its record names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, UsageError, did_you_mean
from histokit.store.change_digests import ColumnDigests, changed_columns
from histokit.store.database import Database
from histokit.store.filters import Filter
from histokit.store.records import DatasetRecord
from histokit.store.repeat_commands import ingest_command

_AT_ONCE = 65_536


class Ingested:
    """Reads what ingestion wrote, and raises where it is not that any more.

    Parameters
    ----------
    database : Database
    record : DatasetRecord
    kind : str
        ``samples`` or ``files``.
    """

    def __init__(self, database: Database, record: DatasetRecord, kind: str):
        self.database, self.record, self.kind = database, record, kind
        self.name = f"{kind}.{record.name}"

    @cached_property
    def table(self) -> Any:
        """The Lance table itself, opened once."""
        return self.database.table(self.name, self.record.versions.get(self.kind))

    def read(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the rows that a filter keeps, in the order of ingestion.

        Raises
        ------
        StoreError
            If one of the columns that are read is not what was written.
        UsageError
            If there is no such column, or the filter is no condition over the columns.
        """
        schema = self.table.schema
        self._require(columns or ())
        wanted, condition = columns, None
        if where is not None:
            condition = Filter(where)
            condition.check(schema)
            if columns is not None:
                wanted = list(dict.fromkeys([*columns, *condition.names(schema.names)]))
        pieces = (pa.Table.from_batches([batch]) for batch in self.batches(wanted))
        kept = [piece if condition is None else condition.keep(piece) for piece in pieces]
        rows = pa.concat_tables(kept) if kept else schema.empty_table()
        return rows if columns is None else rows.select(columns)

    def batches(self, columns: Sequence[str] | None = None, size: int | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows in the order of ingestion; after the last one it is known whether they are what was written.

        Raises
        ------
        StoreError
        """
        table, schema = self.table, self.table.schema
        digests = ColumnDigests(schema if columns is None else pa.schema([schema.field(name) for name in columns]))
        with self.database.reading(self.name):
            for batch in table.to_batches(columns=columns, batch_size=size or _AT_ONCE, scan_in_order=True):
                digests.add(batch)
                yield batch
        self._check(digests.result())

    def verify(self) -> None:
        """Read all, and raise unless it is what was written.

        Raises
        ------
        StoreError
        """
        if self.kind in self.record.digests:
            for _ in self.batches():
                pass

    def _require(self, columns: Sequence[str]) -> None:
        known = self.table.schema.names
        for name in columns:
            if name not in known:
                raise UsageError(
                    f"The dataset {self.record.name!r} has no column {name!r}.",
                    next=f"{did_you_mean(name, known)}Its columns are: {', '.join(known)}. Where it had one before, "
                    f"ingest it again with that column: {ingest_command(self.record)}",
                )

    def _check(self, found: Mapping[str, str]) -> None:
        changed = changed_columns(self.record.digests.get(self.kind, {}), found)
        if changed:
            what = f"{self.kind} of the dataset {self.record.name!r} are damaged: {', '.join(changed)} changed on disk"
            raise StoreError(f"The {what}.", next=f"Ingest it again: {ingest_command(self.record)}")
