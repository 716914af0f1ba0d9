"""Which files are read otherwise than by earlier versions; it imports little, for processes that only digest files."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from histokit.files import oddity, suffix_of
from histokit.plugin.netpbm import HEAD, Netpbm
from histokit.plugin.tiff import tiff_layout

#: Raised when some files are read otherwise than before, which marks then tell from the others.
READER_REVISION = 4

#: The revision since which `reader_mark` is what it is; later ones altered the numbers that scales are given.
MARKED = 2

#: The revision since which numbers that scales are given are what they are, and that since which colours of Netpbm have
#: all of their bits; of files whose names tell nothing of that, only the later ones may be read otherwise.
NUMBERED, NETPBM = 3, 4
NETPBM_SUFFIXES = (".ppm", ".pnm")

#: Files whose pixels come out as ever.
_UNMARKED = frozenset({".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

#: Where the number of bits stands in a PNG file, what of it is read, and the mark of one with 16 bits.
_PNG, _PNG_BITS, _HEAD = b"\x89PNG\r\n\x1a\n", 24, 25
_DEEP = b"png-16-1"
_NETPBM = (b"P3", b"P6")

#: The mark of colours of Netpbm of more than 8 bits.
DEEP_NETPBM = b"netpbm-16-1"


def is_unmarked(path: str) -> bool:
    """Return whether a file's name says that `reader_mark` is empty."""
    return suffix_of(path) in _UNMARKED


def deep_netpbm_mark(head: bytes) -> bytes:
    """Return the mark of a file that begins so where it is one of Netpbm with colours of more than 8 bits."""
    found = Netpbm.of(head)
    return DEEP_NETPBM if found is not None and found.of_deep_colours else b""


def reader_mark(path: str | os.PathLike[str]) -> bytes:
    """Return bytes that are not empty where `read_image` reads a file otherwise than it once did."""
    if is_unmarked(os.fspath(path)) or oddity(path):
        return b""
    try:
        with open(path, "rb") as file:
            return mark_of(file)
    except OSError:
        return b""


def mark_of(file: BinaryIO) -> bytes:
    """Return what `reader_mark` does, of a file that is open."""
    head = file.read(_HEAD)
    if head.startswith(_PNG):
        return _DEEP if len(head) == _HEAD and head[_PNG_BITS] == 16 else b""
    if head.startswith(_NETPBM):
        return deep_netpbm_mark(head + file.read(HEAD - _HEAD))
    layout = tiff_layout(file)
    return layout.mark if layout else b""


class AlikeMarks:
    """`mark_of` for the bytes of many files.

    Files that one program wrote say the same of themselves in the same places: where a file is as long as the last and
    all bytes of that which were looked at are its own too, it has the same mark.
    """

    def __init__(self) -> None:
        self._length = -1
        self._parts: list[tuple[int, bytes]] = []
        self._mark = b""

    def of(self, content: bytes) -> bytes:
        """Return the mark of a file of these bytes."""
        if len(content) != self._length:
            self._length, self._parts = len(content), []
            return mark_of(io.BytesIO(content))
        if not self._parts or not all(content.startswith(part, start) for start, part in self._parts):
            file = _LookedAt(content)
            self._mark = mark_of(file)
            self._parts = file.parts
        return self._mark


class _LookedAt(io.BytesIO):
    """Bytes of a file, which notes which of them are looked at."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.parts: list[tuple[int, bytes]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        self.parts.append((start, super().read(size)))
        return self.parts[-1][1]
