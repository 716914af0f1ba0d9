"""Where 16-byte digests occur among those of a dataset, in arrays: 24 bytes a sample, and nothing to hash."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histokit.store.digest_columns import Digests

Positions = npt.NDArray[np.intp]


class Lookup:
    """Finds the positions of digests.

    Parameters
    ----------
    digests : (n,) array of 16-byte strings
        May hold a digest several times.
    positions : (n,) array of int
        Where each digest is, ascending.
    """

    def __init__(self, digests: Digests, positions: Positions):
        order = np.argsort(digests, kind="stable")
        self._digests = digests[order]
        self._positions = positions[order]

    def find(self, digests: Digests) -> tuple[Positions, Positions]:
        """Return all pairs of an index in `digests` and a position that has the same digest."""
        # Sorted, neighbours are looked for in the same part of the memory: many times as fast.
        order = np.argsort(digests)
        first = np.searchsorted(self._digests, digests[order], "left")
        count = np.searchsorted(self._digests, digests[order], "right") - first
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(order, count), self._positions[np.repeat(first, count) + within]

    def twins(self) -> tuple[Positions, Positions]:
        """Return each position whose digest occurred at an earlier one, and the first of those, sorted by the first."""
        again = np.zeros(len(self._digests), dtype=bool)
        again[1:] = self._digests[1:] == self._digests[:-1]
        start = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))[again]
        followers, leaders = self._positions[again], self._positions[start]
        order = np.lexsort((followers, leaders))
        return followers[order], leaders[order]
