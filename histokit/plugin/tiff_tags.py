"""The tags of TIFF files: what such a file says of itself, before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

#: Types of values by number: name in `struct` and size; fractions are passed over.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

FILL_ORDER, SUB_PAGES = 266, 330
#: What all pieces of a page share that are compressed by JPEG; bytes, though of the type that texts have elsewhere.
JPEG_TABLES = 347

_WANTED = frozenset((254, *range(256, 260), 262, FILL_ORDER, 270, 273, 274, *range(277, 280), 284, 317, 320)).union(
    range(322, 326), (SUB_PAGES, 332, 336, 338, 339, JPEG_TABLES, 530, 32997, 32998)
)
#: Weights of red, green and blue in the brightness of YCbCr, and its numbers of black and white: fractions.
YCBCR_WEIGHTS, YCBCR_LIMITS = 529, 532
_FRACTION = 5
#: Of MetaMorph's stacks, which have as many of these as planes; they are fractions by name, and more than those.
STACKS = frozenset((33629, 33630))

_MOST_BYTES = 1 << 24
_MOST_PAGES = 256


class TagError(Exception):
    """The directory of a TIFF file cannot be read."""


class _Form(NamedTuple):
    """How numbers are written in a TIFF file: byte order, and sizes of BigTIFF or not."""

    order: str
    number: str
    entry: str
    link: str


@dataclass(frozen=True)
class Page:
    """One page of a TIFF file.

    Parameters
    ----------
    tags : dict
        Number of a tag → its values, or its text; those that are not needed are left out.
    """

    tags: dict[int, tuple[int, ...] | str]

    def values(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the numbers of a tag."""
        found = self.tags.get(tag, default)
        return found if isinstance(found, tuple) else default

    def value(self, tag: int, default: int) -> int:
        """Return the first number of a tag."""
        found = self.tags.get(tag)
        return found[0] if found and isinstance(found, tuple) else default

    @property
    def description(self) -> str:
        """The text that programs leave of themselves and of the image."""
        found = self.tags.get(270, "")
        return found if isinstance(found, str) else ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they are stored."""
        return self.value(256, 0), self.value(257, 0)

    @property
    def samples(self) -> int:
        """Numbers for each pixel."""
        return self.value(277, 1)


def byte_order(head: bytes) -> str | None:
    """Return ``<`` or ``>`` where a file that begins so is a TIFF file."""
    orders = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
    return orders.get(head[:4])


def is_big(head: bytes) -> bool:
    """Whether a TIFF file that begins so is a BigTIFF."""
    return b"+" in head[2:4]


def read_pages(file: BinaryIO) -> list[Page]:
    """Read the tags of the pages of a TIFF file, 256 of them at most; of further ones, only whether they are there.

    Raises
    ------
    TagError
        If one of its directories is damaged, or lies beyond the end of the file.
    """
    return list(_pages(file))


def sub_pages(file: BinaryIO, page: Page) -> list[Page]:
    """Read the tags of the pages that hang below another one, as far as they can be; those of a pyramid are smaller."""
    found = []
    with suppress(struct.error, OverflowError, OSError):
        form = _form(file)
        for start in page.values(SUB_PAGES)[:_MOST_PAGES]:
            found.append(_page(file, start, form)[0])
    return found


def _form(file: BinaryIO) -> _Form:
    file.seek(0)
    head = file.read(16)
    order = byte_order(head) or "<"
    if is_big(head):
        return _Form(order, order + "Q", order + "HHQ", order + "Q")
    return _Form(order, order + "H", order + "HHI", order + "I")


def _pages(file: BinaryIO) -> Iterator[Page]:
    form = _form(file)
    place = struct.calcsize(form.link)
    seen: set[int] = set()
    while True:
        try:
            (start,) = struct.unpack_from(form.link, _read(file, place, struct.calcsize(form.link)))
            if not start or start in seen:
                break
            if len(seen) < _MOST_PAGES:
                page, place = _page(file, start, form)
                yield page
            else:
                place = _link(file, start, form)
        except (struct.error, OverflowError, OSError) as error:
            raise TagError from error
        seen.add(start)


def _link(file: BinaryIO, start: int, form: _Form) -> int:
    """Return where the place of the next page stands behind the one at `start`."""
    lead = struct.calcsize(form.number)
    (count,) = struct.unpack(form.number, _read(file, start, lead))
    return start + lead + int(count) * (struct.calcsize(form.entry) + struct.calcsize(form.link))


def _page(file: BinaryIO, start: int, form: _Form) -> tuple[Page, int]:
    lead, step = struct.calcsize(form.number), struct.calcsize(form.entry) + struct.calcsize(form.link)
    (count,) = struct.unpack(form.number, _read(file, start, lead))
    if count > 4096:
        raise struct.error
    entries = _read(file, start + lead, count * step)
    tags: dict[int, tuple[int, ...] | str] = {}
    for at in range(0, count * step, step):
        tag, kind, number = struct.unpack_from(form.entry, entries, at)
        if tag in STACKS:
            tags[tag] = (number,)
        elif (tag in _WANTED and kind in _TYPES) or (tag in (YCBCR_WEIGHTS, YCBCR_LIMITS) and kind == _FRACTION):
            slot = entries[at + struct.calcsize(form.entry) : at + step]
            if kind == _FRACTION:
                # Each is two numbers.
                kind, number = 4, 2 * number
            tags[tag] = _values(file, 1 if tag == JPEG_TABLES else kind, number, slot, form)
    return Page(tags), start + lead + count * step


def _values(file: BinaryIO, kind: int, number: int, slot: bytes, form: _Form) -> tuple[int, ...] | str:
    length = number * struct.calcsize("<" + _TYPES[kind])
    if length > _MOST_BYTES:
        raise struct.error
    data = slot[:length]
    if length > len(slot):
        data = _read(file, struct.unpack(form.link, slot)[0], length)
    if _TYPES[kind] == "s":
        return data.rstrip(b"\0").decode("utf-8", "replace")
    return struct.unpack(f"{form.order}{number}{_TYPES[kind]}", data)


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    data = file.read(length)
    if len(data) < length:
        raise struct.error
    return data
