"""What the store holds, as tables for people and as JSON documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, NamedTuple

from histokit.errors import HistokitError, StoreError, UnreachableError
from histokit.layout import prose
from histokit.store.fold_sets import SET_COLUMNS, class_counts, fold_sets, set_rows
from histokit.store.split_records import Split
from histokit.store.store import Store
from histokit.store.tables import again_or_without
from histokit.store.vectors import list_tables

#: Called with what cannot be read.
Miss = Callable[[HistokitError], None]


class ListedRecords(NamedTuple):
    """The columns and the rows of a table for people, and the documents of the same, one by one."""

    columns: list[str]
    rows: list[list[Any]]
    documents: list[dict[str, Any]]


def listed_datasets(store: Store, miss: Miss) -> ListedRecords:
    """Return the datasets."""
    documents, rows = [], []
    for record in store.datasets():
        groups = _group_count(store, record.name, record.group, miss)
        documents.append({**record.to_json(), "groups": groups})
        given = (record.group, groups, record.root, record.licence)
        rows.append([record.name, record.plugin, record.count, class_counts(record.labels), *given])
    columns = ["dataset", "plugin", "samples", "classes", "group", "groups", "root", "licence"]
    # Most datasets are one's own.
    if all(row[-1] is None for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return ListedRecords(columns, rows, documents)


def _group_count(store: Store, dataset: str, group: str | None, miss: Miss) -> int | None:
    if group is None:
        return None
    try:
        return len(store.samples(dataset, [group]).column(group).unique())
    except (StoreError, UnreachableError) as error:
        miss(error)
        return None


def _splits(store: Store, dataset: str, miss: Miss) -> list[Split]:
    try:
        return store.splits(dataset, unreadable=miss)
    except UnreachableError as error:
        miss(error)
        return []


def listed_splits(store: Store, datasets: Iterable[str], folds: bool, miss: Miss) -> ListedRecords:
    """Return the splits of datasets, or what each of their folds trains and tests on."""
    documents, rows = [], []
    for name in datasets:
        for split in _splits(store, name, miss):
            sets = {"sets": fold_sets(split, store)} if folds else {}
            documents.append({**split.header(), "folds": split.fold_count, **sets})
            rows.append([name, split.name, split.source, split.fold_count, split.group, split.seed, prose(split.leaks)])
    if folds:
        return ListedRecords(SET_COLUMNS, set_rows(documents), documents)
    return ListedRecords(["dataset", "split", "source", "folds", "group", "seed", "leaks"], rows, documents)


def listed_features(store: Store, datasets: Iterable[str], miss: Miss) -> ListedRecords:
    """Return the feature tables of datasets; those that are gone are missed."""
    documents, rows = [], []
    for name in datasets:
        for table in list_tables(store.database, name, unreadable=miss):
            count = store.database.count(table.name)
            document = {"dataset": name, "address": table.address, "width": table.width, "rows": count}
            document |= {"fingerprint": table.fingerprint, "table": table.name, "dtype": table.dtype}
            document["weights"] = table.weights
            documents.append({**document, "spec": dict(table.spec), "info": dict(table.info)})
            weights = PurePath(table.weights).name
            rows.append([name, table.address, table.width, count, table.fingerprint, weights, table.dtype])
        for lost in store.database.lost_features(name).values():
            what = f"The features {lost.address} of {name!r} were in the store, and are gone."
            miss(StoreError(what, next=again_or_without(lost.again)))
    columns = ["dataset", "address", "width", "rows", "fingerprint", "weights", "stored as"]
    if all(document["dtype"] == "float32" for document in documents):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return ListedRecords(columns, rows, documents)
