"""Samples that could not be read, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError
from histokit.plugin.digests import digest_bytes
from histokit.store.database import RESTORE, Database, quote
from histokit.store.records import PROBLEM_SCHEMA

TABLE = "problems"
CHECK = pa.field("check", pa.string())


class Problems:
    """Reads and writes the table of problems, whose rows hold a digest of themselves.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database):
        self.database = database

    def read(self, dataset: str) -> pa.Table:
        """Return the problems of a dataset.

        Raises
        ------
        StoreError
            If one of them is not what was written.
        """
        if not self.database.exists(TABLE):
            return PROBLEM_SCHEMA.empty_table()
        rows = self.database.read(TABLE, None, f"dataset = {quote(dataset)}")
        with self.database.reading(TABLE):
            damaged = [row["id"] for row in rows.to_pylist() if not is_sound(row)]
            rows = rows.select(PROBLEM_SCHEMA.names)
        if damaged:
            raise StoreError(f"The problem of the sample {damaged[0]!r} of {dataset!r} is damaged.", next=RESTORE)
        # Where the file system takes no locks, two processes may have written the same.
        found = {tuple(row.values()): row for row in rows.to_pylist()}
        return rows if len(found) == len(rows) else pa.Table.from_pylist([*found.values()], schema=PROBLEM_SCHEMA)

    def replace(self, dataset: str, stage: str, rows: pa.Table, ids: Iterable[str] | None) -> None:
        """Replace the problems of a stage, of the given samples or of all, by new ones."""
        where = f"dataset = {quote(dataset)} AND stage = {quote(stage)}"
        if ids is not None:
            listed = ", ".join(quote(i) for i in ids)
            where += f" AND id IN ({listed})" if listed else " AND false"
        with self.database.committing():
            rows = rows.cast(PROBLEM_SCHEMA)
            there = self.database.read(TABLE, PROBLEM_SCHEMA.names, where) if self.database.exists(TABLE) else None
            if there is not None and there.to_pylist() == rows.to_pylist():
                # What another process has just found as well is not away for an instant.
                return
            self.database.delete(TABLE, where)
            if len(rows):
                checks = pa.array([_check(row) for row in rows.to_pylist()], CHECK.type)
                if self.database.exists(TABLE):
                    self.database.add_column(TABLE, CHECK)
                self.database.append(TABLE, rows.append_column(CHECK, checks))


def is_sound(row: Mapping[str, Any]) -> bool:
    """Return whether a row is what was written; those of earlier versions have no digest."""
    return row.get(CHECK.name) in (None, _check(row))


def _check(row: Mapping[str, Any]) -> str:
    return digest_bytes(*(repr(row[name]).encode() for name in PROBLEM_SCHEMA.names)).hex()
