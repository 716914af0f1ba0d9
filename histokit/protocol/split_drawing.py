"""The rows of a split: folds, hold-outs and limited training sets of whole groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, counted
from histokit.plugin.digests import digest_texts
from histokit.protocol.folds import assign_folds
from histokit.protocol.holdouts import draw_test
from histokit.protocol.targets import NumberTarget
from histokit.ranges import RANGES, SEEDS
from histokit.store.split_records import TEST, TRAIN, FoldRows, parts_of_tuples

#: Folds are numbered in 16 bits.
MOST_FOLDS = int(RANGES["folds"].high)
#: Each sample is a row in each fold; so many take about 8 GB to make.
MOST_ROWS = 100_000_000
#: As many samples as a quintile has at least for a test set to be like the rest.
_HOLDOUT = 2
_COVERING_DRAWS = 100
_COVERING_STEPS = 2000
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


def limit_training(
    folds: Iterable[FoldRows], data: Labelled, count: int, seed: int, notes: list[str]
) -> Iterator[FoldRows]:
    """Draw groups for training in each fold, all classes covered wherever so many groups can cover them."""
    assert data.groups is not None
    groups, group_names = _coded(data.groups)
    classes, class_names = _coded(data.strata(1))
    said, short, places = [], 0, 0
    for each in folds:
        training = each.samples[each.roles != TEST]
        labels: dict[str, set[str]] = {}
        for pair in np.unique(groups[training] * len(class_names) + classes[training]).tolist():
            group, label = divmod(pair, len(class_names))
            labels.setdefault(group_names[group], set()).add(class_names[label])
        if len(labels) < count:
            found = counted(len(labels), "group", "groups")
            said.append(f"fold {each.fold} trains on {found} instead of {count}: there are no more")
        rng = np.random.default_rng([seed, each.repeat, each.fold])
        drawn = _covering_draw(labels, min(count, len(labels)), rng)
        short += set().union(*labels.values()) > set().union(*(labels[name] for name in drawn))
        places += 1
        is_drawn = np.array([name in drawn for name in group_names], bool)
        kept = (each.roles == TEST) | is_drawn[groups[each.samples]]
        yield FoldRows(each.repeat, each.fold, each.samples[kept], each.roles[kept])
    if short:
        wanted = "no group was found" if count == 1 else f"no {count} groups were found"
        what = "classes" if data.classes else "quintiles of the target"
        said.append(f"in {short} of {places} folds {wanted} with samples of all {what}")
    notes += said


def _coded(values: NDArray[np.object_]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each value as text, and the text of each number."""
    coded = pa.array([str(value) for value in values], pa.string()).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _covering_draw(labels: dict[str, set[str]], count: int, rng: np.random.Generator) -> set[str]:
    names, wanted = sorted(labels), set().union(*labels.values())
    best: set[str] = set()
    covered = -1
    for _ in range(_COVERING_DRAWS):
        drawn = {names[i] for i in rng.choice(len(names), count, replace=False)}
        found = len(set().union(*(labels[name] for name in drawn)))
        if found > covered:
            best, covered = drawn, found
        if covered == len(wanted):
            return best
    cover = _cover(labels, wanted, count, rng, iter(range(_COVERING_STEPS)))
    if cover is None:
        return best
    others = [name for name in rng.permutation(names).tolist() if name not in cover]
    return {*cover, *others[: count - len(cover)]}


def _cover(
    labels: dict[str, set[str]], missing: set[str], count: int, rng: np.random.Generator, steps: Iterator[int]
) -> list[str] | None:
    """Return at most so many groups that hold all missing classes: one of each group with the rarest is tried."""
    if not missing:
        return []
    if not count or next(steps, None) is None:
        return None
    holders = {label: [name for name in sorted(labels) if label in labels[name]] for label in sorted(missing)}
    for name in rng.permutation(min(holders.values(), key=len)).tolist():
        rest = _cover(labels, missing - labels[name], count - 1, rng, steps)
        if rest is not None:
            return [name, *rest]
    return None
