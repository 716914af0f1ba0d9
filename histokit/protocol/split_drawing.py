"""The rows of a split: folds, hold-outs and limited training sets of whole groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, counted
from histokit.plugin.digests import digest_bytes
from histokit.protocol.folds import assign_folds
from histokit.protocol.holdouts import draw_test
from histokit.protocol.targets import NumberTarget
from histokit.ranges import RANGES, SEEDS

#: Repeat, fold, sample id, role.
Row = tuple[int, int, str, str]
#: Folds are numbered in 16 bits.
MOST_FOLDS = int(RANGES["folds"].high)
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
        rows = sorted(zip(self.ids, self.labels, map(str, groups), strict=True))
        return digest_bytes(*(repr(row).encode() for row in rows)).hex()


def leave_one_out(data: Labelled, repeats: int) -> list[Row]:
    """Return rows of a split in which each group is the test set once, the same in every repeat.

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
    return [row for repeat in range(repeats) for row in _rows(data.ids, fold, repeat)]


def drawn_rows(
    data: Labelled,
    test: float | None,
    folds: int | None,
    repeats: int,
    seed: int,
    notes: list[str],
    column: str | None,
) -> list[Row]:
    """Return rows of a split that is drawn: a test set, or folds, anew in each repeat.

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

    Raises
    ------
    DataError
        If there is one group only, or one sample.
    """
    rows: list[Row] = []
    for repeat in range(repeats):
        try:
            if folds is None:
                strata = data.strata(_HOLDOUT)
                drawn, new = draw_test(strata, data.groups, test or 0, (seed + repeat) % SEEDS, classes=data.classes)
                new_rows = [(repeat, 0, i, "test" if t else "train") for i, t in zip(data.ids, drawn, strict=True)]
            else:
                strata = data.strata(folds)
                fold, new = assign_folds(strata, data.groups, folds, (seed + repeat) % SEEDS, classes=data.classes)
                new_rows = _rows(data.ids, fold, repeat)
        except ValueError:
            raise DataError(
                f"There is only one {column or 'sample'}: training and test cannot be kept apart.",
                next=_FINER,
            ) from None
        notes += [note for note in new if note not in notes]
        rows += new_rows
    return rows


def _rows(ids: NDArray[np.object_], fold: NDArray[np.intp], repeat: int) -> list[Row]:
    return [
        (repeat, number, sample_id, "test" if tested == number else "train")
        for number in range(int(fold.max()) + 1)
        for sample_id, tested in zip(ids, fold, strict=True)
    ]


def limit_training(rows: list[Row], data: Labelled, count: int, seed: int, notes: list[str]) -> list[Row]:
    """Draw groups for training in each fold, all classes covered wherever so many groups can cover them."""
    assert data.groups is not None
    group_of = dict(zip(data.ids, map(str, data.groups), strict=True))
    label_of = dict(zip(data.ids, data.strata(1), strict=True))
    kept, short = [], 0
    places = sorted({row[:2] for row in rows})
    for place in places:
        here = [row for row in rows if row[:2] == place]
        training = [row[2] for row in here if row[3] != "test"]
        labels: dict[str, set[str]] = {}
        for sample_id in training:
            labels.setdefault(group_of[sample_id], set()).add(label_of[sample_id])
        if len(labels) < count:
            groups = counted(len(labels), "group", "groups")
            notes.append(f"fold {place[1]} trains on {groups} instead of {count}: there are no more")
        drawn = _covering_draw(labels, min(count, len(labels)), np.random.default_rng([seed, *place]))
        short += set().union(*labels.values()) > set().union(*(labels[name] for name in drawn))
        kept += [row for row in here if row[3] == "test" or group_of[row[2]] in drawn]
    if short:
        wanted = "no group was found" if count == 1 else f"no {count} groups were found"
        what = "classes" if data.classes else "quintiles of the target"
        notes.append(f"in {short} of {len(places)} folds {wanted} with samples of all {what}")
    return kept


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
