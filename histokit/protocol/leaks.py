"""The leak guard: nothing of a test set may have been seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import LeakageError, some
from histokit.plugin.digests import digest_bytes
from histokit.store.split_records import TEST, FoldRows, Split

_COLUMNS = 512
#: So many samples of each group are compared first.
_FIRST = 8
#: Ranges that lie apart are told where that would happen by chance in fewer of so many feature sets.
_BY_CHANCE = 1e-6

#: What notes on leaks say, by which comparisons know them.
TOO_GOOD, CAN_KNOW, SAY_NOTHING = "may be too good", "can know", "say nothing"


def check_groups(split: Split, groups_by_id: Mapping[str, Any] | None, column: str | None = None) -> list[str]:
    """Refuse a split that has a group, or a sample, on both sides of a fold.

    Parameters
    ----------
    split : Split
    groups_by_id : mapping, optional
        Sample id → value of the group column; none where the dataset names no group.
    column : str, optional
        The name of the group column, for messages.

    Returns
    -------
    notes : list of str
        The sentence on what leaks, where a published split declares it; such a split is let through.

    Raises
    ------
    LeakageError
        Naming the groups.
    """
    column = column or split.group or "group"
    ids, folds = split.numbered
    group_of, groups = _coded(groups_by_id or {}, ids)
    for fold in folds:
        is_test = fold.roles == TEST
        train, test = fold.samples[~is_test], fold.samples[is_test]
        _refuse(split, fold, sorted(ids[i] for i in _shared(train, test, len(ids))), "sample")
        if not split.leaks:
            both = _shared(group_of[train], group_of[test], len(groups))
            _refuse(split, fold, sorted(str(groups[i]) for i in both), column)
    return [f"split {split.name}: {split.leaks}"] if split.leaks else []


def _coded(by_id: Mapping[str, Any], ids: Sequence[str]) -> tuple[NDArray[np.intp], list[Any]]:
    """Return the number of the value of each id, -1 for those that have none, and the values."""
    number_of: dict[Any, int] = {}
    numbers = (number_of.setdefault(by_id[i], len(number_of)) if i in by_id else -1 for i in ids)
    return np.fromiter(numbers, np.intp, len(ids)), list(number_of)


def _shared(train: NDArray[np.integer], test: NDArray[np.integer], count: int) -> list[int]:
    """Return which of so many numbers are in both; negative ones stand for none."""
    seen = np.zeros((2, count), bool)
    for row, numbers in zip(seen, (train, test), strict=True):
        row[numbers[numbers >= 0]] = True
    found: list[int] = np.flatnonzero(seen.all(axis=0)).tolist()
    return found


def _refuse(split: Split, fold: FoldRows, values: list[str], what: str) -> None:
    if not values:
        return
    file = split.params.get("file")
    place = f"fold {fold.fold}" + (f" of repeat {fold.repeat}" if fold.repeat else "")
    mend = f"Put each {what} on one side in {file}" if file else "Use --split cv"
    if split.params.get("test_where"):
        mend = "Test another condition, add --ignore-groups to see what such folds would claim"
    raise LeakageError(
        f"In {place} of the split {split.name!r}, {what} {some(values)} {'is' if len(values) == 1 else 'are'} "
        "in training and in test.",
        next=f"{mend}, or make a split with: histokit split {split.dataset} --name NAME --folds 10",
        details={"split": split.name, "fold": fold.fold, "repeat": fold.repeat, what: values},
    )


def vector_digests(ids: Sequence[str], X: NDArray[np.floating]) -> dict[str, bytes]:
    """Return the digest of the (n, d) vectors of n samples: equal ones come from the same pixels in another file."""
    return {i: digest_bytes(row.tobytes()) for i, row in zip(ids, X, strict=True)} if X.shape[1] else {}


def duplicate_notes(split: Split, contents: Mapping[str, bytes], vectors: Mapping[str, bytes]) -> list[str]:
    """Report test samples that are training samples once more.

    Parameters
    ----------
    split : Split
    contents : mapping
        The digest of the bytes behind each sample.
    vectors : mapping
        That of its vector, see `vector_digests`.

    Returns
    -------
    notes : list of str
        A sentence with the number and an example for equal bytes and one for equal vectors, where there are any.
    """
    identical = _twins(split, contents)
    equal = {i: twin for i, twin in _twins(split, vectors).items() if i not in identical}
    return [
        f"{len(twins)} test sample{'s are' if len(twins) > 1 else ' is'} {how} training samples "
        f"(such as {' = '.join(next(iter(twins.items())))}): the scores {TOO_GOOD}; keep one of each"
        for twins, how in ((identical, "byte-identical to"), (equal, "equal in all features to"))
        if twins
    ]


def conflict_notes(contents: Mapping[str, bytes], labels: Mapping[str, Any], what: str = "label") -> list[str]:
    """Report images that are byte-identical and have different labels.

    Parameters
    ----------
    contents : mapping
        Sample id → the digest of the bytes behind it.
    labels : mapping
        Sample id → label, none where it has none.
    what : str
        The name of the column of the labels.
    """
    if _all_differ(contents):
        return []
    first: dict[tuple[bytes, str], str] = {}
    several: dict[bytes, dict[str, str]] = {}
    for sample_id, content in contents.items():
        if labels.get(sample_id) is not None and content is not None:
            label = str(labels[sample_id])
            first.setdefault((content, label), sample_id)
            several.setdefault(content, {})[label] = first[content, label]
    found = {content: names for content, names in several.items() if len(names) > 1}
    if not found:
        return []
    count = sum(contents[i] in found for i in contents if labels.get(i) is not None)
    example = " and ".join(f"{i} ({label})" for label, i in next(iter(found.values())).items())
    return [f"{count} byte-identical samples have different values of {what}, such as {example}: one of each is wrong"]


def _all_differ(digests: Mapping[str, bytes]) -> bool:
    """Return whether no two samples have the same digest, as mostly; that takes a fraction of finding those that do."""
    known = [digest for digest in digests.values() if digest is not None]
    return len(set(known)) == len(known)


def _twins(split: Split, digests: Mapping[str, bytes]) -> dict[str, str]:
    """Return the test samples that have the digest of a training sample in some fold, and that one."""
    if _all_differ(digests):
        return {}
    ids, folds = split.numbered
    digest_of, known = _coded({i: digest for i, digest in digests.items() if digest is not None}, ids)
    twins: dict[str, str] = {}
    for fold in folds:
        is_test = fold.roles == TEST
        # One more, for samples that have none. Of several samples with one digest the last one stays.
        sample_of = np.full(len(known) + 1, -1)
        sample_of[digest_of[fold.samples[~is_test]]] = fold.samples[~is_test]
        sample_of[-1] = -1
        test = fold.samples[is_test]
        twin = sample_of[digest_of[test]]
        found = zip(test[twin >= 0].tolist(), twin[twin >= 0].tolist(), strict=True)
        twins.update({ids[i]: ids[other] for i, other in found})
    return twins


def group_notes(
    X: NDArray[np.floating], groups: NDArray[np.object_] | None, columns: Sequence[str], group: str | None
) -> list[str]:
    """Report what makes group-wise folds mean less than they seem to.

    Parameters
    ----------
    X : (n, d) array
    groups : (n,) array of str, optional
    columns : sequence of d str
    group : str, optional
        What the groups are called.

    Returns
    -------
    notes : list of str
        One where every group has a single sample, and one with the columns that tell every group from every other:
        those with one value in each, and those whose ranges do not touch where chance does not bring that about
        (for groups of n₁, … nₖ of n samples, it does with the probability k! n₁! … nₖ! / n!).
    """
    if groups is None or not len(groups):
        return []
    names, number, counts = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    if len(names) < 2:
        return []
    if counts.max() == 1:
        return [
            f"every {group or 'group'} has one sample: folds that keep them together are plain folds; is it the right "
            "column?"
        ]
    order = np.argsort(number, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chance = lgamma(len(names) + 1) + sum(lgamma(count + 1) for count in counts) - lgamma(len(X) + 1)
    many, found = chance + log(max(1, X.shape[1])) < log(_BY_CHANCE), []
    # What tells all samples of the groups tells the first few of each: few columns are left to be looked at wholly.
    some_of_each = order[np.arange(len(order)) - np.repeat(starts, counts) < _FIRST]
    few = np.searchsorted(number[some_of_each], np.arange(len(names)))
    for first in range(0, X.shape[1], _COLUMNS):
        columns_here = np.arange(first, min(first + _COLUMNS, X.shape[1]))
        for rows, begins in ((some_of_each, few), (order, starts)):
            columns_here = columns_here[_apart(X[np.ix_(rows, columns_here)], begins, many)]
            if not len(columns_here):
                break
        found += columns_here.tolist()
    if not found:
        return []
    what, it = ("features tell", "them") if len(found) > 1 else ("feature tells", "it")
    listed, name = some([columns[column] for column in found]), group or "group"
    return [
        f"{len(found)} {what} every {name} from every other ({listed}): a classifier {CAN_KNOW} the {name} by {it}; "
        f"leave {it} out where that is no finding"
    ]


def _apart(part: NDArray[np.floating], starts: NDArray[np.intp], many: bool) -> NDArray[np.bool_]:
    """Return which columns have ranges that do not touch, of rows sorted by group, or if not many single values."""
    low, high = np.minimum.reduceat(part, starts), np.maximum.reduceat(part, starts)
    rank = np.argsort(low, axis=0, kind="stable")
    low, high = np.take_along_axis(low, rank, 0), np.take_along_axis(high, rank, 0)
    found: NDArray[np.bool_] = (high[:-1] < low[1:]).all(axis=0) & (many | (low == high).all(axis=0))
    return found


def samples_digest(ids: Sequence[str], contents: Sequence[bytes | None]) -> str:
    """Return the digest of samples and what is in their images, in whatever order, each once."""
    pairs = {(i, content) for i, content in zip(ids, contents, strict=True)}
    return digest_bytes(*sorted(repr(pair).encode() for pair in pairs)).hex()
