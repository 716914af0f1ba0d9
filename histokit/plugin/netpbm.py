"""The head of files of Netpbm: what they say of their numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Bytes at the start of a file in which its head lies.
HEAD = 4096

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
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
    def of_deep_colours(self) -> bool:
        """Whether these are colours of which Pillow keeps the upper eight bits."""
        return self.kind in (3, 6) and self.white > 255

    @property
    def altered(self) -> bool:
        """Whether Pillow gives other numbers than stand in the file."""
        return self.white not in (255, 65535) or self.of_deep_colours
