"""The outer folds of a split as rows of a feature matrix."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, counted
from histokit.store.split_records import TEST, Fold, Split

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class OuterFold:
    """One outer fold as rows of the feature matrix.

    Parameters
    ----------
    fold : Fold
        The ids of its samples.
    train : array of int
        Training and validation samples: what selection and tuning may see.
    test : array of int
    """

    fold: Fold
    train: Rows
    test: Rows


def find_outer_folds(
    split: Split,
    unit_of: Mapping[str, str],
    row_ids: list[str],
    notes: list[str],
    groups: Mapping[str, Any] | None = None,
) -> list[OuterFold]:
    """Find the rows of each fold; folds of which one side is empty are left out.

    Parameters
    ----------
    split : Split
    unit_of : dict
        Sample id → the row it is part of.
    row_ids : list of str
    notes : list of str
        Takes what a reader of the scores should know.
    groups : mapping, optional
        Sample id → its group.

    Raises
    ------
    DataError
        If a row is on both sides of a fold, or no fold has both sides.
    """
    place = {row_id: row for row, row_id in enumerate(row_ids)}
    # Looked up once: with repeats there are many folds of all samples.
    ids, numbered = split.numbered
    row_of = np.array([place[unit_of[i]] if i in unit_of else -1 for i in ids], np.intp)
    found: list[OuterFold] = []
    seen = np.zeros(len(row_ids), bool)
    left_out = 0
    folds = split.folds()
    for fold, each in zip(folds, numbered, strict=True):
        sides = [_marked(row_of[each.samples[side]], len(row_ids)) for side in (each.roles != TEST, each.roles == TEST)]
        both, train, test = (np.flatnonzero(side) for side in (sides[0] & sides[1], *sides))
        if len(both):
            raise DataError(
                f"The unit {row_ids[both[0]]!r} has samples in training and in test of fold {fold.fold}.",
                next=f"Aggregate over a column that the folds of {split.name!r} do not cut.",
            )
        if len(train) and len(test):
            found.append(OuterFold(fold, train, test))
            seen[train] = seen[test] = True
        else:
            left_out += 1
    if not found:
        raise no_fold_left(split, unit_of, groups)
    if left_out:
        forms = (
            f"of {len(folds):,} folds {is_} left out: no training or no test samples are left in {it}"
            for is_, it in (("is", "it"), ("are", "them"))
        )
        notes.append(counted(left_out, *forms))
    if not seen.all():
        samples = counted(int((~seen).sum()), "sample is", "samples are")
        notes.append(f"{samples} in no fold of the split {split.name!r}")
    return found


def no_fold_left(split: Split, samples: Collection[str], groups: Mapping[str, Any] | None) -> DataError:
    """Return the error of samples that no fold has on both of its sides, with the reason.

    Parameters
    ----------
    split : Split
    samples : collection of str
        The ids of those that are left.
    groups : mapping, optional
        Sample id → its group.
    """
    inside = {i for fold in split.folds() for ids in (fold.train, fold.val, fold.test) for i in ids}.intersection(
        samples
    )
    of = {str(group) for i, group in (groups or {}).items() if i in inside}
    if not inside:
        why = "none of the samples that are left is in one of its folds"
    elif len(of) == 1:
        why = f"all of them are of one {split.group or 'group'}, {of.pop()!r}, which folds do not divide"
    else:
        why = "in each fold, all of them are on one side"
    return DataError(
        f"No fold of the split {split.name!r} has training and test samples left: {why}.",
        next="Use another --split or --where.",
    )


def _marked(rows: Rows, count: int) -> NDArray[np.bool_]:
    """Return which of so many rows are among some; negative ones stand for none."""
    found = np.zeros(count, bool)
    found[rows[rows >= 0]] = True
    return found
