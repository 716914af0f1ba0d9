"""Checks of what records say of datasets, splits and runs against what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from io import BytesIO
from typing import Any
from zipfile import BadZipFile, ZipFile

import pyarrow as pa

from histokit.errors import StoreError
from histokit.store.database import RESTORE
from histokit.store.documents import Documents
from histokit.store.findings import Finding
from histokit.store.networks import Networks, entries
from histokit.store.records import DatasetRecord, RunRecord
from histokit.store.repeat_commands import ingest_command, run_again, split_command
from histokit.store.results import Results
from histokit.store.split_records import SPLIT_SCHEMA, Split
from histokit.store.split_tables import PUBLISHED, SplitTables
from histokit.store.store import Store

_RUNS_AT_ONCE = 32
#: All of a split but its rows and their digest.
_HEADER = ("dataset", "name", "group", "seed", "leaks", "source", "params")


def check_records(
    store: Store,
    documents: Mapping[str, Sequence[dict[str, Any]]],
    counts: Mapping[str, int],
    unreadable: AbstractSet[str],
) -> Iterator[Finding]:
    """Yield what is wrong with datasets, splits and runs.

    Parameters
    ----------
    store : Store
    documents : mapping
        Table → its records, as far as they are whole.
    counts : mapping
        Table → its number of rows, where all could be read.
    unreadable : set of str
        Tables that are known to be damaged.
    """
    datasets = {d["name"]: DatasetRecord.from_json(d) for d in documents.get("datasets", [])}
    for record in datasets.values():
        if f"samples.{record.name}" not in unreadable:
            yield from _samples(record, counts.get(f"samples.{record.name}"))
    own = documents.get("splits", [])
    # A split that was made under the name of one that the data came with has taken its place.
    taken = {(h["dataset"], h["name"]) for h in own if h["source"] != PUBLISHED}
    headers = [header for record in datasets.values() for header in record.published or []]
    headers = [*(h for h in headers if (h["dataset"], h["name"]) not in taken), *own]
    headers = [h for h in headers if f"splits.{h['dataset']}" not in unreadable]
    wrong = _wrong_splits(store, headers)
    for header in headers:
        error = wrong[header["dataset"], header["name"], header["digest"]]
        if error is not None:
            yield _split(header, datasets.get(header["dataset"]), error)
    runs = [RunRecord.from_json(d) for d in documents.get("runs", [])]
    results = Results(Documents(store.database))
    if "predictions" not in unreadable:
        try:
            yield from (finding for _, finding in _all_predictions(results, runs))
        except StoreError as error:
            # Its rows can be read, but not by the names of their columns.
            yield Finding("predictions", "unreadable", error.message, RESTORE)
    if "models" not in unreadable:
        yield from (finding for _, finding in _all_models(results, runs))
    for run in runs:
        yield from _networks(Networks(store.uri), run)


def damaged_runs(results: Results, runs: Sequence[RunRecord]) -> set[str]:
    """Return the ids of the runs with whose predictions, model or networks something is wrong."""
    found = {run.id for run, _ in [*_all_predictions(results, runs), *_all_models(results, runs)]}
    networks = Networks(results.database.uri)
    return found | {run.id for run in runs if any(_networks(networks, run))}


def _samples(record: DatasetRecord, count: int | None) -> Iterator[Finding]:
    if count != record.count:
        found = "no table of samples" if count is None else f"{count} samples"
        what = f"the dataset {record.name!r} has {found}; {record.count} were ingested"
        yield Finding(f"samples.{record.name}", "samples", what, f"Make it again: {ingest_command(record)}")


def _wrong_splits(store: Store, headers: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], StoreError | None]:
    """Return why splits cannot be read by dataset, name and digest; all of a dataset are read in one pass."""
    tables = SplitTables(Documents(store.database))
    by_dataset: dict[str, list[Mapping[str, Any]]] = {}
    for header in headers:
        by_dataset.setdefault(header["dataset"], []).append(header)
    found = {}
    for dataset, own in by_dataset.items():
        for key, split in tables.read_all(dataset, own):
            found[dataset, *key] = split if isinstance(split, StoreError) else None
    return found


def _split(header: Mapping[str, Any], record: DatasetRecord | None, error: StoreError) -> Finding:
    made = Split(**{name: header[name] for name in _HEADER}, rows=SPLIT_SCHEMA.empty_table())
    again = split_command(made) or f"histokit split {header['dataset']} --name {header['name']}"
    if header["source"] == PUBLISHED and record is not None:
        again = ingest_command(record)
    return Finding(f"splits.{header['dataset']}", "split", error.message, f"Make it again: {again}")


def _all_predictions(results: Results, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, Finding]]:
    """Yield what is wrong with the predictions of each run; all are read in one pass, and those of one run held."""
    known = {run.key: run for run in runs}
    found: dict[str, list[Finding]] = {}
    scattered = set()
    for key, rows in results.stretches(runs):
        if key in found:
            scattered.add(key)
        elif key in known:
            # Runs that predict numbers have more columns than those of classes beside them.
            own = rows.select(known[key].schema.names)
            found[key] = list(_predictions(results, known[key], own))
    again = [known[key] for key in found if key in scattered]
    for start in range(0, len(again), _RUNS_AT_ONCE):
        batch = again[start : start + _RUNS_AT_ONCE]
        rows_of = results.rows(batch)
        found.update({run.key: list(_predictions(results, run, rows_of[run.id])) for run in batch})
    for run in runs:
        nothing = None if run.key in found else _predictions(results, run, run.schema.empty_table())
        yield from ((run, finding) for finding in nothing or found[run.key])


def _predictions(results: Results, run: RunRecord, rows: pa.Table) -> Iterator[Finding]:
    again = run_again(run)
    if not len(rows):
        yield Finding("predictions", "run", f"the run {run.id} has no predictions", again)
        return
    try:
        results.check(run, rows)
    except StoreError as error:
        yield Finding("predictions", "changed", error.message, again)
        return
    doubled = len(rows) - _different(rows)
    if doubled:
        what = f"{doubled} predictions of the run {run.id} are there more than once"
        yield Finding("predictions", "doubled", what, again)


def _different(rows: pa.Table) -> int:
    return len(rows.group_by(["repeat", "fold", "role", "id"]).aggregate([]))


def _networks(networks: Networks, run: RunRecord) -> Iterator[Finding]:
    for entry in entries(run):
        wrong = networks.damage(entry)
        if wrong is not None:
            what = f"the network {entry['part']!r} of the run {run.id} is damaged: {wrong}"
            yield Finding("networks", "run" if wrong.endswith("gone") else "changed", what, run_again(run))


def _all_models(results: Results, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, Finding]]:
    """Yield what is wrong with the model of each run; all are read in one pass, and one is held."""
    trained = [run for run in runs if run.kind == "train"]
    known = {run.key: run for run in trained}
    found: dict[str, Finding | None] = {}
    try:
        for key, data in results.models():
            if key in known and key not in found:
                found[key] = _model(results, known[key], data)
    except StoreError as error:
        found = {run.key: Finding("models", "run", error.message, run_again(run)) for run in trained}
    again = results.done_again([run for run in trained if run.key not in found])
    for run in trained:
        if run.key not in found:
            found[run.key] = _model_of(results, again[run.id]) if run.id in again else _model(results, run, None)
        finding = found[run.key]
        if finding is not None:
            yield run, finding


def _model_of(results: Results, run: RunRecord) -> Finding | None:
    try:
        return _model(results, run, results.model(run))
    except StoreError as error:
        return Finding("models", "run", error.message, run_again(run))


def _model(results: Results, run: RunRecord, data: bytes | None) -> Finding | None:
    try:
        results.check_model(run, data)
        # Models of earlier versions have no digest but those of the archive that they are.
        damaged = ZipFile(BytesIO(data or b"")).testzip() if run.model_digest is None else None
        if damaged is not None:
            raise BadZipFile(damaged)
    except StoreError as error:
        return Finding("models", "run", error.message, run_again(run))
    except (BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        what = f"the model of the run {run.id} is damaged: {error}"
        return Finding("models", "changed", what, run_again(run))
    return None
