"""The outer folds of a split as rows of a feature matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, counted
from histokit.store.split_records import Fold, Split

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


def find_outer_folds(split: Split, unit_of: dict[str, str], row_ids: list[str], notes: list[str]) -> list[OuterFold]:
    """Find the rows of each fold; folds of which one side is empty are left out.

    Parameters
    ----------
    split : Split
    unit_of : dict
        Sample id → the row it is part of.
    row_ids : list of str
    notes : list of str
        Takes what a reader of the scores should know.

    Raises
    ------
    DataError
        If a row is on both sides of a fold, or no fold has both sides.
    """
    row_of = {row_id: row for row, row_id in enumerate(row_ids)}
    found: list[OuterFold] = []
    seen: set[int] = set()
    left_out = 0
    folds = split.folds()
    for fold in folds:
        train = _rows([*fold.train, *fold.val], unit_of, row_of)
        test = _rows(fold.test, unit_of, row_of)
        both = sorted(set(train).intersection(test))
        if both:
            raise DataError(
                f"The unit {row_ids[both[0]]!r} has samples in training and in test of fold {fold.fold}.",
                next=f"Aggregate over a column that the folds of {split.name!r} do not cut.",
            )
        if len(train) and len(test):
            found.append(OuterFold(fold, train, test))
            seen.update(train, test)
        else:
            left_out += 1
    if not found:
        raise DataError(
            f"No fold of the split {split.name!r} has training and test samples left.",
            next="Use another --split or --where.",
        )
    if left_out:
        forms = (
            f"of {len(folds):,} folds {is_} left out: no training or no test samples are left in {it}"
            for is_, it in (("is", "it"), ("are", "them"))
        )
        notes.append(counted(left_out, *forms))
    if len(seen) < len(row_ids):
        samples = counted(len(row_ids) - len(seen), "sample is", "samples are")
        notes.append(f"{samples} in no fold of the split {split.name!r}")
    return found


def _rows(ids: list[str], unit_of: dict[str, str], row_of: dict[str, int]) -> Rows:
    return np.unique(np.array([row_of[unit_of[i]] for i in ids if i in unit_of], np.intp))
