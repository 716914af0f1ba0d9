"""Making splits, and finding the one that is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, HistokitError, StoreError, UsageError, counted, did_you_mean
from histokit.plugin.values import known
from histokit.protocol.barred import leave_one_out_barred
from histokit.protocol.leaks import check_groups
from histokit.protocol.limited_training import folds_within, limited, redrawn
from histokit.protocol.split_drawing import Labelled, check_how, drawn_rows, leave_one_out, tested_where
from histokit.protocol.split_file import read_labelled_rows
from histokit.protocol.targets import find_type
from histokit.ranges import check_range
from histokit.store.records import NUMBER, DatasetRecord
from histokit.store.repeat_commands import split_command
from histokit.store.split_records import FoldRows, Split, fold_table

if TYPE_CHECKING:
    from histokit.store import Store

#: The splits that are made and stored on the spot, and how.
AUTOMATIC: dict[str, dict[str, Any]] = {
    "cv": {"folds": 10},
    "leave-one-group-out": {"leave_one_group_out": True},
    "holdout": {"test": 0.2},
}

#: Of a store, as long as it is open: the automatic split that was drawn last and is not kept, and of what it was drawn.
#: A plan asks its store for it with each of its pieces.
_DRAWN: WeakKeyDictionary[Store, tuple[tuple[Any, ...], Split]] = WeakKeyDictionary()


def _named(make: Callable[..., Split]) -> Callable[..., Split]:
    """Tell errors of making a split with the names of the dataset and of the split in the commands to type."""

    @wraps(make)
    def named(samples: pa.Table, record: DatasetRecord, name: str, **how: Any) -> Split:
        try:
            return make(samples, record, name, **how)
        except HistokitError as error:
            own = "NAME" if name.partition(".")[0] in AUTOMATIC else quote(name)
            said = error.next.replace(" DATASET --name NAME", f" {record.name} --name {own}")
            error.next = re.sub(r"(histokit [a-z ]+) DATASET\b", rf"\1 {record.name}", said)
            raise

    return named


@_named
def make_split(
    samples: pa.Table,
    record: DatasetRecord,
    name: str,
    *,
    group: str | None = None,
    test: float | None = None,
    folds: int | None = None,
    leave_one_group_out: bool = False,
    from_file: str | Path | None = None,
    within: Split | None = None,
    test_where: str | None = None,
    repeats: int = 1,
    train_groups: int | None = None,
    train_per_class: int | None = None,
    seed: int = 0,
    target: str | None = None,
    target_type: str | None = None,
    ignore_groups: bool = False,
    bar: str | None = None,
) -> Split:
    """Make a split of the labelled samples of a dataset.

    Exactly one of `test`, `test_where`, `folds`, `leave_one_group_out`, `from_file` and `within` says how. Folds are
    stratified as far as groups allow and capped by the number of groups; ``params["notes"]`` says where they were.

    Parameters
    ----------
    samples : pyarrow.Table
        Columns id, image, label and the group column.
    record : DatasetRecord
    name : str
        The name of the split.
    group : str, optional
        The column that no fold cuts through; the dataset's own where not given.
    test : float, optional
        The fraction of a hold-out test set.
    folds : int, optional
        The number of folds; each is the test set once.
    leave_one_group_out : bool
        Whether each group is the test set once.
    from_file : path, optional
        A CSV file, see `histokit.protocol.split_file.read_split_file`.
    within : Split, optional
        Another split, from whose training samples fewer are drawn; those that it tests stay.
    test_where : str, optional
        A filter over the columns: samples for which it holds are tested, those for which it does not are trained on.
    repeats : int
        How often to draw anew.
    train_groups : int, optional
        The number of groups to draw for training in each fold; the others are left out.
    train_per_class : int, optional
        The number of samples of each class to draw for training in each fold, of those groups where both are given.
    seed : int
    target : str, optional
        A column to stratify by in place of the label.
    target_type : str, optional
        ``class`` or ``number``, see `histokit.protocol.targets.find_type`; numbers are stratified by their quintiles.
    ignore_groups : bool
        Draw samples whatever group they are of, to show what scores folds would claim that leak. The split says that
        it leaks, and so does every run on it.
    bar : str, optional
        With `leave_one_group_out`, a column such as a batch: a fold for each group and batch, which trains on no
        sample of either; see `histokit.protocol.barred.leave_one_out_barred`.

    Returns
    -------
    Split

    Raises
    ------
    UsageError
        If it is not said how, or a column is unknown.
    DataError
        If there are no labels, too few groups, or too many rows.
    LeakageError
        If the dataset's group would be on both sides of a fold.
    """
    column = group or (within.group if within else None) or record.group
    how: dict[str, Any] = {"test": test, "folds": folds, "leave_one_group_out": leave_one_group_out or None}
    how |= {"bar": bar, "ignore_groups": ignore_groups or None, "within": within and within.name}
    how |= {"test_where": test_where}
    how |= {"train_groups": train_groups, "train_per_class": train_per_class}
    check_how(**how, from_file=from_file, repeats=repeats, column=column)
    seed = check_range("seed", seed)
    leaks = within.leaks if within else None
    if ignore_groups:
        leaks = f"it was drawn without regard to {column}: one {column} trains and tests"
    column = None if ignore_groups else column
    kind = find_type(samples.schema, target, target_type)
    data, notes = _labelled(samples, column, target, kind)
    whole = train_groups is None and train_per_class is None
    rows = None if from_file is None else read_labelled_rows(from_file, samples, data, record.root, column)
    made: Iterator[FoldRows]
    if within is not None:
        notes += [note for note in within.params.get("notes", []) if note not in notes]
        made = folds_within(within, data, repeats)
    elif rows is not None:
        made = redrawn(rows, data, repeats)
    elif test_where is not None:
        made = tested_where(data, samples, test_where, repeats, notes)
    elif bar is not None:
        batch_of = _by_id(samples, bar)
        made, said = leave_one_out_barred(data, _values(batch_of, data.ids), bar, str(column), repeats, whole)
        notes += said
    elif leave_one_group_out:
        made = leave_one_out(data, repeats, whole)
    else:
        made = drawn_rows(data, test, folds, repeats, seed, notes, column, whole)
    made = limited(made, data, train_groups, train_per_class, seed, notes)
    if rows is None or not whole:
        rows = fold_table(data.ids, made)
    how |= {"target": target, "target_type": kind if kind == NUMBER else None, "notes": notes or None}
    how |= {"barred": within.barred if within else None}
    how |= {"repeats": repeats if repeats > 1 else None, "file": None if from_file is None else str(from_file)}
    params = {key: value for key, value in how.items() if value is not None} | {"samples": data.digest}
    source = "generated" if from_file is None else "file"
    kept = (group or within.group) if within else column
    split = Split(record.name, name, rows, kept, seed, leaks, source, params)
    for name_of_groups in dict.fromkeys([record.group, kept, split.barred]):
        check_groups(split, _by_id(samples, name_of_groups), name_of_groups)
    return split


def _column(samples: pa.Table, name: str) -> list[Any]:
    if name not in samples.column_names:
        raise UsageError(
            f"The samples have no column {name!r}.",
            next=f"{did_you_mean(name, samples.column_names)}Their columns are: {', '.join(samples.column_names)}.",
        )
    return [known(value) for value in samples.column(name).to_pylist()]


def _by_id(samples: pa.Table, column: str | None) -> dict[str, Any] | None:
    return None if column is None else dict(zip(_column(samples, "id"), _column(samples, column), strict=True))


def _values(by_id: dict[str, Any] | None, ids: NDArray[np.object_]) -> NDArray[np.object_]:
    found = np.empty(len(ids), object)
    found[:] = [(by_id or {})[sample_id] for sample_id in ids]
    return found


def _labelled(
    samples: pa.Table, column: str | None, target: str | None, kind: str | None = None
) -> tuple[Labelled, list[str]]:
    labels = np.array(_column(samples, target or "label"), object)
    present = np.array([label is not None for label in labels], bool)
    what = f"value of {target!r}" if target else "label"
    if not present.any():
        raise DataError(
            f"None of the {len(samples)} samples has a {what}.",
            next="Ingest them with labels, or give --target COLUMN.",
        )
    ids = np.array(_column(samples, "id"), object)
    groups = None if column is None else np.array(_column(samples, column), object)
    absent = [] if groups is None else [i for i, g in zip(ids[present], groups[present], strict=True) if g is None]
    if absent:
        raise DataError(
            f"{counted(len(absent), 'sample has', 'samples have')} no value of the group {column!r}, such as "
            f"{absent[0]!r}.",
            next=f"Complete the column and ingest again, name another one with --group, or ingest with "
            f"-o group={column}, which makes each of them a group of its own.",
        )
    missing = len(labels) - int(present.sum())
    forms = (f"{each} without a {what} {is_} left out" for each, is_ in (("sample", "is"), ("samples", "are")))
    notes = [counted(missing, *forms)] if missing else []
    texts = np.array([str(label) for label in labels[present]], object)
    values = labels[present].astype(np.float64) if kind == NUMBER else None
    return Labelled(ids[present], texts, None if groups is None else groups[present], values), notes


def resolve_split(
    store: Store,
    dataset: str,
    name: str | None = None,
    *,
    target: str | None = None,
    target_type: str | None = None,
    keep: bool = True,
) -> Split:
    """Find the split that is meant, and make and store it where it is one of the automatic ones.

    Parameters
    ----------
    store : Store
    dataset : str
    name : str, optional
        A stored split, or ``cv`` (10 group folds), ``leave-one-group-out`` or ``holdout``. Where not
        given, the split without leaks that the data came with, else ``cv``.
    target, target_type : str, optional
        As of `make_split`: by the target an automatic split is stratified.
    keep : bool
        Store it where it is made.

    Returns
    -------
    Split

    Raises
    ------
    StoreError
        If the split is unknown, or the dataset has changed since it was made.
    """
    record = store.dataset(dataset)
    stored = store.split_headers(dataset)
    if name is None:
        published = [header for header in stored.values() if header["source"] == "published" and not header["leaks"]]
        name = min(published, key=lambda header: header["params"].get("order", 0))["name"] if published else "cv"
    how = AUTOMATIC.get(name)
    automatic = name not in stored or stored[name]["params"].get("automatic")
    samples = store.samples(dataset)
    kind = find_type(samples.schema, target, target_type)
    full_name = f"{name}.{target or 'label'}.{NUMBER}" if kind == NUMBER else f"{name}.{target}" if target else name
    full_name = full_name if how and automatic else name
    split = store.split(dataset, full_name) if full_name in stored else None
    if split is not None and not split.params.get("automatic"):
        _check_fresh(split, samples)
        return split
    if how is None:
        raise StoreError(
            f"The dataset {dataset!r} has no split {name!r}.",
            next=f"{did_you_mean(name, [*stored, *AUTOMATIC])}Always there: {', '.join(AUTOMATIC)}; others: "
            f"histokit list splits {dataset}. Make your own with: histokit split {dataset} --name NAME --folds 10",
        )
    digest = _labelled(samples, record.group, target, kind)[0].digest
    if split is not None and split.params["samples"] == digest:
        return split
    asked = (dataset, full_name, record.group, digest)
    of, split = _DRAWN.get(store, (None, None))
    if split is None or of != asked:
        split = make_split(samples, record, full_name, target=target, target_type=kind, **how)
        split = replace(split, params={**split.params, "automatic": True})
        _DRAWN[store] = asked, split
    if keep:
        _DRAWN.pop(store, None)
        store.save_split(split, stored.get(full_name, {}).get("digest"))
    return split


def _check_fresh(split: Split, samples: pa.Table) -> None:
    gone = sorted(set(split.rows.column("id").to_pylist()) - set(samples.column("id").to_pylist()))
    if gone:
        again = split_command(split) or "ingest the dataset again"
        raise StoreError(
            f"The split {split.name!r} is stale: {counted(len(gone), 'of its samples is', 'of its samples are')} no "
            f"longer in the dataset {split.dataset!r}, such as {gone[0]!r}.",
            next=f"Make it again: {again}",
        )
