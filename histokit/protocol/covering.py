"""No class missing from training, or from a test set, where another assignment of the groups keeps it there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.intp]
Price = Callable[[Codes], tuple[float, ...]]

_MOVES = 300
_AT_RANDOM = 0.2

#: Of so many units, and to so many parts, moves are compared at a time.
_COMPARED = 20


def counted(y: Codes, unit: Codes) -> NDArray[np.float64]:
    """Return the (units, classes) numbers of samples."""
    counts = np.zeros((int(unit.max(initial=-1)) + 1, int(y.max(initial=-1)) + 1))
    np.add.at(counts, (unit, y), 1)
    return counts


def lone_classes(y: Codes, part: Codes) -> Codes:
    """Return the classes that occur in a single part, such as a fold: the others have no sample of them."""
    pairs = np.unique(np.stack([y, part]), axis=1)
    return np.flatnonzero(np.bincount(pairs[0]) == 1)


def lost_classes(y: Codes, unit: Codes, part: Codes) -> Codes:
    """Return the classes of two units or more that one part has all of."""
    return np.setdiff1d(lone_classes(y, part), lone_classes(y, unit))


def even_price(counts: NDArray[np.float64], folds: int) -> Price:
    """Return what a placing of units in folds costs: classes lost in training, then uneven numbers of each class."""
    several = (counts > 0).sum(0) > 1

    def price(place: Codes) -> tuple[float, ...]:
        sums = np.zeros((folds, counts.shape[1]))
        np.add.at(sums, place, counts)
        return float((((sums > 0).sum(0) == 1) & several).sum()), float((sums**2).sum())

    return price


def spread_classes(counts: NDArray[np.float64], place: Codes, parts: int, price: Price, seed: int) -> Codes:
    """Move units until every class of two units or more is in two parts or more.

    A random walk that takes a unit of a lost class to where the price is lowest then, and now and then anywhere.

    Parameters
    ----------
    counts : (units, classes) array
        The numbers of samples.
    place : (units,) array of int
        The part of each unit; none gets empty.
    parts : int
    price : callable
        Placing → tuple, lower for better ones.
    seed : int

    Returns
    -------
    place : (units,) array of int
        The best that was met.
    """
    rng, place = np.random.default_rng(seed), place.copy()
    several = (counts > 0).sum(0) > 1
    best, lowest = place.copy(), price(place)
    for _ in range(_MOVES):
        held = np.zeros((parts, counts.shape[1]), bool)
        np.logical_or.at(held, place, counts > 0)
        lost = np.flatnonzero((held.sum(0) == 1) & several)
        if not len(lost):
            break
        members = rng.permutation(np.flatnonzero(counts[:, rng.choice(lost)]))[:_COMPARED]
        moves = [(unit, part) for unit in members for part in rng.permutation(parts)[:_COMPARED] if part != place[unit]]
        moved = [_moved(place, *move) for move in moves]
        place = moved[0] if rng.random() < _AT_RANDOM else min(moved, key=price)
        if price(place) < lowest:
            best, lowest = place.copy(), price(place)
    return best


def _moved(place: Codes, unit: int, part: int) -> Codes:
    moved = place.copy()
    moved[unit] = part
    return moved
