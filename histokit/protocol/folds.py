"""Samples into folds, so that no group is cut."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import some
from histokit.protocol.covering import counted, even_price, lone_classes, lost_classes, spread_classes
from histokit.store.filter_tokens import name_text, typed

Codes = NDArray[np.intp]

#: How often folds are drawn anew that leave a class out of training though its groups need not be together.
_ATTEMPTS = 5

#: What notes say of a class that cannot be both learned and tested.
IN_A_SINGLE = "in a single"

#: Of so many classes at least something is learned; so many are named in a filter.
_LEAST_CLASSES, _NAMED = 2, 5


def codes(values: Any) -> Codes:
    """Return each value's number among the sorted distinct values, as text."""
    return np.unique(np.asarray([str(v) for v in values]), return_inverse=True)[1]


def assign_folds(labels: Any, groups: Any, folds: int, seed: int, *, classes: bool = True) -> tuple[Codes, list[str]]:
    """Give every sample the number of the fold that tests it.

    Folds are stratified by label as far as groups allow, and there are never more of them than groups. A class of two
    groups or more is among the training samples of every fold wherever such folds are found.

    Parameters
    ----------
    labels : sequence of n labels
    groups : sequence of n group values, or None
        Without groups every sample is its own.
    folds : int
        At least 2.
    seed : int
    classes : bool
        Whether labels are classes, which notes name.

    Returns
    -------
    fold : (n,) array of int
        From 0 to the number of folds less one; none is empty.
    notes : list of str
        What was not as asked for.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    y = codes(labels)
    g = None if groups is None else codes(groups)
    fold, notes = _assign(y, g, folds, seed)
    if not classes:
        return fold, notes
    return fold, [*notes, *lacking(lone_classes(y, fold), y, g, labels, "training when it is tested")]


def _assign(y: Codes, g: Codes | None, folds: int, seed: int) -> tuple[Codes, list[str]]:
    available = len(y) if g is None else int(g.max(initial=-1)) + 1
    if available < 2:
        raise ValueError("folds need at least two groups")
    count, notes = min(folds, available), []
    if count < folds:
        notes.append(
            f"{count} folds instead of {folds}: there are only {available} {'samples' if g is None else 'groups'}"
        )
    fold, why = _draw_folds(y, g, count, seed)
    if why is not None:
        notes.append(f"the folds are not stratified: {why}")
    unit = np.arange(len(y)) if g is None else g
    if not len(lost_classes(y, unit, fold)):
        return fold, notes
    for attempt in range(_ATTEMPTS):
        other, its = _draw_folds(y, g, count, _another(seed, attempt))
        if its == why and not len(lost_classes(y, unit, other)):
            return other, notes
    counts, place = counted(y, unit), np.empty(available, np.intp)
    place[unit] = fold
    return spread_classes(counts, place, count, even_price(counts, count), seed)[unit], notes


def _another(seed: int, attempt: int) -> int:
    """Return a seed that is no repeat's."""
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0])


def _draw_folds(y: Codes, g: Codes | None, count: int, seed: int) -> tuple[Codes, str | None]:
    """Return folds, and why they are not stratified where they are not."""
    if np.bincount(y).max() < count:
        return _unstratified(g, len(y), count, seed), "every class has fewer samples than there are folds"
    fold = _stratified(y, g, count, seed)
    if fold is None:
        return _unstratified(g, len(y), count, seed), "one of them would be empty"
    return fold, None


def _stratified(y: Codes, g: Codes | None, count: int, seed: int) -> Codes | None:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = (StratifiedKFold if g is None else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        fold = _numbers(splitter.split(np.zeros(len(y)), y, g), len(y))
    return fold if len(np.unique(fold)) == count else None


def _unstratified(g: Codes | None, n: int, count: int, seed: int) -> Codes:
    units = np.arange(n) if g is None else g
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    fold_of_unit = np.empty(len(order), np.intp)
    for number, part in enumerate(np.array_split(order, count)):
        fold_of_unit[part] = number
    return fold_of_unit[units]


def _numbers(splits: Any, n: int) -> Codes:
    fold = np.full(n, -1, np.intp)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    return fold


def lacking(numbers: Codes, y: Codes, g: Codes | None, labels: Any, where: str) -> list[str]:
    """Say of classes that are on one side only what they lack, and whether that is for want of groups.

    Parameters
    ----------
    numbers : array of int
        Of these classes.
    y : (n,) array of int
    g : (n,) array of int, optional
        Numbers of groups.
    labels : sequence of n labels
    where : str
        Where no sample of them is.
    """
    what = "sample" if g is None else "group"
    single = np.isin(numbers, lone_classes(y, np.arange(len(y)) if g is None else g))
    reasons = ((numbers[single], f"{IN_A_SINGLE} {what}"), (numbers[~single], f"in {what}s that were not parted"))
    return [
        f"class {some([str(labels[int(np.argmax(y == number))]) for number in those], 3)} is {why}: no sample of it is "
        f"in {where}"
        for those, why in reasons
        if len(those)
    ]


def without_lone_classes(labels: Any, groups: Any, column: str, texts: bool, where: str | None) -> list[str]:
    """Say by which filter classes are left out that are in a single group, and so are never both learned and tested.

    Parameters
    ----------
    labels : sequence of n labels
    groups : sequence of n group values, or None
    column : str
        Of the labels.
    texts : bool
        Whether it holds texts.
    where : str, optional
        The filter that there is already.
    """
    y = codes(labels)
    lone = lone_classes(y, np.arange(len(y)) if groups is None else codes(groups))
    if not len(lone) or int(y.max()) + 1 - len(lone) < _LEAST_CLASSES or len(lone) > _NAMED:
        return []
    names = [str(labels[int(np.argmax(y == number))]) for number in lone]
    values = ["'" + name.replace("'", "''") + "'" if texts else name for name in names]
    condition = " AND ".join(
        [*([f"({where})"] if where else []), *(f"{name_text(column)} <> {value}" for value in values)]
    )
    what = f"the {'class' if len(lone) == 1 else 'classes'} of a single {'sample' if groups is None else 'group'}"
    return [f"to leave out {what}, give: --where {typed(condition)}"]


def of_other_classes(note: str, classes: Collection[str]) -> bool:
    """Tell whether a note of `lacking` is of no class but those that a filter has left out."""
    named = re.match(r"class (.+) is in (?:a single|groups|samples)\b", note)
    # Commas may be of a name.
    return named is not None and " more" not in named[1] and not any(f", {c}, " in f", {named[1]}, " for c in classes)


def inner_folds(labels: Any, groups: Any, folds: int, seed: int, *, classes: bool = True) -> tuple[Codes, list[str]]:
    """Give every training sample the number of the inner fold that tests it.

    As `assign_folds`, but a single group is cut into plain folds, with a note, and classes are not named in notes.
    """
    y, cut = codes(labels), groups is not None and len({str(g) for g in groups}) < 2
    fold, notes = _assign(y, None if groups is None or cut else codes(groups), folds, seed)
    if cut:
        notes.append("the inner folds cut the only group of the training samples")
    if classes and len(lone_classes(y, fold)):
        notes.append("an inner fold tests all samples of a class and has none to train on")
    return fold, notes
