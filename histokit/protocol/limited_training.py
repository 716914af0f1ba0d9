"""Training sets that are limited to so many groups or samples of each class, drawn once or several times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, some
from histokit.protocol.split_drawing import Labelled, check_rows
from histokit.ranges import RANGES
from histokit.store.split_records import TEST, TRAIN, VAL, FoldRows, Split, rows_by_fold

_COVERING_DRAWS = 100
_COVERING_STEPS = 2000


def folds_within(split: Split, data: Labelled, repeats: int) -> Iterator[FoldRows]:
    """Return the folds of another split over labelled samples, so many times, to draw from; see `redrawn`.

    Raises
    ------
    DataError
        Also if a fold has no labelled samples to train or to test on.
    """
    rows = split.rows.filter(pc.is_in(split.rows.column("id"), pa.array(data.ids, pa.string())))
    for each in rows_by_fold(rows, data.ids):
        if not ((each.roles == TRAIN).any() and (each.roles == TEST).any()):
            raise DataError(
                f"Fold {each.fold} of the split {split.name!r} has no labelled samples to train or to test on.",
                next=f"Draw within another split: histokit list splits {split.dataset} --folds",
            )
    return redrawn(rows, data, repeats)


def redrawn(rows: pa.Table, data: Labelled, repeats: int) -> Iterator[FoldRows]:
    """Return each fold of some rows so many times, in repeats of their own.

    Raises
    ------
    DataError
        If there would be too many rows.
    UsageError
        If there would be too many repeats.
    """
    there, most = 1 + int(pc.max(rows.column("repeat")).as_py() or 0), int(RANGES["repeats"].high)
    if repeats > 1:
        if there * repeats > most:
            times = max(1, most // there)
            raise UsageError(
                f"The split would have {there * repeats:,} repeats; it may have {most:,}.",
                next=f"Draw at most {counted(times, 'time', 'times')}: --repeats {times}",
            )
        check_rows(int(pc.sum(pc.equal(rows.column("role"), "test")).as_py()), repeats)
    return (
        each._replace(repeat=each.repeat * repeats + draw)
        for each in rows_by_fold(rows, data.ids)
        for draw in range(repeats)
    )


def limited(
    folds: Iterator[FoldRows], data: Labelled, groups: int | None, per_class: int | None, seed: int, notes: list[str]
) -> Iterator[FoldRows]:
    """Draw so many groups for training in each fold, and of them so many samples of each class; where it is asked for.

    Raises
    ------
    UsageError
        If samples of each class are asked for, and the target is a number.
    """
    if groups is not None:
        folds = limit_groups(folds, data, groups, seed, notes)
    if per_class is not None:
        if not data.classes:
            raise UsageError(
                "Numbers have no classes, of each of which samples could be drawn.",
                next="Draw whole groups: --train-groups K",
            )
        folds = limit_classes(folds, data, per_class, seed, notes)
    return folds


def limit_classes(
    folds: Iterable[FoldRows], data: Labelled, count: int, seed: int, notes: list[str]
) -> Iterator[FoldRows]:
    """Draw so many training samples of each class in each fold; a larger number draws the same and others.

    Validation samples are left out: they are labelled, too. A class that a fold does not train on stays away.

    Raises
    ------
    DataError
        If a fold has fewer training samples of a class that it trains on.
    """
    classes, names = _coded(data.labels)
    place = np.empty(len(data.ids), np.intp)
    place[np.argsort(data.ids.astype(str), kind="stable")] = np.arange(len(data.ids))
    fewest: dict[str, int] = {}
    unused = False
    for each in folds:
        rng = np.random.default_rng([seed, each.repeat, each.fold])
        training = each.samples[each.roles == TRAIN]
        training = training[np.argsort(place[training])]
        drawn = [each.samples[each.roles == TEST]]
        for number in sorted(range(len(names)), key=names.__getitem__):
            members = training[classes[training] == number]
            if 0 < len(members) < count:
                fewest[names[number]] = min(len(members), fewest.get(names[number], len(members)))
            drawn.append(rng.permutation(members)[:count])
        unused = unused or bool((each.roles == VAL).any())
        kept = np.isin(each.samples, np.concatenate(drawn))
        yield FoldRows(each.repeat, each.fold, each.samples[kept], each.roles[kept])
    if fewest:
        raise _too_few(fewest, count)
    if unused:
        notes.append(f"validation samples are left out: {count} of each class are all that is learned from")


def _too_few(fewest: dict[str, int], count: int) -> DataError:
    listed = some([f"{name} ({found:,})" for name, found in sorted(fewest.items(), key=lambda pair: pair[1])])
    most = min(fewest.values())
    forms = ("class has", "classes have")
    return DataError(
        f"{counted(len(fewest), *forms)} fewer than {count:,} training samples in a fold: {listed}.",
        next=f"Draw at most {most}: histokit split DATASET --name NAME … --train-per-class {most}; or leave classes "
        "out: histokit split DATASET --name NAME --from FILE.csv, with id and fold of the samples of the others",
    )


def limit_groups(
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
