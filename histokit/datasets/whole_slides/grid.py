"""The grid of tiles on a slide."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: A slide may be coarser than what was asked for by so much: resolutions of scanners are rounded.
COARSER = 1.1


class TileGrid(NamedTuple):
    """Where tiles lie on a slide, in pixels of its finest level.

    Parameters
    ----------
    width, height : int
        Of a tile.
    xs, ys : (n,), (m,) arrays of int
        Left and upper edges of columns and rows.
    """

    width: int
    height: int
    xs: npt.NDArray[np.int64]
    ys: npt.NDArray[np.int64]


def tile_grid(size: tuple[int, int], mpp: tuple[float, float], target: float, tile: int, overlap: int) -> TileGrid:
    """Return the grid of tiles that lie on a slide wholly, from its upper left corner.

    Parameters
    ----------
    size : (width, height) of the slide in pixels
    mpp : (x, y)
        Micrometres per pixel of the slide.
    target : float
        Micrometres per pixel of a tile.
    tile, overlap : int
        Side of a tile, and what neighbours share of it, in pixels of the tile.

    Returns
    -------
    TileGrid
        Edges are rounded to pixels of the slide, one by one, so that rounding does not add up.
    """
    axes = []
    for length, here in zip(size, mpp, strict=True):
        scale = target / here
        side, stride = max(1, round(tile * scale)), (tile - overlap) * scale
        starts = np.rint(np.arange(max(0, int((length - side) / stride) + 2)) * stride).astype(np.int64)
        axes.append((side, np.unique(starts[starts + side <= length])))
    (width, xs), (height, ys) = axes
    return TileGrid(width, height, xs, ys)
