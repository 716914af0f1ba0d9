"""The store: datasets, samples, splits, problems, feature tables, selections, runs, predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote as shell_quote
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, did_you_mean
from histokit.store import vectors
from histokit.store.change_digests import column_digests
from histokit.store.database import Database, quote
from histokit.store.documents import Documents
from histokit.store.ingested_tables import Ingested
from histokit.store.problems import Problems
from histokit.store.records import OF_ATTEMPTS, DatasetRecord, SelectionRecord
from histokit.store.repeat_commands import made
from histokit.store.results import Results
from histokit.store.spilled_rows import SpilledRows
from histokit.store.split_records import Split
from histokit.store.split_tables import SplitTables
from histokit.store.stored_runs import StoredRuns
from histokit.store.vectors import FeatureTable

#: In place of what was there when a caller began: it does not matter.
ANY: Any = object()


class Store(StoredRuns):
    """A LanceDB database in a local folder, made on the first write.

    Parameters
    ----------
    uri : path
    """

    def __init__(self, uri: str | Path):
        self.uri = Path(uri)
        self.database = Database(self.uri)
        self._documents = Documents(self.database)
        self._splits = SplitTables(self._documents)
        self._results = Results(self._documents)
        self._problems = Problems(self.database)

    # -- datasets and samples

    def datasets(self) -> list[DatasetRecord]:
        """Return the datasets, by name."""
        return [DatasetRecord.from_json(d) for d in self._documents.find("datasets", key="name")]

    def dataset(self, name: str) -> DatasetRecord:
        """Return a dataset.

        Raises
        ------
        StoreError
            If it was not ingested, or there is no store.
        """
        if (found := self.find_dataset(name)) is None:
            self.database.require()
            self._refuse_run(name)
            hint = did_you_mean(name, [d.name for d in self.datasets()])
            source = f"PLUGIN ROOT --name {shell_quote(name)}"
            if Path(name).is_dir():
                source = f"folder {shell_quote(name)} --name NAME"
            raise StoreError(
                f"There is no dataset {name!r} in the store {self.uri}.",
                next=f"{hint}See: histokit list datasets. Make one with: histokit ingest {source}",
            )
        return found

    def _refuse_run(self, name: str) -> None:
        """Raise where what is said to be a dataset is the id of a run, or the beginning of it."""
        try:
            run = self.run(name)
        except StoreError:
            return
        raise StoreError(
            f"{name!r} is a run, where a dataset is asked for.", next=f"Give a dataset, such as its own: {run.dataset}."
        )

    def save_dataset(
        self,
        record: DatasetRecord,
        samples: pa.Table | SpilledRows,
        files: pa.Table | SpilledRows,
        splits: Sequence[Split] = (),
        problems: pa.Table | None = None,
        before: DatasetRecord | None = ANY,
    ) -> DatasetRecord:
        """Write a dataset with its published splits, in place of an earlier ingestion; all of it is seen at once.

        Parameters
        ----------
        record : DatasetRecord
        samples, files : pyarrow.Table or SpilledRows
        splits : sequence of Split
        problems : pyarrow.Table, optional
            Of ingestion.
        before : DatasetRecord, optional
            What was there when the caller began; by default, whatever is there is replaced.

        Returns
        -------
        DatasetRecord
            As stored.

        Raises
        ------
        StoreError
            If another process has written another dataset of this name since.
        """
        tables = {"samples": samples, "files": files}
        with self.database.committing():
            now = self.find_dataset(record.name)
            digests = {kind: column_digests(table) for kind, table in tables.items()}
            record = replace(record, digests=digests, published=[split.header() for split in splits])
            if before is not ANY and now is not None and now != before:
                if now.same_as(record):
                    return now
                raise StoreError(
                    f"Another process has just ingested other data as {record.name!r}.",
                    next="Choose another name, or run the same command again to replace them.",
                )
            for split in splits:
                self._splits.write_rows(split)
            versions = {kind: self.database.overwrite(f"{kind}.{record.name}", table) for kind, table in tables.items()}
            record = replace(record, versions=versions)
            self._documents.save("datasets", {"name": record.name}, record.stored())
            self._splits.forget_published(record.name)
            if problems is not None:
                self.replace_problems(record.name, "ingest", problems)
            self._splits.remove_others(record.name, self._splits.headers(record.name, record).values())
        return record

    def find_dataset(self, name: str) -> DatasetRecord | None:
        """Return the dataset of a name, if there is one."""
        found = self._documents.find("datasets", ("name", name), key="name")
        return DatasetRecord.from_json(found[0]) if found else None

    def samples(self, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Return the samples of a dataset in the order of ingestion; `where` is a filter over their columns.

        Raises
        ------
        StoreError
            If they are not those that were ingested.
        UsageError
            If there is no such column, or the filter is no condition over the columns.
        """
        return self.ingested(self.dataset(name), "samples").read(columns, where)

    def files(self, dataset: str) -> pa.Table | None:
        """Return the files that a dataset was ingested from, with size, mtime and digest."""
        record = self.find_dataset(dataset)
        return self.ingested(record, "files").read() if record and self.database.exists(f"files.{dataset}") else None

    def ingested(self, record: DatasetRecord, kind: str) -> Ingested:
        """Return what reads the ``samples`` or the ``files`` of a dataset as they were ingested."""
        return Ingested(self.database, record, kind)

    # -- splits

    def splits(self, dataset: str, unreadable: Callable[[StoreError], None] | None = None) -> list[Split]:
        """Return the splits of a dataset, by name; `unreadable` is told of errors, which are raised without it."""
        return self._splits.every(dataset, self.find_dataset(dataset), unreadable)

    def split_headers(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Return name → all but the rows of the splits of a dataset, by name; see `Split.header`."""
        return self._splits.headers(dataset, self.find_dataset(dataset))

    def split(self, dataset: str, name: str) -> Split:
        """Return a split.

        Raises
        ------
        StoreError
            If it was not made.
        """
        headers = self.split_headers(dataset)
        if name not in headers:
            raise StoreError(
                f"The dataset {dataset!r} has no split {name!r}.",
                next=f"{did_you_mean(name, headers)}See: histokit list splits {dataset}. "
                f"Make it with: histokit split {dataset} --name {name} --folds 10",
            )
        return self._splits.read(headers[name])

    def split_digest(self, dataset: str, name: str) -> str | None:
        """Return the digest of a split, or none where there is none of this name."""
        return self.split_headers(dataset).get(name, {}).get("digest")

    def save_split(self, split: Split, before: str | None = ANY) -> None:
        """Write a split, in place of one of the same name.

        Parameters
        ----------
        split : Split
        before : str, optional
            The digest of what was there when the caller began; by default, whatever is there is replaced.

        Raises
        ------
        StoreError
            If another process has made another split of this name since, or has removed the dataset.
        """
        with self.database.committing():
            self.dataset(split.dataset)
            headers = self.split_headers(split.dataset)
            now = headers.get(split.name, {}).get("digest")
            if before is not ANY and now not in (None, split.digest, before):
                raise StoreError(
                    f"Another process has just made the split {split.name!r} of {split.dataset!r} in another way.",
                    next="Choose another name, or run the same command again to replace it.",
                )
            self._splits.write_rows(split)
            keys = {"dataset": split.dataset, "name": split.name}
            self._documents.save("splits", keys, split.header())
            self._splits.remove_others(split.dataset, {**headers, split.name: split.header()}.values())

    # -- problems

    def problems(self, dataset: str) -> pa.Table:
        """Return the samples of a dataset that could not be read, and why."""
        return self._problems.read(dataset)

    def forget_problems(self, dataset: str) -> None:
        """Forget all problems but those of ingestion, so that the samples are tried again."""
        self.database.delete("problems", f"dataset = {quote(dataset)} AND {OF_ATTEMPTS}")

    def replace_problems(self, dataset: str, stage: str, rows: pa.Table, ids: Iterable[str] | None = None) -> None:
        """Replace the problems of a stage, of the given samples or of all, by new ones."""
        self._problems.replace(dataset, stage, rows, ids)

    # -- features

    def feature_tables(self, dataset: str | None = None) -> list[FeatureTable]:
        """Return the feature tables of a dataset, or of all, in depth order for each backbone."""
        return vectors.list_tables(self.database, dataset)

    def create_feature_table(
        self, dataset: str, spec: Mapping[str, Any], width: int, info: Mapping[str, Any]
    ) -> FeatureTable:
        """Make the feature table of a spec, or return the one that is there."""
        table = vectors.create_table(self.database, dataset, spec, width, info)
        self.database.remember_features(table.name, made(table))
        return table

    def remembered(self, key: str) -> dict[str, Any] | None:
        """Return what `remember` wrote under a key."""
        # What is damaged is found out again.
        return next((document for _, document in self._documents.sound("backbones", f"key = {quote(key)}")), None)

    def remember(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep how a backbone was resolved, so that the next time needs no deep learning library."""
        self._documents.save("backbones", {"key": key}, document)

    # -- selections

    def selections(self, dataset: str | None = None) -> list[SelectionRecord]:
        """Return the selections, oldest first; each may hold megabytes, see `each_selection`."""
        found = {selection.id: selection for selection in self.each_selection(dataset)}
        return sorted(found.values(), key=lambda s: (s.created, s.id))

    def each_selection(self, dataset: str | None = None) -> Iterator[SelectionRecord]:
        """Yield the selections one after the other, as they were written."""
        where = None if dataset is None else f"dataset = {quote(dataset)}"
        yield from map(SelectionRecord.from_json, self._documents.each("selections", where))

    def ids(self, table: str) -> list[str]:
        """Return the ids of what is in ``selections`` or ``runs``."""
        return self._documents.ids(table)

    def selection(self, selection_id: str) -> SelectionRecord:
        """Return a selection by its id or the beginning of it."""
        return SelectionRecord.from_json(self._documents.by_id("selections", selection_id, "selection"))

    def has_selection(self, selection_id: str) -> bool:
        """Return whether there is a selection of exactly this id."""
        return self.dataset_of("selections", selection_id) is not None

    def dataset_of(self, table: str, identity: str) -> str | None:
        """Return the dataset of what is of exactly this id in ``selections`` or ``runs``, if anything is."""
        return self._documents.dataset_of(table, identity)

    def save_selection(self, selection: SelectionRecord) -> None:
        """Write a selection."""
        keys = {"id": selection.id, "dataset": selection.dataset}
        self._documents.save("selections", keys, selection.stored(), on=["id"])
