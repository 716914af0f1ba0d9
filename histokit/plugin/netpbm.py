"""The head of files of Netpbm: what they say of their numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Bytes at the start of a file in which its head lies.
HEAD = 4096

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
#: How another image of the same file begins.
_NEXT = re.compile(rb"\s*P[1-7]\s")

_NETPBM = re.compile(rb"P([2356])" + (_GAP + rb"(\d+)") * 3 + rb"\s")


class Netpbm(NamedTuple):
    """The head of a file of grey or colours: its kind, its sides, the number that is white, and where pixels begin."""

    kind: int
    width: int
    height: int
    white: int
    start: int

    @classmethod
    def of(cls, data: bytes) -> Netpbm | None:
        """Return the head of a file that begins so; none where it is another file."""
        match = _NETPBM.match(data)
        if match is None or not 0 < int(match[4]) <= 65535:
            return None
        kind, width, height, white = map(int, match.groups())
        return cls(kind, width, height, white, match.end())

    @property
    def stop(self) -> int | None:
        """Where the pixels end; none where they are written as texts."""
        samples = self.width * self.height * (3 if self.kind == 6 else 1)
        return self.start + samples * (1 + (self.white > 255)) if self.kind > 3 else None

    @property
    def of_deep_colours(self) -> bool:
        """Whether these are colours of which Pillow keeps the upper eight bits."""
        return self.kind in (3, 6) and self.white > 255

    def goes_on(self, rest: bytes) -> bool:
        """Whether what follows on the pixels is another image."""
        return _NEXT.match(rest) is not None

    @property
    def altered(self) -> bool:
        """Whether Pillow gives other numbers than stand in the file."""
        return self.white not in (255, 65535) or self.of_deep_colours
