"""The samples and the files of a dataset, in the versions of their tables that its record names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError
from histokit.store.checks import ColumnDigests, changed_columns
from histokit.store.database import Database
from histokit.store.filters import Filter
from histokit.store.findings import ingest_command
from histokit.store.records import DatasetRecord

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
        self.version = record.versions.get(kind)

    def open(self) -> Any:
        """Open the Lance table itself."""
        return self.database.table(self.name, self.version)

    def read(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the rows that a filter keeps, in the order of ingestion.

        Raises
        ------
        StoreError
            If one of the columns that are read is not what was written.
        UsageError
            If the filter is no condition over the columns.
        """
        schema = self.open().schema
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
        schema = self.open().schema
        digests = ColumnDigests(schema if columns is None else pa.schema([schema.field(name) for name in columns]))
        for batch in self.database.batches(self.name, columns, size=size or _AT_ONCE, version=self.version):
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

    def _check(self, found: Mapping[str, str]) -> None:
        changed = changed_columns(self.record.digests.get(self.kind, {}), found)
        if changed:
            what = f"{self.kind} of the dataset {self.record.name!r} are damaged: {', '.join(changed)} changed on disk"
            raise StoreError(f"The {what}.", next=f"Ingest it again: {ingest_command(self.record)}")
