"""The parts of a JPEG file: its scans, and the marks in them by which decoders find their way after a loss."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END, _SCAN, _INTERVAL = 0xD9, 0xDA, 0xDD
#: Of sequential, progressive and lossless pictures, by Huffman's codes and by arithmetic ones.
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_PROGRESSIVE, _ARITHMETIC = frozenset((0xC2, 0xC6, 0xCA, 0xCE)), frozenset(range(0xC9, 0xD0))

#: Bits that are not decoded as what is missing would be.
_MORE = b"\x5a\xa5\x3c\xc3" * 8


class Scan(NamedTuple):
    """A scan: its header, how many units lie between two marks (0 for no marks), and where its data are."""

    header: bytes
    interval: int
    start: int
    stop: int


@dataclass
class JpegParts:
    """The first picture of a JPEG file.

    Parameters
    ----------
    scans : list of Scan
    end : int, optional
        Where the mark of its end is.
    size : tuple of int
        Width and height in pixels.
    sampling : dict
        Component → samples of it in a unit, across and down.
    progressive, arithmetic : bool
    """

    scans: list[Scan] = field(default_factory=list)
    end: int | None = None
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    progressive: bool = False
    arithmetic: bool = False

    @classmethod
    def of(cls, data: bytes) -> JpegParts:
        """Return the parts of a file."""
        found, place, interval = cls(), 2, 0
        header, start = b"", 0
        while match := _MARKER.search(data, place):
            kind, place = data[match.start() + 1], match.end()
            if start:
                found.scans.append(Scan(header, interval, start, match.start()))
                start = 0
            if kind == _END:
                found.end = match.start()
                break
            if place + 2 > len(data):
                break
            (length,) = struct.unpack_from(">H", data, place)
            body, place = data[place + 2 : place + length], place + length
            if kind in _FRAMES:
                found._take_frame(kind, body)
            elif kind == _INTERVAL and len(body) >= 2:
                (interval,) = struct.unpack_from(">H", body)
            elif kind == _SCAN:
                header, start = body, place
        return found

    def _take_frame(self, kind: int, body: bytes) -> None:
        height, width, count = struct.unpack_from(">xHHB", body)
        self.size, self.progressive, self.arithmetic = (width, height), kind in _PROGRESSIVE, kind in _ARITHMETIC
        for k in range(count):
            name, both = body[6 + 3 * k], body[7 + 3 * k]
            self.sampling[name] = (both >> 4, both & 15)

    def has_all_restarts(self, data: bytes) -> bool:
        """Return whether the marks in each scan are as many as its units want, and in order."""
        for scan in self.scans:
            marks = (
                [data[m.start() + 1] for m in _RESTART.finditer(data, scan.start, scan.stop)] if scan.interval else []
            )
            if any((after - before) % 8 != 1 for before, after in pairwise(marks)) or marks[:1] not in ([], [0xD0]):
                return False
            if scan.interval and 0 not in self.size and len(marks) < -(-self._units(scan) // scan.interval) - 1:
                return False
        return True

    def _units(self, scan: Scan) -> int:
        """Return how many units a scan holds: blocks of its only component, else groups of blocks of all."""
        most = [max(pair[axis] for pair in self.sampling.values()) for axis in (0, 1)]
        named = [scan.header[1 + 2 * k] for k in range(scan.header[0])]
        if len(named) > 1:
            across, down = (_ceil(side, 8 * samples) for side, samples in zip(self.size, most, strict=True))
        else:
            own = zip(self.size, self.sampling[named[0]], most, strict=True)
            across, down = (_ceil(_ceil(side * samples, of_all), 8) for side, samples, of_all in own)
        return across * down

    def with_more(self, data: bytes) -> bytes:
        """Return the file with further bits before each mark in its scans and behind each of them.

        Where all units are there, a decoder passes over them; where some are missing, they are decoded in their place.
        """
        pieces, done = [], 0
        for scan in self.scans:
            marks = _RESTART.finditer(data, scan.start, scan.stop) if scan.interval else ()
            for place in (*(mark.start() for mark in marks), scan.stop):
                pieces += [data[done:place], _MORE]
                done = place
        return b"".join((*pieces, data[done : self.end], bytes([0xFF, _END])))


def _ceil(number: int, by: int) -> int:
    return -(-number // by)
