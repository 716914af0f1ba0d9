"""How a split can be asked for, and the rows of those that are drawn: folds and hold-outs of whole groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted
from histokit.plugin.digests import digest_texts
from histokit.protocol.folds import assign_folds
from histokit.protocol.holdouts import draw_test, one_sided
from histokit.protocol.targets import NumberTarget
from histokit.ranges import RANGES, SEEDS, check_ranges
from histokit.store.filters import Filter
from histokit.store.split_records import TEST, TRAIN, FoldRows, parts_of_tuples

#: Folds are numbered in 16 bits.
MOST_FOLDS = int(RANGES["folds"].high)
#: Each sample is a row in each fold; so many take about 8 GB to make.
MOST_ROWS = 100_000_000
#: As many samples as a quintile has at least for a test set to be like the rest.
_HOLDOUT = 2
#: Folds that cut the group of the data are refused, whatever column they are drawn over.
_FINER = (
    "If that is no leak, name a finer column as their group when the data are ingested (-o group=COLUMN); "
    "in histokit split, with --group COLUMN where another than theirs was named."
)


@dataclass(frozen=True)
class Labelled:
    """The samples that have a label, as arrays; labels that are numbers are there as `values`, too."""

    ids: NDArray[np.object_]
    labels: NDArray[np.object_]
    groups: NDArray[np.object_] | None
    values: NDArray[np.float64] | None = None

    @property
    def classes(self) -> bool:
        """Whether labels are classes."""
        return self.values is None

    def strata(self, folds: int) -> NDArray[np.object_]:
        """Return what so many folds are stratified by: classes, or of numbers the quintile."""
        if self.values is None:
            return self.labels
        return NumberTarget().strata(self.values, folds).astype(str).astype(object)

    @property
    def digest(self) -> str:
        """A digest of ids, labels and groups, whatever their order."""
        groups = self.labels if self.groups is None else self.groups
        columns = {"id": self.ids, "label": self.labels, "group": [str(group) for group in groups]}
        rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        rows = rows.sort_by([(name, "ascending") for name in columns])
        return digest_texts([pc.binary_join_element_wise(*parts_of_tuples(rows.columns), "")]).hex()


def check_how(
    *,
    test: float | None = None,
    folds: int | None = None,
    leave_one_group_out: bool | None = False,
    from_file: str | Path | None = None,
    within: str | None = None,
    test_where: str | None = None,
    repeats: int = 1,
    train_groups: int | None = None,
    train_per_class: int | None = None,
    column: str | None = None,
    ignore_groups: bool | None = False,
    bar: str | None = None,
) -> None:
    """Raise unless a split can be made in the way that is asked for; `column` is that of the groups.

    Raises
    ------
    UsageError
    """
    ways = sum(way is not None for way in (test, folds, from_file, within, test_where)) + bool(leave_one_group_out)
    choices = (
        "--test FRACTION, --test-where CONDITION, --folds N, --leave-one-group-out, --from FILE.csv or --within SPLIT"
    )
    if ways != 1:
        raise UsageError(f"A split needs one of {choices}; {ways} are given.", next=f"Give one of {choices}.")
    check_ranges(test=test, folds=folds, repeats=repeats, train_groups=train_groups, train_per_class=train_per_class)
    whole = train_groups is None and train_per_class is None
    if within is not None and whole:
        raise UsageError(
            f"The split would be {within!r} once more.",
            next="Say how much of its training part is drawn: --train-per-class N or --train-groups K.",
        )
    if repeats > 1 and whole and (from_file is not None or test_where is not None or leave_one_group_out):
        raise UsageError("Every repeat would be the same.", next="Leave out --repeats.")
    if ignore_groups and (
        leave_one_group_out or train_groups is not None or from_file is not None or within is not None
    ):
        raise UsageError(
            "Groups are ignored, and asked for.", next="Give --ignore-groups with --folds N, --test or --test-where."
        )
    if ignore_groups and column is None:
        raise UsageError("The dataset names no group that could be ignored.", next="Leave out --ignore-groups.")
    if column is None and (leave_one_group_out or train_groups is not None):
        raise UsageError(
            "The dataset names no group.",
            next="Name the column of the groups: histokit split DATASET --name NAME … --group COLUMN",
        )
    if bar is not None and not leave_one_group_out:
        raise UsageError("--bar is for one fold for each group.", next="Give it with --leave-one-group-out.")
    if bar is not None and bar == column:
        raise UsageError(f"{bar} is the group that is left out already.", next="Bar another column, such as a batch.")


def leave_one_out(data: Labelled, repeats: int, whole: bool = True) -> Iterator[FoldRows]:
    """Return the folds of a split in which each group is the test set once, the same in every repeat.

    Raises
    ------
    DataError
        If there is one group, or more than a split has folds.
    """
    assert data.groups is not None
    names, fold = np.unique(data.groups.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError("There is only one group, nothing would be left to train on.", next=_FINER)
    if len(names) > MOST_FOLDS:
        raise DataError(
            f"There are {len(names):,} groups; a split has at most {MOST_FOLDS:,} folds.",
            next="Draw folds of several groups: histokit split DATASET --name NAME --folds 10",
        )
    if whole:
        check_rows(len(names) * len(data.ids), repeats)
    return (each for repeat in range(repeats) for each in _folds(fold, repeat))


def tested_where(
    data: Labelled, samples: pa.Table, condition: str, repeats: int, notes: list[str]
) -> Iterator[FoldRows]:
    """Return the fold that tests the samples for which a condition holds, and trains on those for which it does not.

    Samples for which it is neither, because a value is missing, are in no part, which a note tells.

    Parameters
    ----------
    data : Labelled
    samples : pyarrow.Table
        Their columns.
    condition : str
        A filter, see `histokit.store.filters.Filter`.
    repeats : int
    notes : list of str

    Raises
    ------
    UsageError
        If it is no condition over the columns.
    DataError
        If it leaves nothing to test, or nothing to train on.
    """
    rows = samples.filter(pc.is_in(samples.column("id"), pa.array(data.ids, pa.string())))
    test, train = (np.asarray(Filter(text).mask(rows), bool) for text in (condition, f"NOT ({condition})"))
    for part, verb, is_there in (("test", "holds for none", test.any()), ("train on", "holds for all", train.any())):
        if not is_there:
            raise DataError(
                f"The condition {condition!r} {verb} of {len(rows):,} samples with a label: nothing is left to {part}.",
                next="Look at the values of its columns: histokit list samples DATASET",
            )
    unknown = len(rows) - int(test.sum()) - int(train.sum())
    if unknown:
        forms = ("sample is", "samples are")
        notes.append(f"{counted(unknown, *forms)} in no part: a value that the condition asks for is missing")
    if data.classes:
        notes += one_sided(data.labels, data.groups, test, train)
    roles = np.where(test, TEST, TRAIN).astype(np.int8)
    kept = np.flatnonzero(test | train)
    return (FoldRows(repeat, 0, kept, roles[kept]) for repeat in range(repeats))


def check_rows(rows: int, repeats: int) -> None:
    """Raise if a split would have more rows, in so many repeats of some, than can be worked with.

    Raises
    ------
    DataError
    """
    if rows * repeats <= MOST_ROWS:
        return
    made = "histokit split DATASET --name NAME"
    fewer = MOST_ROWS // rows
    how = f"Draw fewer folds, of several groups each: {made} --folds 10"
    if fewer:
        how = f"Draw them at most {counted(fewer, 'time', 'times')}: {made} … --repeats {fewer}"
    raise DataError(
        f"The split would have {rows * repeats:,} rows, one for each sample in each fold; it may have {MOST_ROWS:,}.",
        next=how,
    )


def drawn_rows(
    data: Labelled,
    test: float | None,
    folds: int | None,
    repeats: int,
    seed: int,
    notes: list[str],
    column: str | None,
    whole: bool = True,
) -> Iterator[FoldRows]:
    """Yield the folds of a split that is drawn: a test set, or folds, anew in each repeat.

    Parameters
    ----------
    data : Labelled
    test : float, optional
        The share of the test set.
    folds : int, optional
        Their number; a test set is drawn where not given.
    repeats, seed : int
    notes : list of str
        Takes what is to be known of the split.
    column : str, optional
        The group column, for messages.
    whole : bool
        Whether all rows are kept, of which there may be too many.

    Raises
    ------
    DataError
        If there is one group only, or one sample, or the split would be too large.
    """
    for repeat in range(repeats):
        try:
            if folds is None:
                strata = data.strata(_HOLDOUT)
                drawn, new = draw_test(strata, data.groups, test or 0, (seed + repeat) % SEEDS, classes=data.classes)
                fold = np.where(drawn, 0, -1)
            else:
                strata = data.strata(folds)
                fold, new = assign_folds(strata, data.groups, folds, (seed + repeat) % SEEDS, classes=data.classes)
        except ValueError:
            raise DataError(
                f"There is only one {column or 'sample'}: training and test cannot be kept apart.",
                next=_FINER,
            ) from None
        if whole and not repeat:
            check_rows((int(fold.max()) + 1) * len(data.ids), repeats)
        notes += [note for note in new if note not in notes]
        yield from _folds(fold, repeat)


def _folds(fold: NDArray[np.intp], repeat: int) -> Iterator[FoldRows]:
    """Yield the folds of samples that are tested in the fold of their number, or in none."""
    every = np.arange(len(fold))
    for number in range(int(fold.max()) + 1):
        yield FoldRows(repeat, number, every, np.where(fold == number, TEST, TRAIN).astype(np.int8))
