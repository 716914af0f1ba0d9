"""The ids of samples, each of which comes once, without holding them all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError
from histokit.store.spilled_rows import SpilledRows

#: Ids that are compared as texts; of those that came before, hashes tell which ones have to be.
_WINDOW = 1 << 15


class SampleIds:
    """Finds ids that come twice; iterating gives those that became rows.

    Parameters
    ----------
    rows : SpilledRows
        What samples become, in the order of their ids, some time after these are added.
    """

    def __init__(self, rows: SpilledRows):
        self._rows = rows
        self._window: set[str] = set()
        #: Earlier windows that are not rows yet, and how many ids there were at their end.
        self._earlier: list[tuple[int, set[str]]] = []
        self._hashes: NDArray[np.int64] = np.empty(0, np.int64)

    def __iter__(self) -> Iterator[str]:
        for batch in self._rows.to_batches(["id"]):
            yield from batch.column("id").to_pylist()

    def add(self, sample_id: str) -> None:
        """Take the next id.

        Raises
        ------
        DataError
            If it came before; of one that came long before this is known some ids later, or after `check`.
        """
        if sample_id in self._window:
            raise _twice(sample_id)
        for _, ids in self._earlier:
            if sample_id in ids:
                raise _twice(sample_id)
        self._window.add(sample_id)
        if len(self._window) >= _WINDOW:
            self.check()

    def check(self) -> None:
        """Look whether any of the last ids came before.

        Raises
        ------
        DataError
        """
        window, known = self._window, self._hashes
        hashes = np.fromiter(map(hash, window), np.int64, len(window))
        if len(known):
            met = known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes
            if met.any():
                self._compare({sample_id for sample_id, same in zip(window, met, strict=True) if same})
        known = np.concatenate([known, hashes])
        # Merges what is sorted already.
        known.sort(kind="stable")
        self._hashes, self._window = known, set()
        self._earlier = [(end, ids) for end, ids in self._earlier if end > len(self._rows)]
        self._earlier.append((len(known), window))

    def _compare(self, suspects: set[str]) -> None:
        """Raise where an id is among the rows; those of earlier windows that are not were compared."""
        for sample_id in self:
            if sample_id in suspects:
                raise _twice(sample_id)


def _twice(sample_id: str) -> DataError:
    advice = "Make the ids unique."
    joined, apart = (ascii(unicodedata.normalize(form, sample_id)) for form in ("NFC", "NFD"))
    if joined != apart:
        advice = (
            f"Make the ids unique: two files may be called so, with accents that are written as in {joined} and as in "
            f"{apart}; rename one of them."
        )
    return DataError(f"The sample id {sample_id!r} comes twice.", next=advice)
