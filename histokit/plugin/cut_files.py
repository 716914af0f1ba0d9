"""Whether PCX and JPEG 2000 files hold what stands last in them, without which decoders give other pixels."""

from __future__ import annotations

import io
import re
import struct
from collections import Counter
from typing import Any

#: The palette of a PCX file is its end, behind a byte of this value.
_PALETTE, _PALETTE_BYTES = 12, 769
#: What a PCX file says of grey, which needs no palette, and where.
_GREY, _KIND = 2, 68

#: Where the code of JPEG 2000 begins: with the file, or in the box that holds it, not in that of a preview.
_CODE = re.compile(rb"(?:\A|jp2c(?:.{8})?)\xff\x4f\xff\x51", re.DOTALL)
#: The end of the code, and the begin of a part of a tile.
_END, _PART = b"\xff\xd9", b"\xff\x90"


def pcx_is_whole(data: bytes) -> bool:
    """Return whether a PCX file of up to 256 colours has its palette behind its pixels; of others, true.

    Without it, numbers of colours would be taken for grey, and pixels for colours where one stands in its place.
    """
    from PIL import Image

    version, bits, planes = data[1], data[3], data[65]
    if (version, bits, planes) != (5, 8, 1):
        return True
    if len(data) < _PALETTE_BYTES or data[-_PALETTE_BYTES] != _PALETTE:
        return int.from_bytes(data[_KIND : _KIND + 2], "little") == _GREY
    with Image.open(io.BytesIO(data), formats=["PCX"]) as opened:
        size, tile = opened.size, opened.tile[0]
    arguments: Any = tile.args
    try:
        Image.frombytes("L", size, data[tile.offset : -_PALETTE_BYTES], tile.codec_name, ("L", *arguments[1:]))
    except ValueError:
        return False
    return True


def jpeg2000_is_whole(data: bytes) -> bool:
    """Return whether a JPEG 2000 file holds all tiles, and all parts of each: what is missing is of one colour."""
    begin = _CODE.search(data)
    if begin is None:
        return True
    place = begin.end() - 2
    tiles, found, told = _tiles(data, place), Counter[int](), Counter[int]()
    while place + 4 <= len(data) and not data.startswith(_END, place):
        length = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data.startswith(_PART, place):
            if place + 12 > len(data):
                break
            tile, length, _, parts = struct.unpack_from(">HIBB", data, place + 4)
            found[tile] += 1
            told[tile] = max(told[tile], parts)
            # The last part may leave open how long it is.
            length = length or len(data) - place
        place += length
    ended = data.startswith(_END, place) or data.endswith(_END)
    every = all(found[tile] >= (told[tile] or 1) and (ended or told[tile]) for tile in range(tiles))
    return every and place <= len(data)


def _tiles(data: bytes, size: int) -> int:
    """Return how many tiles there are by the marker of sizes, which stands at that place."""
    width, height, _, _, across, down, left, top = struct.unpack_from(">8I", data, size + 6)
    return int(-(-(width - left) // across) * -(-(height - top) // down))
