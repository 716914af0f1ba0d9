"""The repair of a store: what is damaged is put aside, so that the rest can be used and what is lost be made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from histokit.errors import StoreError, advice_on_writing
from histokit.store.additions import DAMAGED
from histokit.store.database import FEATURES, RESTORE, quote
from histokit.store.documents import DOCUMENT, DOCUMENTS, Documents, parse
from histokit.store.findings import NEWER, Finding, Verification
from histokit.store.networks import FOLDER as NETWORKS
from histokit.store.networks import Networks, entries
from histokit.store.problems import CHECK, is_sound
from histokit.store.record_checks import damaged_runs
from histokit.store.records import RunRecord
from histokit.store.repeat_commands import made
from histokit.store.results import Results
from histokit.store.split_tables import PUBLISHED, SplitTables
from histokit.store.store import Store
from histokit.store.vectors import list_tables
from histokit.store.verify import verify

AFTERWARDS = "Bring it back from a copy of the store, or make it again"

#: Findings about a whole table that make it useless; of feature tables, also those about rows.
_USELESS = {"unreadable", "schema"}
_USELESS_FEATURES = {"changed", "key", "vector", "doubled"}


def repair(store: Store, progress: Callable[..., None] = lambda *_: None) -> Verification:
    """Put aside what is damaged; feature tables, runs, splits and records can then be made again.

    Nothing is deleted: damaged tables are moved, and damaged records written, into the folder ``damaged`` of the
    store. Damaged samples stay; ingesting their dataset again replaces them.

    Parameters
    ----------
    store : Store
    progress : callable, optional
        Called with (done, total, table).

    Returns
    -------
    Verification
        What was found before, and what to do now.

    Raises
    ------
    StoreError
        If there is no store, or a newer version wrote to it.
    """
    found = verify(store, progress)
    if found.ok:
        return found
    for finding in found.findings:
        if finding.kind == NEWER:
            # Nobody knows here what rests on it.
            raise StoreError(finding.what, next=finding.next)
    work = _Repair(store)
    try:
        with store.database.committing():
            work.run(found)
    except OSError as error:
        raise StoreError(
            f"The store {store.uri} cannot be repaired: {error.strerror}.",
            next=advice_on_writing(error),
        ) from error
    # What could have been done before is no advice any more.
    findings = tuple(replace(f, next=AFTERWARDS) if f.next == RESTORE else f for f in found.findings)
    told = " ".join(finding.what for finding in findings)
    rest = [name for name in work.aside if name[1] not in told]
    aside = [Finding(table, "aside", f"{name}: it rests on what is damaged", AFTERWARDS) for table, name in rest]
    return replace(found, findings=(*findings, *aside))


class _Repair:
    def __init__(self, store: Store):
        self.store, self.database = store, store.database
        self.documents = Documents(store.database)
        self.results = Results(self.documents)
        self.splits = SplitTables(self.documents)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.folder = store.uri / DAMAGED / now
        #: Table and name of each record that was put aside.
        self.aside: list[tuple[str, str]] = []

    def run(self, found: Verification) -> None:
        # First, so that tables that went back, or are gone, can be read as they are.
        self.database.accept()
        for name in sorted({finding.table for finding in found.findings if _is_useless(finding)}):
            self._move(name)
        # What was moved is no longer missed.
        self.database.accept()
        for table in DOCUMENTS:
            for row in self._rows(table):
                if not _is_record(row):
                    keys = [f"{k} = {quote(str(v))}" for k, v in row.items() if k != DOCUMENT and v is not None]
                    self._remove(table, row, " AND ".join(keys))
        for row in self._rows("problems"):
            if not is_sound(row):
                self._remove(
                    "problems", {**row, "content": str(row["content"])}, f"{CHECK.name} = {quote(row['check'])}"
                )
        documents = self.documents.find("runs", key="id")
        runs = [RunRecord.from_json(document) for document in documents]
        damaged = damaged_runs(self.results, runs)
        for document, run in zip(documents, runs, strict=True):
            if run.id in damaged:
                self._remove("runs", document, f"id = {quote(run.id)}")
                self._move_networks(run)
        for header in self._split_headers():
            try:
                self.splits.read(header)
            except StoreError:
                where = f"dataset = {quote(header['dataset'])} AND name = {quote(header['name'])}"
                if header["source"] != PUBLISHED:
                    self._remove("splits", header, where)
        self.results.remove_unnamed(dry_run=False)
        self.database.accept()
        for features in list_tables(self.database, unreadable=lambda _: None):
            self.database.remember_features(features.name, made(features))

    def _move(self, name: str) -> None:
        source = self.store.uri / f"{name}.lance"
        if source.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.move(source, self.folder / source.name)

    def _move_networks(self, run: RunRecord) -> None:
        for path in {Networks(self.store.uri).path(entry).parent for entry in entries(run)}:
            if path.is_dir():
                (self.folder / NETWORKS).mkdir(parents=True, exist_ok=True)
                shutil.move(path, self.folder / NETWORKS / path.name)

    def _split_headers(self) -> Iterator[dict[str, Any]]:
        """Yield the headers of the splits of all datasets, whose names come again in each."""
        for dataset in sorted({row["dataset"] for row in self._rows("splits")}):
            yield from self.documents.find("splits", ("dataset", dataset), key="name")

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        if self.database.exists(table):
            yield from self.database.read(table).to_pylist()

    def _remove(self, table: str, row: dict[str, Any], where: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{table}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")
        self.database.delete(table, where)
        self.aside.append((table, str(row.get("id") or row.get("name") or row.get("dataset"))))


def _is_useless(finding: Finding) -> bool:
    if finding.table.startswith(FEATURES):
        return finding.kind in _USELESS | _USELESS_FEATURES
    kind = finding.table.partition(".")[0]
    return finding.kind in _USELESS and kind in {*DOCUMENTS, "predictions", "models", "problems"}


def _is_record(row: dict[str, Any]) -> bool:
    try:
        parse(row)
    except (ValueError, TypeError):
        return False
    return True
