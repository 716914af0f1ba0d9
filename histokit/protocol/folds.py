"""Samples into folds and hold-outs, so that no group is cut."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWS = 100


def codes(values: Any) -> NDArray[np.intp]:
    """Return each value's number among the sorted distinct values, as text."""
    return np.unique(np.asarray([str(v) for v in values]), return_inverse=True)[1]


def assign_folds(labels: Any, groups: Any, folds: int, seed: int) -> tuple[NDArray[np.intp], list[str]]:
    """Give every sample the number of the fold that tests it.

    Folds are stratified by label as far as groups allow, and there are never more of them than groups.

    Parameters
    ----------
    labels : sequence of n labels
    groups : sequence of n group values, or None
        Without groups every sample is its own.
    folds : int
        At least 2.
    seed : int

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
    available = len(y) if g is None else int(g.max(initial=-1)) + 1
    if available < 2:
        raise ValueError("folds need at least two groups")
    count, notes = min(folds, available), []
    if count < folds:
        notes.append(
            f"{count} folds instead of {folds}: there are only {available} {'samples' if g is None else 'groups'}"
        )
    fold = _stratified(y, g, count, seed)
    if fold is None:
        notes.append("the folds are not stratified: every class has fewer samples than there are folds")
        fold = _unstratified(g, len(y), count, seed)
    return fold, notes


def _stratified(y: NDArray[np.intp], g: NDArray[np.intp] | None, count: int, seed: int) -> NDArray[np.intp] | None:
    if np.bincount(y).max() < count:
        return None
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = (StratifiedKFold if g is None else StratifiedGroupKFold)(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        fold = _numbers(splitter.split(np.zeros(len(y)), y, g), len(y))
    return fold if len(np.unique(fold)) == count else None


def _unstratified(g: NDArray[np.intp] | None, n: int, count: int, seed: int) -> NDArray[np.intp]:
    units = np.arange(n) if g is None else g
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    fold_of_unit = np.empty(len(order), np.intp)
    for number, part in enumerate(np.array_split(order, count)):
        fold_of_unit[part] = number
    return fold_of_unit[units]


def _numbers(splits: Any, n: int) -> NDArray[np.intp]:
    fold = np.full(n, -1, np.intp)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    return fold


def draw_test(labels: Any, groups: Any, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw whole groups for a test set whose class counts come close to a fraction of all.

    Parameters
    ----------
    labels : sequence of n labels
    groups : sequence of n group values, or None
    fraction : float
        Between 0 and 1.
    seed : int

    Returns
    -------
    test : (n,) array of bool
        Neither empty nor full: of 100 random orders of the groups, the beginning of one of them
        whose class counts are nearest to `fraction` of each class.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    y = codes(labels)
    rng = np.random.default_rng(seed)
    if groups is None:
        return _draw_samples(y, fraction, rng)
    g = codes(groups)
    counts = np.zeros((int(g.max(initial=-1)) + 1, int(y.max(initial=-1)) + 1))
    np.add.at(counts, (g, y), 1)
    if len(counts) < 2:
        raise ValueError("a test set needs at least two groups")
    wanted, best, drawn = fraction * counts.sum(0), np.inf, np.arange(0)
    for _ in range(_DRAWS):
        order = rng.permutation(len(counts))
        distance = ((counts[order].cumsum(0)[:-1] - wanted) ** 2).sum(1)
        size = int(distance.argmin())
        if distance[size] < best:
            best, drawn = float(distance[size]), order[: size + 1]
    return np.isin(g, drawn)


def _draw_samples(y: NDArray[np.intp], fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    if len(y) < 2:
        raise ValueError("a test set needs at least two samples")
    test = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: round(fraction * len(members))]] = True
    if test.all() or not test.any():
        test[rng.integers(len(y))] ^= True
    return test


def inner_folds(labels: Any, groups: Any, folds: int, seed: int) -> tuple[NDArray[np.intp], list[str]]:
    """Give every training sample the number of the inner fold that tests it.

    As `assign_folds`, but a single group is cut into plain folds, with a note.
    """
    if groups is not None and len({str(g) for g in groups}) > 1:
        return assign_folds(labels, groups, folds, seed)
    fold, notes = assign_folds(labels, None, folds, seed)
    if groups is not None:
        notes.append("the inner folds cut the only group of the training samples")
    return fold, notes
