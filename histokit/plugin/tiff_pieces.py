"""Whether the strips and tiles of TIFF files can be trusted, for decoders fill up what is damaged without a word."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from histokit.plugin.jpeg_parts import JpegParts
from histokit.plugin.tiff_tags import FILL_ORDER, JPEG_TABLES, Page, read_pages
from histokit.plugin.wholeness import jpeg_damage

_JPEG, _DEFLATE = frozenset((7, 33007)), frozenset((8, 32946))

_DEFLATED = "its Deflate data are damaged"

#: Bytes that are inflated at once.
_AT_ONCE = 1 << 24


class TiffPieces(NamedTuple):
    """The strips or tiles of a page.

    Parameters
    ----------
    compression : int
        As TIFF numbers it.
    places, counts : sequence of int
        Where each starts, and how many bytes it has.
    tables : bytes
        That all of them share, where they are compressed by JPEG.
    """

    compression: int
    places: Sequence[int]
    counts: Sequence[int]
    tables: bytes = b""


def damaged_pages(file: BinaryIO, count: int) -> str | None:
    """Return what is the matter with the data of the first pages of a TIFF file that libtiff decoded; none if nothing.

    Parameters
    ----------
    file : file
    count : int
        Of pages.
    """
    for page in read_pages(file)[:count]:
        if page.value(FILL_ORDER, 1) != 1:
            continue
        places, counts = page.values(324, page.values(273)), page.values(325, page.values(279))
        pieces = TiffPieces(page.value(259, 1), places, counts, bytes(page.values(JPEG_TABLES)))
        if found := damage(file, pieces) or (_few_rows(file, page, pieces) if pieces.compression in _JPEG else None):
            return found
    return None


def _few_rows(file: BinaryIO, page: Page, pieces: TiffPieces) -> str | None:
    """Return which piece is a smaller picture than its place; what is missing would be black."""
    (width, height), tiled = page.size, 324 in page.tags
    width = page.value(322, width) if tiled else width
    rows = page.value(323, height) if tiled else min(page.value(278, height), height)
    down = -(-height // max(1, rows))
    for number, (place, count) in enumerate(zip(pieces.places, pieces.counts, strict=False)):
        file.seek(place)
        size = JpegParts.of(file.read(count)).size
        wanted = rows if tiled else min(rows, height - number % down * rows)
        if size[0] < width or size[1] < wanted:
            found = f"it has {size[0]} × {size[1]} pixels in place of {width} × {wanted}"
            return f"strip or tile {number + 1} of {len(pieces.places)}: {found}"
    return None


def damage(file: BinaryIO, pieces: TiffPieces) -> str | None:
    """Return what is the matter with the data of strips or tiles, as far as their compression tells; else none."""
    if pieces.compression not in _JPEG | _DEFLATE:
        return None
    for number, (place, count) in enumerate(zip(pieces.places, pieces.counts, strict=False), start=1):
        file.seek(place)
        if found := piece_damage(pieces.compression, file.read(count), pieces.tables):
            return f"strip or tile {number} of {len(pieces.places)}: {found}"
    return None


def piece_damage(compression: int, data: bytes, tables: bytes = b"") -> str | None:
    """Return what `damage` does, of the data of one strip or tile."""
    if compression in _JPEG:
        return jpeg_damage(tables[:-2] + data[2:] if tables else data)
    return _deflate_damage(data) if compression in _DEFLATE else None


def _deflate_damage(data: bytes) -> str | None:
    inflate = zlib.decompressobj()
    try:
        while data and not inflate.eof:
            inflate.decompress(data, _AT_ONCE)
            data = inflate.unconsumed_tail
    except zlib.error:
        return _DEFLATED
    return None if inflate.eof else _DEFLATED
