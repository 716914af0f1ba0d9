"""Whether PNG and JPEG files hold all of their pixels, for decoders fill up what is missing without a word."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: First column, first row, and the steps of the passes of an interlaced PNG file.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_END, _SCAN = 0xD9, 0xDA

#: Not to be decoded as what is missing would be: bits, and each of the markers that a decoder may wait for.
_MORE = b"".join(b"\x5a\xa5\x3c\xc3" * 8 + bytes([0xFF, 0xD0 + k]) for k in range(8)) + b"\x5a\xa5\x3c\xc3" * 8


def is_whole(image: Image.Image, content: io.BufferedReader) -> bool:
    """Return whether a file holds all pixels of the image that was decoded from it, as it was decoded."""
    if image.format == "PNG":
        # What is missing is 0; in an interlaced file, it may lie anywhere.
        width, height = image.size
        last = np.asarray(image.crop((0, height - 1, width, height)))
        return bool(last.any() and not image.info.get("interlace")) or _png_is_whole(_bytes(content))
    if image.format in ("JPEG", "MPO"):
        return _jpeg_is_whole(image, content)
    return True


def _bytes(content: io.BufferedReader) -> bytes:
    content.seek(0)
    return content.read()


def _png_is_whole(data: bytes) -> bool:
    width, height, bits, kind, interlaced = struct.unpack_from(">IIBBxxB", data, 16)
    step = bits * _CHANNELS_OF_PNG[kind]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    needed = sum(rows * (1 + -(-columns * step // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    inflate, held = zlib.decompressobj(), 0
    for part in _png_data(data):
        held += len(inflate.decompress(part))
        if held >= needed:
            return True
    return False


def _png_data(data: bytes) -> Iterator[bytes]:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            yield data[place + 8 : place + 8 + length]
        place += 12 + length


def _jpeg_is_whole(image: Image.Image, content: io.BufferedReader) -> bool:
    from PIL import Image

    width, height = image.size
    corner = np.asarray(image.crop((width - 1, height - 1, width, height))).astype(int)
    # Blocks without coefficients are of a middle grey.
    suspect = abs(corner - 128).max() <= 1
    if not suspect and not image.info.get("progressive"):
        return True
    data = _bytes(content)
    scans, end = _scans(data)
    if end is None or not (_refines_all(scans) if image.info.get("progressive") else scans):
        return False
    if not suspect:
        return True
    with Image.open(io.BytesIO(data[:end] + _MORE + bytes([0xFF, _END]))) as other:
        return bool(np.array_equal(np.asarray(image), np.asarray(other)))


def _scans(data: bytes) -> tuple[list[bytes], int | None]:
    """Return the headers of the scans of a JPEG file, and where its first image ends."""
    scans: list[bytes] = []
    place = 2
    while found := _MARKER.search(data, place):
        if data[found.start() + 1] == _END:
            return scans, found.start()
        if found.end() + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, found.end())
        if data[found.start() + 1] == _SCAN:
            scans.append(data[found.end() + 2 : found.end() + length])
        place = found.end() + length
    return scans, None


def _refines_all(scans: list[bytes]) -> bool:
    """Return whether the scans of a progressive file bring each coefficient of each component to its last bit."""
    left: dict[tuple[int, int], int] = {}
    components = set()
    for scan in scans:
        named = [scan[1 + 2 * k] for k in range(scan[0])]
        first, last, bits = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
        components.update(named)
        left.update({(name, k): bits & 15 for name in named for k in range(first, last + 1)})
    return bool(components) and all(left.get((name, k), 1) == 0 for name in components for k in range(64))
