"""The usual JPEG file, one sequential scan of three colours, decoded into an array in half of Pillow's time.

libjpeg-turbo decodes in both, to the same grey levels. Whatever is not plain is left to Pillow: other kinds of files,
those whose metadata turn or divide the picture, and those in which anything is amiss.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from histokit.plugin.wholeness import is_one_scan

START = b"\xff\xd8"

_FRAME, _SCAN = 0xC0, 0xDA
#: Tables of Huffman's codes and of quantisation, and comments.
_PASSED_OVER = frozenset((0xC4, 0xDB, 0xFE))
#: What metadata that turn no pixel start with, and bytes of them at least: Pillow refuses a file with fewer.
_METADATA = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0"}
_METADATA_BYTES = 14

#: Bits of a number, and numbers of a pixel.
_BITS, _COLOURS = 8, 3


def plain_pixels(data: bytes, largest: int) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a plain JPEG file, or none where Pillow has to read it.

    Parameters
    ----------
    data : bytes
        All of the file.
    largest : int
        Pixels that an image may have.

    Returns
    -------
    (H, W, 3) uint8 array, optional
        Not to be written to, as those that Pillow gives.
    """
    size = _plain_size(data)
    if size is None or not 0 < size[0] * size[1] <= largest or not is_one_scan(data):
        return None
    from simplejpeg import decode_jpeg

    try:
        # Strictly: what libjpeg warns of is looked at by Pillow's reader, which knows what to make of it.
        pixels: npt.NDArray[np.uint8] = decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:
        return None
    if pixels.shape != (*size, _COLOURS):
        return None
    pixels.flags.writeable = False
    return pixels


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width, or none where something stands before the scan that is not known to be harmless."""
    place, size = len(START), None
    while place + 4 <= len(data):
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF:
            return None
        body = data[place + 4 : place + 2 + length]
        if kind == _SCAN:
            return size if body[:1] == bytes([_COLOURS]) else None
        if kind == _FRAME and size is None:
            size = _size_of(body)
            if size is None:
                return None
        elif kind not in _PASSED_OVER and not _is_metadata(kind, body):
            return None
        place += 2 + length
    return None


def _is_metadata(kind: int, body: bytes) -> bool:
    start = _METADATA.get(kind)
    return start is not None and body.startswith(start) and len(body) >= _METADATA_BYTES


def _size_of(frame: bytes) -> tuple[int, int] | None:
    if len(frame) != 6 + 3 * _COLOURS:
        return None
    bits, height, width, count = struct.unpack_from(">BHHB", frame)
    return (height, width) if (bits, count) == (_BITS, _COLOURS) else None
