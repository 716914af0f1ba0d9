"""Hold-out test sets of whole groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.protocol.covering import Codes, counted, spread_classes
from histokit.protocol.folds import codes, lacking

_DRAWS = 100

#: How often groups are drawn anew where a class of several groups is on one side only.
_MORE_DRAWS = 300

#: By how much a test set may be larger than asked for so that all classes are in it.
_LARGER = 2.0


def draw_test(
    labels: Any, groups: Any, fraction: float, seed: int, *, classes: bool = True
) -> tuple[NDArray[np.bool_], list[str]]:
    """Draw whole groups for a test set whose class counts come close to a fraction of all.

    Parameters
    ----------
    labels : sequence of n labels
    groups : sequence of n group values, or None
    fraction : float
        Between 0 and 1.
    seed : int
    classes : bool
        Whether labels are classes, which notes name.

    Returns
    -------
    test : (n,) array of bool
        Neither empty nor full: of 100 random orders of the groups, the beginning of one of them
        whose class counts are nearest to `fraction` of each class. Where a class of two groups or more is then on one
        side only, others are looked for that have it on both sides and are at most twice as large as asked for.
    notes : list of str
        Which classes are on one side only.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    y = codes(labels)
    g = None if groups is None else codes(groups)
    rng = np.random.default_rng(seed)
    test = _draw_samples(y, fraction, rng) if g is None else _draw_groups(counted(y, g), fraction, rng, seed)[g]
    return test, one_sided(labels, groups, test, ~test) if classes else []


def one_sided(labels: Any, groups: Any, test: NDArray[np.bool_], train: NDArray[np.bool_]) -> list[str]:
    """Say which classes are in the test set or in training alone, of samples given as for `draw_test`."""
    y, g = codes(labels), None if groups is None else codes(groups)
    sides = ((train, test, "the test set"), (test, train, "training"))
    return [
        note for here, there, name in sides for note in lacking(np.setdiff1d(y[here], y[there]), y, g, labels, name)
    ]


def _draw_groups(
    counts: NDArray[np.float64], fraction: float, rng: np.random.Generator, seed: int
) -> NDArray[np.bool_]:
    if len(counts) < 2:
        raise ValueError("a test set needs at least two groups")
    total, several = counts.sum(0), (counts > 0).sum(0) > 1

    def prices(inside: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of test sets with so many samples of each class: classes lost in training, too large, lost in the test."""
        no_test, no_training = (((side == 0) & several).sum(1) for side in (inside, total - inside))
        large = inside.sum(1) > _LARGER * fraction * total.sum()
        return np.stack([no_training, large, no_test, ((inside - fraction * total) ** 2).sum(1)], axis=1)

    def price(place: Codes) -> tuple[float, ...]:
        return tuple(prices(place[None] @ counts)[0])

    def nearest(draws: int, by: slice) -> Codes:
        best, lowest = np.zeros(len(counts), np.intp), (np.inf,)
        for _ in range(draws):
            order = rng.permutation(len(counts))
            found = prices(counts[order].cumsum(0)[:-1])[:, by]
            size = int(np.lexsort(found.T[::-1])[0])
            if tuple(found[size]) < lowest:
                best, lowest = np.isin(np.arange(len(counts)), order[: size + 1]).astype(np.intp), tuple(found[size])
        return best

    test = nearest(_DRAWS, slice(3, 4))
    if price(test)[0] or price(test)[2]:
        test = min(test, nearest(_MORE_DRAWS, slice(0, 4)), key=price)
        test = spread_classes(counts, test, 2, price, seed)
    return test.astype(bool)


def _draw_samples(y: Codes, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    if len(y) < 2:
        raise ValueError("a test set needs at least two samples")
    members = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    taken = [min(round(fraction * len(rows)), max(1, len(rows) - 1)) for rows in members]
    for number, rows in enumerate(members):
        if not taken[number] and len(rows) > 1 and sum(taken) < _LARGER * fraction * len(y):
            taken[number] = 1
    test = np.zeros(len(y), bool)
    for rows, count in zip(members, taken, strict=True):
        test[rows[:count]] = True
    if test.all() or not test.any():
        test[rng.integers(len(y))] ^= True
    return test
