"""Reading anywhere in what deflate packed."""

from __future__ import annotations

import mmap
import zlib
from bisect import bisect_right
from typing import Any

#: Bytes between the places from which unpacking can begin, and how many such places there are at most: a state of the
#: decompressor takes about 50 KB.
_SPACING = 1 << 20
_PLACES = 512

_FED = 1 << 14


class Deflated:
    """A member of a zip archive, of which parts are unpacked.

    On the way through it, states of the decompressor are kept at regular distances; reading begins at the last one
    before what is asked for, or goes on from where the last reading ended.

    Parameters
    ----------
    data : mmap
        The archive.
    start, packed : int
        Where the packed bytes begin, and how many there are.
    size : int
        Bytes of the member.
    """

    def __init__(self, data: mmap.mmap, start: int, packed: int, size: int):
        self._data, self._stop, self._size = data, start + packed, size
        self._spacing = max(_SPACING, -(-size // _PLACES))
        #: Unpacked and packed position, and the decompressor there.
        self._places: list[tuple[int, int, Any]] = [(0, start, zlib.decompressobj(-zlib.MAX_WBITS))]
        self._now: tuple[int, int, Any] = (0, start, self._places[0][2].copy())

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the member; not for several threads at once.

        Raises
        ------
        EOFError, zlib.error
            If the archive is damaged.
        """
        best = self._places[bisect_right(self._places, offset, key=lambda place: place[0]) - 1]
        best = self._now if best[0] <= self._now[0] <= offset else (*best[:2], best[2].copy())
        while best[0] < offset:
            best, _ = self._step(best, offset - best[0])
        found = []
        while length > 0:
            best, piece = self._step(best, length)
            length -= len(piece)
            found.append(piece)
        self._now = best
        return b"".join(found)

    def _step(self, place: tuple[int, int, Any], wanted: int) -> tuple[tuple[int, int, Any], bytes]:
        """Unpack up to so many bytes, and not beyond the next place that is kept."""
        done, packed, state = place
        if done >= self._size:
            raise EOFError(f"{self._size} bytes are all there are")
        wanted = min(wanted, self._spacing - done % self._spacing)
        fed = self._data[packed : min(packed + _FED, self._stop)]
        piece = state.decompress(fed, wanted)
        used = len(fed) - len(state.unconsumed_tail)
        if not piece and not used:
            raise EOFError("packed bytes are missing")
        done, packed = done + len(piece), packed + used
        if done % self._spacing == 0 and done > self._places[-1][0]:
            self._places.append((done, packed, state.copy()))
        return (done, packed, state), piece
