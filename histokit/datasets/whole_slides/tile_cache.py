"""What slides have in common that one process reads: open files, and decoded tiles."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from histokit.plugin.images import Pixels

#: Decoded tiles are kept up to so many bytes.
_TILE_BYTES = 64 << 20


class TileCache:
    """Decoded tiles that were asked for last, for neighbours that share them.

    Parameters
    ----------
    most : int
        Bytes that are kept.
    """

    def __init__(self, most: int = _TILE_BYTES):
        self._most, self._bytes = most, 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Any, Pixels] = OrderedDict()

    def get(self, key: Any, decode: Callable[[], Pixels]) -> Pixels:
        """Return a tile, decoded where it is not kept; its array is shared and not to be written to."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
                return tile
        tile = decode()
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._most and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile
