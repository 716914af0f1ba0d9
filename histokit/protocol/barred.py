"""Folds that bar the neighbours of a test sample from training, such as all samples of its batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, counted
from histokit.features import FeatureSet
from histokit.protocol.split_drawing import MOST_FOLDS, Labelled, check_rows
from histokit.store.split_records import TEST, TRAIN, FoldRows, Split


def leave_one_out_barred(
    data: Labelled, bars: NDArray[np.object_], bar: str, group: str, repeats: int = 1, whole: bool = True
) -> tuple[Iterator[FoldRows], list[str]]:
    """Return a fold for each group and batch: no training sample is of the group, nor of the batch, of the tested ones.

    Samples of which no sample of the same class is left to train on are never tested.

    Parameters
    ----------
    data : Labelled
    bars : (n,) array
        The batch of each sample, or what else is barred.
    bar, group : str
        What batches and groups are called.
    repeats : int
    whole : bool
        Whether all rows are kept, of which there may be too many.

    Raises
    ------
    DataError
        If a sample has no batch, nothing is left to test, or the split would be too large.
    """
    absent = data.ids[[value is None for value in bars]]
    if len(absent):
        raise DataError(
            f"{counted(len(absent), 'sample has', 'samples have')} no value of {bar!r}, such as {absent[0]!r}.",
            next="Complete the column and ingest again, or bar another one.",
        )
    groups, batches = np.asarray(data.groups).astype(str), bars.astype(str)
    # Numbers need no training sample that is alike.
    labels = data.labels.astype(str) if data.classes else np.zeros(len(groups), str)
    untested = np.ones(len(groups), bool)
    found, rows = [], 0
    for name, batch in sorted(set(zip(groups.tolist(), batches.tolist(), strict=True))):
        train = (groups != name) & (batches != batch)
        test = (groups == name) & (batches == batch) & np.isin(labels, labels[train])
        if test.any():
            found.append((name, batch, np.flatnonzero(test)))
            rows += int(train.sum()) + len(found[-1][-1])
            untested &= ~test
    fold = len(found)
    if not fold:
        raise DataError(
            f"Without the {group} and the {bar} of a sample, no other one of its class is left to train on.",
            next=f"Bar a finer column than {bar}, or none.",
        )
    if fold > MOST_FOLDS:
        raise DataError(
            f"There are {fold:,} pairs of {group} and {bar}; a split has at most {MOST_FOLDS:,} folds.",
            next="Name coarser columns with --group COLUMN and --bar COLUMN.",
        )
    if whole:
        check_rows(rows, repeats)

    def folds() -> Iterator[FoldRows]:
        for repeat in range(repeats):
            for number, (name, batch, test) in enumerate(found):
                train = np.flatnonzero((groups != name) & (batches != batch))
                roles = np.repeat(np.array([TEST, TRAIN], np.int8), [len(test), len(train)])
                yield FoldRows(repeat, number, np.concatenate([test, train]), roles)

    return folds(), _notes(data, untested, batches, bar, group)


def _notes(data: Labelled, untested: NDArray[np.bool_], batches: NDArray[Any], bar: str, group: str) -> list[str]:
    if not untested.any():
        return []
    listed = []
    for label in sorted(set(data.labels[untested])):
        own = data.labels == label
        where = sorted(set(batches[own].tolist()))
        only = f", all in the {bar} {where[0]!r}" if len(where) == 1 else ""
        listed.append(f"{label!r} ({counted(int((untested & own).sum()), 'sample', 'samples')}{only})")
    count = int(untested.sum())
    are, their, they = ("is", "its", "it is") if count == 1 else ("are", "their", "they are")
    return [
        f"{count:,} of {len(untested):,} samples {are} not tested, since outside {their} {group} and {bar} no sample "
        f"of {their} class is left to train on: {', '.join(listed)}; {they} trained on where others are tested"
    ]


def check_bar(split: Split, units: FeatureSet) -> None:
    """Refuse units that hold samples of several batches, where a split bars batches.

    Raises
    ------
    DataError
    """
    bar = split.barred
    if bar is None:
        return
    mixed = [unit for unit, batch in zip(units.sample_ids, units.column(bar), strict=True) if batch is None]
    if mixed:
        raise DataError(
            f"{counted(len(mixed), 'unit holds', 'units hold')} samples of several values of {bar}, such as "
            f"{mixed[0]!r}: the split "
            f"{split.name!r} bars the {bar} of what is tested.",
            next=f"Aggregate over a column whose units lie in one {bar} each, or use a split without --bar.",
        )
