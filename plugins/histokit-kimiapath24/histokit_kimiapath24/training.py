"""Which tiles of the scans are training patches, as data that can be kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit_kimiapath24.scans import ScanFile
from histokit_kimiapath24.tiles import SIDE, homogeneity, white_corner


class Limits(NamedTuple):
    """What a training patch may have: see the options of `histokit_kimiapath24.dataset.KimiaPath24`."""

    homogeneity: float
    background: int
    holes: float

    def fault(self, tile: npt.NDArray[np.uint8]) -> str | None:
        """Return why a tile is no training patch, ``same`` or ``hole``; none where it is one."""
        if homogeneity(tile, self.background) > self.homogeneity:
            return "same"
        return "hole" if white_corner(tile) > self.holes else None


def look_at(file: ScanFile, limits: Limits) -> dict[str, Any]:
    """Return what JSON can hold of all scans, each of which is read once, a strip of tiles after the other.

    Returns
    -------
    dict
        ``scans``: of each its number, how many tiles a row has, and as hexadecimal digits a bit for each tile, which
        is set where it is a training patch; ``same`` and ``hole``: how many tiles are none for either reason.
    """
    scans, faults = [], Counter[str | None]()
    for scan in file.scans():
        found = [limits.fault(tile) for _, _, tile in file.tiles(scan)]
        faults.update(found)
        marks = np.packbits(np.array([fault is None for fault in found], bool))
        scans.append([scan, file.columns(scan), marks.tobytes().hex()])
    return {"scans": scans, "same": faults["same"], "hole": faults["hole"]}


def corners(columns: int, marks: str) -> Iterator[tuple[int, int]]:
    """Yield x and y of the tiles that are marked, row by row."""
    for number in np.flatnonzero(np.unpackbits(np.frombuffer(bytes.fromhex(marks), np.uint8))).tolist():
        yield number % columns * SIDE, number // columns * SIDE
