"""The check of a whole store: every table is opened, read to its end and compared with what the others say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, out_of_reach
from histokit.plugin.digests import digest_bytes
from histokit.store.commits import Known, NewerFormatError
from histokit.store.database import FEATURES, FORMAT_KEY, lance_reason
from histokit.store.documents import DOCUMENT, DOCUMENTS, parse
from histokit.store.feature_checks import (
    FeatureCheck,
    Prefixes,
    contained,
    expected_prefixes,
    feature_table,
    joined,
    prefixes,
    problem_prefixes,
    width_differences,
)
from histokit.store.findings import NEWER, Finding, Verification, remove_folder
from histokit.store.problems import is_sound
from histokit.store.record_checks import check_records
from histokit.store.records import KINDS, DatasetRecord
from histokit.store.removal import dataset_of_table
from histokit.store.repeat_commands import ingest_command, make_again
from histokit.store.store import Store
from histokit.store.tables import READ_ERRORS, REPAIR, RESTORE, VERIFY, again_or_without
from histokit.store.vectors import FeatureTable

_SAMPLES_AT_ONCE = 8_192
#: How often a store is looked at that others write to.
_TRIES = 3
_ORPHAN = "Ingest the dataset again, or run: histokit store gc --orphans"


def verify(store: Store, progress: Callable[..., None] = lambda *_: None) -> Verification:
    """Open every table of a store, read it to its end and compare it with what it and the others say.

    Rows stream: held are the documents of datasets, splits and runs, one split at a time, and eight bytes of
    each key of one dataset and one feature table. Where something is wrong, and others wrote to the store meanwhile,
    all is looked at again: what was read before and after does not go together then.

    Parameters
    ----------
    store : Store
    progress : callable, optional
        Called with (done, total, table).

    Raises
    ------
    StoreError
        If there is no store.
    """
    store.database.require()
    for _ in range(_TRIES):
        before = _written(store)
        found = _Verifier(store).run(progress)
        if found.ok or _written(store) == before:
            break
    return found


def _written(store: Store) -> dict[str, Known] | None:
    """Return what the tables were when they were last written; none where their list cannot be read."""
    try:
        return store.database.commits.known()
    except StoreError:
        return None


#: Of these, whole documents are asked for.
_WHOLE = ("datasets", "splits", "runs")


class _Verifier:
    def __init__(self, store: Store):
        self.store = store
        self.database = store.database
        self.findings: list[Finding] = []
        self.rows = 0
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.features: dict[str, FeatureTable] = {}
        self.counts: dict[str, int] = {}
        self.unreadable: set[str] = set()
        self._expected: tuple[str, Prefixes | None] = ("", None)

    def run(self, progress: Callable[..., None]) -> Verification:
        names = self.database.names()
        self._ledger(names)
        # Features are compared with samples, and samples with datasets.
        order = sorted(names, key=lambda name: (name.startswith(FEATURES), name not in DOCUMENTS, name))
        try:
            for done, name in enumerate(order):
                progress(done, len(order), name)
                self._table(name)
            self.findings += width_differences(self.features)
            for check in (self._headless, self._orphans):
                self.findings += check()
            self.findings += check_records(self.store, self.documents, self.counts, self.unreadable)
        finally:
            self.database.commits.trusted = True
        return Verification(tuple(self.findings), len(names), self.rows)

    def _ledger(self, names: Sequence[str]) -> None:
        try:
            known = self.database.commits.known()
        except NewerFormatError as error:
            self._add("(list of tables)", NEWER, error.message, error.next)
            self.database.commits.trusted = False
            return
        except StoreError as error:
            self._add("(list of tables)", "unreadable", error.message, f"Write it anew: {REPAIR}")
            self.database.commits.trusted = False
            return
        if self.database.commits.is_lost and any(not name.startswith(FEATURES) for name in names):
            what = "it is gone: whether tables went back to an earlier version cannot be told"
            self._add("(list of tables)", "lost", what, f"Write it anew: {REPAIR}")
        for name, entry in known.items():
            if name not in names and entry.rows:
                self.unreadable.add(name)
                kind, _, dataset = name.partition(".")
                advice = self._ingest_again(dataset) if kind in KINDS else RESTORE
                self._add(name, "lost", f"it is gone, with {entry.rows} rows", advice)
        for name, made in self.database.lost_features().items():
            self.unreadable.add(name)
            what = f"it is gone, with the features {made.address} of the dataset {made.dataset!r}"
            self._add(name, "lost", what, again_or_without(made.again))

    def _headless(self) -> Iterator[Finding]:
        """Find what is called like a table but has no version: its manifests are lost, or it was cut off early."""
        known = {*self.database.names(), *self.counts, *self.unreadable}
        for path in sorted(self.store.uri.glob("*.lance")):
            data = path / "data"
            if path.stem not in known and (path.is_file() or (data.is_dir() and any(data.iterdir()))):
                what = "it has no version that can be read: its manifest is lost, or its first write was cut off"
                yield Finding(path.stem, "unreadable", what, f"Move {path} away and do again what made it")

    def _table(self, name: str) -> None:
        try:
            schema = self.database.schema(name)
            if FORMAT_KEY not in (schema.metadata or {}):
                self._add(name, "foreign", "it was not written by histokit", remove_folder(self.database.uri, name))
            elif name.startswith(FEATURES):
                self._feature_rows(name, schema)
            else:
                self._other_rows(name)
        except StoreError as error:
            self._unreadable(name, error)
        except READ_ERRORS as error:
            if unreached := out_of_reach(error, f"The table {name!r} of the store {self.store.uri}"):
                raise unreached from error
            # Values that no version of histokit writes, such as a key that is no text.
            what = f"what it holds cannot be understood: {type(error).__name__} {lance_reason(error)}"
            self._unreadable(name, StoreError(what, next=RESTORE))

    def _add(self, table: str, kind: str, what: str, next: str) -> None:
        self.findings.append(Finding(table, kind, what, next))

    def _unreadable(self, name: str, error: StoreError) -> None:
        self.unreadable.add(name)
        kind, _, dataset = name.partition(".")
        known = self.features.get(name)
        advice = error.next or RESTORE
        if isinstance(error, NewerFormatError):
            self._add(name, NEWER, error.message, advice)
            return
        if known is not None:
            advice = remove_folder(self.database.uri, name, [make_again(known)])
        elif kind in KINDS:
            advice = self._ingest_again(dataset)
        elif kind == "features":
            advice = remove_folder(self.database.uri, name, [f"histokit extract {dataset.partition('.')[0]} …"])
        elif advice == VERIFY:
            advice = RESTORE
        self._add(name, "unreadable", error.message, advice)

    def _ingest_again(self, dataset: str) -> str:
        record = None
        with suppress(StoreError):
            record = self.store.find_dataset(dataset)
        command = ingest_command(record) if record else f"histokit ingest PLUGIN ROOT --name {dataset}"
        return f"Make it again: {command}"

    def _other_rows(self, name: str) -> None:
        kind, _, dataset = name.partition(".")
        ids: list[Prefixes] = []
        count = 0
        for batch in self._batches(kind, name, dataset):
            count += len(batch)
            if name in DOCUMENTS:
                self._read_documents(name, batch)
            elif name == "problems":
                self._read_problems(batch)
            elif kind == "samples":
                ids.append(prefixes([_id_digest(i) for i in batch.column("id").to_pylist()]))
        self.rows += count
        self.counts[name] = count
        seen = joined(ids)
        doubled = int((seen[1:] == seen[:-1]).sum())
        if doubled:
            self._add(name, "doubled", f"{doubled} sample ids are there more than once", self._ingest_again(dataset))

    def _batches(self, kind: str, name: str, dataset: str) -> Iterator[pa.RecordBatch]:
        known = next((d for d in self.documents.get("datasets", []) if d.get("name") == dataset), None)
        if kind in KINDS and known is not None:
            yield from self.store.ingested(DatasetRecord.from_json(known), kind).batches(size=_SAMPLES_AT_ONCE)
        else:
            yield from self.database.scan(name)

    def _read_documents(self, name: str, batch: pa.RecordBatch) -> None:
        kept = self.documents.setdefault(name, [])
        for row in batch.to_pylist():
            try:
                document = parse(row)
                # Others are of megabytes, and nothing is asked of them but whose they are.
                kept.append(document if name in _WHOLE else {key: row[key] for key in row if key != DOCUMENT})
            except (ValueError, TypeError) as error:
                keys = ", ".join(f"{key} {value!r}" for key, value in row.items() if key != DOCUMENT)
                self._add(name, "document", f"the record of {keys} is damaged: {error}", RESTORE)

    def _read_problems(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            if not is_sound(row):
                what = f"the problem of the sample {row['id']!r} of {row['dataset']!r} is damaged"
                self._add("problems", "document", what, RESTORE)

    def _feature_rows(self, name: str, schema: pa.Schema) -> None:
        table, wrong = feature_table(name, schema)
        advice = make_again(table) if table else "histokit extract"
        for what in wrong:
            self._add(name, "schema", what, remove_folder(self.database.uri, name, [advice]))
        if table is None or not table.width:
            self.rows += sum(len(batch) for batch in self.database.scan(name))
            return
        self.features[name] = table
        check = FeatureCheck(table)
        for batch in self.database.scan(name):
            self.rows += len(batch)
            check.add(batch)
        # Samples that are known to have no vector are not missed.
        expected = None if "problems" in self.unreadable else self._expected_of(table.dataset)
        if expected is not None:
            expected = expected[~contained(expected, problem_prefixes(self.database, table))]
        self.findings += check.findings(self.database, expected)

    def _expected_of(self, dataset: str) -> Prefixes | None:
        if self._expected[0] != dataset:
            samples = f"samples.{dataset}"
            record = next((d for d in self.documents.get("datasets", []) if d["name"] == dataset), None)
            known = record is not None and samples in self.counts and samples not in self.unreadable
            expected = expected_prefixes(self.database, DatasetRecord.from_json(record or {})) if known else None
            self._expected = (dataset, expected)
        return self._expected[1]

    def _orphans(self) -> Iterator[Finding]:
        if "datasets" in self.unreadable:
            return
        known = {document["name"] for document in self.documents.get("datasets", [])}
        for name, table in self.features.items():
            if table.dataset not in known:
                what = f"it holds features of the dataset {table.dataset!r}, which is not there"
                yield Finding(name, "orphan", what, _ORPHAN)
        for name in self.database.names():
            dataset = dataset_of_table(name)
            if dataset is not None and dataset not in known:
                what = f"it belongs to the dataset {dataset!r}, which is not there"
                yield Finding(name, "orphan", what, _ORPHAN)
        for records, kind in (("runs", "run"), ("selections", "selection")):
            for document in self.documents.get(records, []):
                if document["dataset"] not in known:
                    what = f"the {kind} {document['id']} is of the dataset {document['dataset']!r}, which is not there"
                    mend = f"Ingest the dataset again, or run: histokit store remove {document['id']} --yes"
                    yield Finding(records, "orphan", what, mend)


def _id_digest(sample_id: str | None) -> bytes:
    return digest_bytes((sample_id or "").encode())
