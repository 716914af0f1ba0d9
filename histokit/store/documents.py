"""Records that are kept as JSON documents, each with a digest of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError
from histokit.store.change_digests import sealed, unsealed
from histokit.store.database import RESTORE, Database, quote

DOCUMENT = "document"

#: The tables that hold documents.
DOCUMENTS = ("datasets", "splits", "backbones", "selections", "runs", "unfinished")
#: Those of few rows, which each step asks again and again.
_ASKED_OFTEN = ("datasets", "splits")
#: Letters of an id that name it where no other begins so.
ID_PREFIX = 4


class Documents:
    """The tables of a store whose rows are keys and a JSON document.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database):
        self.database = database

    def find(self, table: str, where: str | tuple[str, str] | None = None, *, key: str) -> list[dict[str, Any]]:
        """Return the documents that a filter keeps, sorted by a key, each once.

        Those of a table of few rows where a column has a value are asked for as column and value: it is read once,
        however many of them are asked for.

        Raises
        ------
        StoreError
            If one of them is not what was written.
        """
        if not self.database.exists(table):
            return []
        rows = self._valued(table, *where, key) if isinstance(where, tuple) else self._rows(table, where, key)
        with self.database.reading(table):
            # An earlier version wrote a record twice where two processes made it at the same moment.
            return [self._read(table, row) for row in {row[key]: row for row in rows}.values()]

    def each(self, table: str, where: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the documents that a filter keeps one after the other, for those of megabytes; see `find`.

        One that an earlier version wrote twice is yielded twice.
        """
        if self.database.exists(table):
            for batch in self.database.scan(table, where=where):
                for number in range(len(batch)):
                    (row,) = batch.slice(number, 1).to_pylist()
                    with self.database.reading(table):
                        document = self._read(table, row)
                    yield document

    def _rows(self, table: str, where: str | None, key: str) -> list[dict[str, Any]]:
        def read() -> pa.Table:
            return self.database.read(table, None, where)

        often = table in _ASKED_OFTEN and where is None
        rows: pa.Table = self.database.unchanged(table, None, read) if often else read()
        found: list[dict[str, Any]] = rows.sort_by(key).to_pylist()
        return found

    def _valued(self, table: str, column: str, value: str, key: str) -> list[dict[str, Any]]:
        """Return the rows that have a value in a column."""

        def read() -> dict[str, list[dict[str, Any]]]:
            found: dict[str, list[dict[str, Any]]] = {}
            for row in self._rows(table, None, key):
                found.setdefault(row[column], []).append(row)
            return found

        return self.database.unchanged(table, column, read).get(value, [])

    def sound(self, table: str, where: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield the rows that a filter keeps, each with its document, but for those that are damaged."""
        if self.database.exists(table):
            for row in self.database.read(table, None, where).to_pylist():
                with suppress(ValueError):
                    yield row, parse(row)

    def dataset_of(self, table: str, identity: str) -> str | None:
        """Return the dataset of the record of exactly this id, if there is one."""
        return self.database.unchanged(table, "datasets", lambda: self._datasets(table)).get(identity)

    def ids(self, table: str) -> list[str]:
        """Return the ids of the records of a table."""
        return list(self._datasets(table))

    def _datasets(self, table: str) -> dict[str, str]:
        """Return the dataset of each record, by its id."""
        rows = self.database.read(table, ["id", "dataset"]).to_pylist() if self.database.exists(table) else []
        return {row["id"]: row["dataset"] for row in rows}

    def _read(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return parse(row)
        except ValueError as error:
            named = ", ".join(f"{name} {value!r}" for name, value in row.items() if name != DOCUMENT)
            raise StoreError(f"A record of the table {table!r} ({named}) is damaged: {error}.", next=RESTORE) from error

    def save(
        self, table: str, keys: Mapping[str, str], document: Mapping[str, Any], on: list[str] | None = None
    ) -> None:
        """Write a document, in place of one of the same keys."""
        text = sealed(keys, json.dumps(document, ensure_ascii=False, allow_nan=False))
        row = pa.table({name: pa.array([value], pa.string()) for name, value in {**keys, DOCUMENT: text}.items()})
        self.database.replace(table, row, on or list(keys))

    def by_id(self, table: str, prefix: str, what: str) -> dict[str, Any]:
        """Return the document of an id, or of the only one that begins so.

        Raises
        ------
        StoreError
            If there is none, or several.
        """
        exact = self.find(table, f"id = {quote(prefix)}", key="id")
        if exact:
            return exact[0]
        long_enough = len(prefix) >= ID_PREFIX and prefix.isalnum()
        found = self.find(table, f"id LIKE '{prefix}%'", key="id") if long_enough else []
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(d["id"] for d in found)
            raise StoreError(f"The {what} {prefix!r} is ambiguous: {listed}.", next="Give more of its id.")
        self.database.require()
        if self.database.exists("datasets") and self.database.count("datasets", f"name = {quote(prefix)}"):
            message = f"{prefix!r} is a dataset, where a {what} is asked for."
            every = f" All of them are meant by --dataset {prefix} in compare and report." if what == "run" else ""
            raise StoreError(message, next=f"Give the id of one: histokit list {what}s {prefix}.{every}")
        short = "" if len(prefix) >= ID_PREFIX else f"Give {ID_PREFIX} characters of its id or more. "
        message = f"There is no {what} {prefix!r} in the store {self.database.uri}."
        raise StoreError(message, next=f"{short}See: histokit list {what}s")


def parse(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a row.

    Raises
    ------
    ValueError
        If it is not what was written.
    """
    keys = {name: str(value) for name, value in row.items() if name != DOCUMENT}
    document = json.loads(unsealed(keys, row.get(DOCUMENT) or ""))
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document
