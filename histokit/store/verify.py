"""The check of a whole store: every table is opened, read to its end and compared with what the others say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError
from histokit.plugin.digests import digest_bytes
from histokit.store.database import FORMAT_KEY, first_line
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
from histokit.store.findings import Finding, Verification, make_again, remove_folder
from histokit.store.records import IMPORT_PLUGIN, DatasetRecord
from histokit.store.store import Store
from histokit.store.vectors import FeatureTable

_READ_ERRORS = (ValueError, OSError, RuntimeError, pa.ArrowException)
_RESTORE = "Bring it back from a copy of the store, or move its folder away."


def verify(store: Store, progress: Callable[..., None] = lambda *_: None) -> Verification:
    """Open every table of a store, read it to its end and compare it with what it and the others say.

    Rows stream: held are the documents of datasets, splits and runs, one split at a time, and eight bytes of
    each key of one dataset and one feature table.

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
    if not store.uri.is_dir():
        raise StoreError(
            f"There is no store at {store.uri}.", next="Name it with --store, or make one with: histokit ingest"
        )
    return _Verifier(store).run(progress)


class _Verifier:
    def __init__(self, store: Store):
        self.store = store
        self.database = store.database
        self.findings: list[Finding] = []
        self.rows = 0
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.features: dict[str, FeatureTable] = {}
        self.predicted: Counter[str] = Counter()
        self.models: set[str] = set()
        self.counts: dict[str, int] = {}
        self.unreadable: set[str] = set()
        self._expected: tuple[str, Prefixes | None] = ("", None)

    def run(self, progress: Callable[..., None]) -> Verification:
        names = self.database.names()
        # Features are compared with samples, and samples with datasets.
        order = sorted(names, key=lambda name: (name.startswith("features."), name))
        for done, name in enumerate(order):
            progress(done, len(order), name)
            self._table(name)
        self.findings += width_differences(self.features)
        for check in (self._headless, self._datasets, self._orphans, self._splits, self._runs):
            self.findings += check()
        return Verification(tuple(self.findings), len(names), self.rows)

    def _headless(self) -> Iterator[Finding]:
        """Find what is called like a table but has no version: its manifests are lost, or it was cut off early."""
        for path in sorted(self.store.uri.glob("*.lance")):
            data = path / "data"
            if not self.database.exists(path.stem) and (path.is_file() or (data.is_dir() and any(data.iterdir()))):
                what = "it has no version that can be read: its manifest is lost, or its first write was cut off"
                yield Finding(path.stem, "unreadable", what, f"Move {path} away and do again what made it")

    def _table(self, name: str) -> None:
        try:
            schema = self.database.schema(name)
        except StoreError as error:
            self._unreadable(name, error.message)
            return
        if FORMAT_KEY not in (schema.metadata or {}):
            self._add(name, "foreign", "it was not written by histokit", remove_folder(self.database.uri, name))
            return
        try:
            self._feature_rows(name, schema) if name.startswith("features.") else self._other_rows(name)
        except _READ_ERRORS as error:
            self._unreadable(name, f"its data cannot be read: {first_line(error)}")

    def _add(self, table: str, kind: str, what: str, next: str) -> None:
        self.findings.append(Finding(table, kind, what, next))

    def _unreadable(self, name: str, what: str) -> None:
        self.unreadable.add(name)
        kind, _, dataset = name.partition(".")
        known = self.features.get(name)
        advice = _RESTORE
        if known is not None:
            advice = remove_folder(self.database.uri, name, [make_again(known)])
        elif kind in ("samples", "files"):
            advice = self._ingest_again(dataset)
        elif kind == "features":
            advice = remove_folder(self.database.uri, name, [f"histokit extract {dataset.partition('.')[0]} …"])
        self._add(name, "unreadable", what, advice)

    def _ingest_again(self, dataset: str) -> str:
        for document in self.documents.get("datasets", []):
            if document.get("name") == dataset:
                return f"Make it again: {_ingest_command(document)}"
        return f"Make it again: histokit ingest PLUGIN ROOT --name {dataset}"

    def _other_rows(self, name: str) -> None:
        kind = name.partition(".")[0]
        ids: list[Prefixes] = []
        count = 0
        for batch in self.database.scan(name):
            count += len(batch)
            if "document" in batch.schema.names:
                self._read_documents(name, batch)
            elif name == "predictions":
                self.predicted.update(batch.column("run").to_pylist())
            elif name == "models":
                self.models.update(batch.column("run").to_pylist())
            elif kind == "samples":
                ids.append(prefixes([_id_digest(i) for i in batch.column("id").to_pylist()]))
        self.rows += count
        self.counts[name] = count
        seen = joined(ids)
        doubled = int((seen[1:] == seen[:-1]).sum())
        if doubled:
            dataset = name.partition(".")[2]
            self._add(name, "doubled", f"{doubled} sample ids are there more than once", self._ingest_again(dataset))

    def _read_documents(self, name: str, batch: pa.RecordBatch) -> None:
        kept = self.documents.setdefault(name, [])
        for text in batch.column("document").to_pylist():
            try:
                document = json.loads(text)
                if not isinstance(document, dict):
                    raise ValueError("it is no JSON object")
                kept.append(document)
            except (ValueError, TypeError) as error:
                self._add(name, "document", f"a record cannot be read: {error}", _RESTORE)

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
        expected = self._expected_of(table.dataset)
        if expected is not None:
            expected = expected[~contained(expected, problem_prefixes(self.database, table))]
        self.findings += check.findings(self.database, expected)

    def _expected_of(self, dataset: str) -> Prefixes | None:
        if self._expected[0] != dataset:
            samples = f"samples.{dataset}"
            known = samples in self.counts and samples not in self.unreadable
            self._expected = (dataset, expected_prefixes(self.database, dataset) if known else None)
        return self._expected[1]

    def _datasets(self) -> Iterator[Finding]:
        for document in self.documents.get("datasets", []):
            record = DatasetRecord.from_json(document)
            table = f"samples.{record.name}"
            if table in self.unreadable:
                continue
            count = self.counts.get(table)
            if count != record.count:
                found = "no table of samples" if count is None else f"{count} samples"
                what = f"the dataset {record.name!r} has {found}; {record.count} were ingested"
                yield Finding(table, "samples", what, self._ingest_again(record.name))

    def _orphans(self) -> Iterator[Finding]:
        if "datasets" in self.unreadable:
            return
        known = {document["name"] for document in self.documents.get("datasets", [])}
        for name, table in self.features.items():
            if table.dataset not in known:
                what = f"it holds features of the dataset {table.dataset!r}, which is not there"
                yield Finding(name, "orphan", what, "Ingest the dataset again, or run: histokit store gc --orphans")
        for name in self.database.names():
            kind, dot, dataset = name.partition(".")
            if dot and kind in ("samples", "files", "splits") and dataset not in known:
                what = f"it belongs to the dataset {dataset!r}, which is not there"
                yield Finding(name, "orphan", what, self._ingest_again(dataset))

    def _splits(self) -> Iterator[Finding]:
        for header in self.documents.get("splits", []):
            table = f"splits.{header['dataset']}"
            if table in self.unreadable:
                continue
            again = f"Make it again: histokit split {header['dataset']} --name {header['name']}"
            if header["source"] == "published":
                again = self._ingest_again(header["dataset"])
            if table not in self.counts:
                yield Finding(table, "split", f"the rows of the split {header['name']!r} are gone", again)
            elif self.store.split(header["dataset"], header["name"]).digest != header["digest"]:
                what = f"the rows of the split {header['name']!r} are not those that it was made of"
                yield Finding(table, "split", what, again)

    def _runs(self) -> Iterator[Finding]:
        for run in self.documents.get("runs", []):
            again = _run_again(run)
            if "predictions" not in self.unreadable and not self.predicted[run["id"]]:
                yield Finding("predictions", "run", f"the run {run['id']} has no predictions", again)
            if run["kind"] == "train" and "models" not in self.unreadable and run["id"] not in self.models:
                yield Finding("models", "run", f"the run {run['id']} has no model", again)


def _ingest_command(document: dict[str, Any]) -> str:
    if document["plugin"] == IMPORT_PLUGIN:
        return f"histokit import-features {document['name']} {document['root']} --create"
    options = "".join(f" -o {key}={_option(value)}" for key, value in document["options"].items())
    return f"histokit ingest {document['plugin']} {document['root']} --name {document['name']}{options}"


def _option(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _run_again(run: dict[str, Any]) -> str:
    if run["kind"] == "predict":
        return f"Do it again: histokit predict {run['source_run']} {run['dataset']} --force"
    return (
        f"Do it again, with its options: histokit {run['kind']} {run['dataset']} --features {run['address']} "
        f"--classifier {run['classifier']} --split {run['split']} --force"
    )


def _id_digest(sample_id: str | None) -> bytes:
    return digest_bytes((sample_id or "").encode())
