"""Which tiles of a scan are training patches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 1_000

#: Where test patches were cut out.
_WHITE = 255

#: Grey levels around the median that are taken as alike.
_ALIKE = 5


def homogeneity(tile: npt.NDArray[np.uint8], background: int) -> float:
    """Return the share of a tile that is all the same: the larger one of two shares of its pixels.

    These are the pixels of the grey level `background` or brighter, and those within five grey levels of the median
    (of each eighth pixel of each eighth row). The measure that was used for the published patches is not known.

    Parameters
    ----------
    tile : (H, W) uint8 array
    background : int

    Returns
    -------
    float
        Of 0 to 1.
    """
    middle = int(np.median(tile[::8, ::8]))
    bright = np.count_nonzero(tile >= background)
    alike = np.count_nonzero((tile >= max(0, middle - _ALIKE)) & (tile <= min(255, middle + _ALIKE)))
    return max(bright, alike) / tile.size


def white_corner(tile: npt.NDArray[np.uint8]) -> float:
    """Return the share of a tile that the largest rectangle of pure white takes which reaches into one of its corners.

    A test patch was as large as a tile, so that the white that it left has a corner of each tile that it cuts.

    Parameters
    ----------
    tile : (H, W) uint8 array

    Returns
    -------
    float
        Of 0 to 1.
    """
    white = tile == _WHITE
    heights = np.arange(1, len(white) + 1)
    largest = 0
    for rows in (white, white[::-1]):
        for each in (rows, rows[:, ::-1]):
            if not each[0, 0]:
                continue
            runs = np.where(each.all(axis=1), each.shape[1], each.argmin(axis=1))
            largest = max(largest, int((np.minimum.accumulate(runs) * heights).max()))
    return largest / tile.size
