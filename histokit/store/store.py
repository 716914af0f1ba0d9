"""The store: datasets, samples, splits, problems, feature tables, selections, runs, predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import StoreError, did_you_mean
from histokit.store import vectors
from histokit.store.database import Database, quote
from histokit.store.filters import read_kept
from histokit.store.records import (
    OF_ATTEMPTS,
    PREDICTION_SCHEMA,
    PROBLEM_SCHEMA,
    SPLIT_SCHEMA,
    DatasetRecord,
    RunRecord,
    SelectionRecord,
    Split,
    split_by_run,
)
from histokit.store.vectors import FeatureTable

_ID_PREFIX = 4
_FORGOTTEN_AFTER = timedelta(days=30)
_MODEL_SCHEMA = pa.schema([("run", pa.string()), ("format", pa.string()), ("data", pa.large_binary())])


class Store:
    """A LanceDB database in a local folder, made on the first write.

    Parameters
    ----------
    uri : path
    """

    def __init__(self, uri: str | Path):
        self.uri = Path(uri)
        self.database = Database(self.uri)

    # -- datasets and samples

    def datasets(self) -> list[DatasetRecord]:
        """Return the datasets, by name."""
        return [DatasetRecord.from_json(d) for d in self._documents("datasets", key="name")]

    def dataset(self, name: str) -> DatasetRecord:
        """Return a dataset.

        Raises
        ------
        StoreError
            If it was not ingested.
        """
        found = self._documents("datasets", f"name = {quote(name)}", key="name")
        if not found:
            hint = did_you_mean(name, [d.name for d in self.datasets()])
            raise StoreError(
                f"There is no dataset {name!r} in the store {self.uri}.",
                next=f"{hint}See: histokit list datasets. Make one with: histokit ingest PLUGIN ROOT --name {name}",
            )
        return DatasetRecord.from_json(found[0])

    def save_dataset(self, record: DatasetRecord, samples: pa.Table, files: pa.Table) -> None:
        """Write a dataset; the samples of an earlier ingestion are replaced."""
        # In this order: samples of before with files of now would give new pixels to old contents.
        self.database.overwrite(f"samples.{record.name}", samples)
        self.database.overwrite(f"files.{record.name}", files)
        self._save("datasets", {"name": record.name}, record.to_json())

    def samples(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the samples of a dataset in the order of ingestion; `where` is a filter over their columns.

        Raises
        ------
        UsageError
            If the filter is no condition over the columns.
        """
        self.dataset(name)
        table = f"samples.{name}"
        return self.database.read(table, columns) if where is None else read_kept(self.database, table, columns, where)

    def files(self, dataset: str) -> pa.Table | None:
        """Return the files that a dataset was ingested from, with size, mtime and digest."""
        name = f"files.{dataset}"
        return self.database.read(name) if self.database.exists(name) else None

    # -- splits

    def splits(self, dataset: str) -> list[Split]:
        """Return the splits of a dataset, by name."""
        headers = self._documents("splits", f"dataset = {quote(dataset)}", key="name")
        return [self._split(header) for header in headers]

    def split(self, dataset: str, name: str) -> Split:
        """Return a split.

        Raises
        ------
        StoreError
            If it was not made.
        """
        where = f"dataset = {quote(dataset)} AND name = {quote(name)}"
        headers = self._documents("splits", where, key="name")
        if not headers:
            known = [h["name"] for h in self._documents("splits", f"dataset = {quote(dataset)}", key="name")]
            raise StoreError(
                f"The dataset {dataset!r} has no split {name!r}.",
                next=f"{did_you_mean(name, known)}See: histokit list splits {dataset}. "
                f"Make it with: histokit split {dataset} --name {name} --folds 10",
            )
        return self._split(headers[0])

    def _split(self, header: Mapping[str, Any]) -> Split:
        where = f"split = {quote(header['name'])} AND digest = {quote(header['digest'])}"
        rows = _once(self.database.read(f"splits.{header['dataset']}", SPLIT_SCHEMA.names, where))
        values = {k: v for k, v in header.items() if k != "digest"}
        return Split(rows=rows.cast(SPLIT_SCHEMA), **values)

    def save_split(self, split: Split) -> None:
        """Write a split, in place of one of the same name."""
        table = f"splits.{split.dataset}"
        labels = {"split": split.name, "digest": split.digest}
        rows = split.rows.select(SPLIT_SCHEMA.names)
        for position, (column, value) in enumerate(labels.items()):
            rows = rows.add_column(position, column, pa.array([value] * len(rows), pa.string()))
        same = f"split = {quote(split.name)} AND digest = {quote(split.digest)}"
        if not self.database.count(table, same):
            self.database.append(table, rows)
        self._save("splits", {"dataset": split.dataset, "name": split.name}, split.header())
        self.database.delete(table, f"split = {quote(split.name)} AND digest <> {quote(split.digest)}")

    # -- problems

    def problems(self, dataset: str) -> pa.Table:
        """Return the samples of a dataset that could not be read, and why."""
        if not self.database.exists("problems"):
            return PROBLEM_SCHEMA.empty_table()
        return self.database.read("problems", PROBLEM_SCHEMA.names, f"dataset = {quote(dataset)}")

    def forget_problems(self, dataset: str) -> None:
        """Forget all problems but those of ingestion, so that the samples are tried again."""
        self.database.delete("problems", f"dataset = {quote(dataset)} AND {OF_ATTEMPTS}")

    def replace_problems(self, dataset: str, stage: str, rows: pa.Table, ids: Iterable[str] | None = None) -> None:
        """Replace the problems of a stage, of the given samples or of all, by new ones."""
        where = f"dataset = {quote(dataset)} AND stage = {quote(stage)}"
        if ids is not None:
            listed = ", ".join(quote(i) for i in ids)
            where += f" AND id IN ({listed})" if listed else " AND false"
        self.database.delete("problems", where)
        if len(rows):
            self.database.append("problems", rows.cast(PROBLEM_SCHEMA))

    # -- features

    def feature_tables(self, dataset: str | None = None) -> list[FeatureTable]:
        """Return the feature tables of a dataset, or of all, in depth order for each backbone."""
        return vectors.list_tables(self.database, dataset)

    def create_feature_table(
        self, dataset: str, spec: Mapping[str, Any], width: int, info: Mapping[str, Any]
    ) -> FeatureTable:
        """Make the feature table of a spec, or return the one that is there."""
        return vectors.create_table(self.database, dataset, spec, width, info)

    # -- remembered backbones

    def remembered(self, key: str) -> dict[str, Any] | None:
        """Return what `remember` wrote under a key."""
        found = self._documents("backbones", f"key = {quote(key)}", key="key")
        return found[0] if found else None

    def remember(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep how a backbone was resolved, so that the next time needs no deep learning library."""
        self._save("backbones", {"key": key}, document)

    # -- selections

    def selections(self, dataset: str | None = None) -> list[SelectionRecord]:
        """Return the selections, oldest first."""
        where = None if dataset is None else f"dataset = {quote(dataset)}"
        documents = self._documents("selections", where, key="id")
        return sorted((SelectionRecord.from_json(d) for d in documents), key=lambda s: s.created)

    def selection(self, selection_id: str) -> SelectionRecord:
        """Return a selection by its id or the beginning of it."""
        return SelectionRecord.from_json(self._by_id("selections", selection_id, "selection"))

    def has_selection(self, selection_id: str) -> bool:
        """Return whether there is a selection of exactly this id."""
        return bool(self.database.count("selections", f"id = {quote(selection_id)}"))

    def save_selection(self, selection: SelectionRecord) -> None:
        """Write a selection."""
        self._save("selections", {"id": selection.id, "dataset": selection.dataset}, selection.to_json(), on=["id"])

    # -- work that is not finished

    def unfinished(self, owner: str) -> dict[str, dict[str, Any]]:
        """Return what was kept of a piece of work that has not ended yet, by key."""
        if not self.database.exists("unfinished"):
            return {}
        rows = self.database.read("unfinished", ["key", "document"], f"owner = {quote(owner)}")
        return {row["key"]: json.loads(row["document"]) for row in rows.to_pylist()}

    def save_unfinished(self, owner: str, key: str, document: Mapping[str, Any]) -> None:
        """Keep a part of a piece of work, so that it is not done again after an interruption."""
        keys = {"owner": owner, "key": key, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        self._save("unfinished", keys, document, on=["owner", "key"])

    def forget_unfinished(self, owner: str) -> None:
        """Remove the parts of a piece of work that has ended, and those that nobody has asked for in 30 days."""
        limit = (datetime.now(UTC) - _FORGOTTEN_AFTER).isoformat(timespec="seconds")
        self.database.delete("unfinished", f"owner = {quote(owner)} OR created < {quote(limit)}")

    # -- runs, predictions, models

    def runs(self, dataset: str | None = None) -> list[RunRecord]:
        """Return the runs, oldest first."""
        where = None if dataset is None else f"dataset = {quote(dataset)}"
        documents = self._documents("runs", where, key="id")
        return sorted((RunRecord.from_json(d) for d in documents), key=lambda r: r.created)

    def run(self, run_id: str) -> RunRecord:
        """Return a run by its id or the beginning of it."""
        return RunRecord.from_json(self._by_id("runs", run_id, "run"))

    def has_run(self, run_id: str) -> bool:
        """Return whether there is a run of exactly this id."""
        return bool(self.database.count("runs", f"id = {quote(run_id)}"))

    def save_run(self, run: RunRecord, predictions: pa.Table, model: bytes | None) -> None:
        """Write a run; its record comes last, so that a run that is listed is whole."""
        same = f"run = {quote(run.id)}"
        self.database.delete("predictions", same)
        self.database.append("predictions", predictions.select(PREDICTION_SCHEMA.names).cast(PREDICTION_SCHEMA))
        if model is not None:
            row = pa.table([[run.id], ["skops"], [model]], schema=_MODEL_SCHEMA)
            self.database.replace("models", row, "run")
        self._save("runs", {"id": run.id, "dataset": run.dataset}, run.to_json(), on=["id"])

    def predictions(self, run_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the predictions of a run in the order in which they were made."""
        return self.database.read("predictions", columns, f"run = {quote(self.run(run_id).id)}")

    def predictions_of(
        self, run_ids: Sequence[str], columns: Sequence[str] = PREDICTION_SCHEMA.names
    ) -> dict[str, pa.Table]:
        """Return the predictions of several runs, given by their whole ids, in one pass over the table.

        ``run`` is among the columns.
        """
        if not run_ids or not self.database.exists("predictions"):
            return dict.fromkeys(run_ids, PREDICTION_SCHEMA.empty_table().select(columns))
        listed = ", ".join(quote(run_id) for run_id in run_ids)
        return split_by_run(self.database.read("predictions", columns, f"run IN ({listed})"), run_ids)

    def model(self, run_id: str) -> bytes:
        """Return the serialised model of a run.

        Raises
        ------
        StoreError
            If the run has none.
        """
        run = self.run(run_id)
        where = f"run = {quote(run.id)}"
        if not self.database.exists("models") or not self.database.count("models", where):
            raise StoreError(f"The run {run.id} has no model.", next="Train it again with --force.")
        return bytes(self.database.read("models", ["data"], where).column("data")[0].as_py())

    # -- documents

    def _documents(self, table: str, where: str | None = None, *, key: str) -> list[dict[str, Any]]:
        if not self.database.exists(table):
            return []
        rows = self.database.read(table, [key, "document"], where).sort_by(key).to_pylist()
        # Each once, also where two processes made it, and the table, at the same moment.
        return [json.loads(text) for text in {row[key]: row["document"] for row in rows}.values()]

    def _save(
        self, table: str, keys: Mapping[str, str], document: Mapping[str, Any], on: list[str] | None = None
    ) -> None:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        row = pa.table({name: pa.array([value], pa.string()) for name, value in {**keys, "document": text}.items()})
        self.database.replace(table, row, on or list(keys))

    def _by_id(self, table: str, prefix: str, what: str) -> dict[str, Any]:
        exact = self._documents(table, f"id = {quote(prefix)}", key="id")
        if exact:
            return exact[0]
        long_enough = len(prefix) >= _ID_PREFIX and prefix.isalnum()
        found = self._documents(table, f"id LIKE '{prefix}%'", key="id") if long_enough else []
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(d["id"] for d in found)
            raise StoreError(f"The {what} {prefix!r} is ambiguous: {listed}.", next="Give more of its id.")
        short = "" if len(prefix) >= _ID_PREFIX else f"Give {_ID_PREFIX} characters of its id or more. "
        message = f"There is no {what} {prefix!r} in the store {self.uri}."
        raise StoreError(message, next=f"{short}See: histokit list {what}s")


def _once(rows: pa.Table) -> pa.Table:
    """Return the rows of a split, which are there several times where processes made it at the same moment."""
    if not len(rows):
        return rows
    first = rows.filter(pc.equal(rows.column("id"), rows.column("id")[0]))
    places = list(zip(first.column("repeat").to_pylist(), first.column("fold").to_pylist(), strict=True))
    return rows.slice(0, len(rows) * len(set(places)) // len(places))
