"""Numbers as files of Netpbm, PNG and JPEG 2000 hold them, which Pillow brings to the whole range of its types."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from histokit.files import oddity, suffix_of
from histokit.plugin.netpbm import HEAD, Netpbm
from histokit.plugin.raw_images import RawImage
from histokit.plugin.tiff_tags import TagError, byte_order, read_pages

_MARK = b"numbers-1"

_PNG, _BITS, _GREY = b"\x89PNG\r\n\x1a\n", 24, b"\0"
_CODESTREAM, _PRECISION = b"\xff\x4f\xff\x51", 42


def few_bits(data: bytes) -> int | None:
    """Return of how many bits the grey of a file that begins so is, where Pillow spreads them over 8 or 16."""
    if data.startswith(_PNG):
        return data[_BITS] if data[_BITS] < 8 and data[_BITS + 1 : _BITS + 2] == _GREY else None
    place = data.find(_CODESTREAM) + _PRECISION
    if place >= _PRECISION and data[place - 2 : place] == b"\0\1" and 8 < data[place] + 1 < 16:
        return data[place] + 1
    return None


def bits_of_colours(data: bytes) -> int:
    """Return of how many bits the colours of a JPEG 2000 file that begins so are; 0 where it holds no colours."""
    place = data.find(_CODESTREAM) + _PRECISION
    several = place >= _PRECISION and int.from_bytes(data[place - 2 : place], "big") >= 3
    return (data[place] & 0x7F) + 1 if several and place < len(data) else 0


def few_bits_of_tiff(file: BinaryIO) -> int | None:
    """Return of how many bits the grey of a TIFF file is, where Pillow spreads them over 8."""
    try:
        pages = read_pages(file)
    except TagError:
        return None
    bits = pages[0].value(258, 1) if pages and pages[0].samples == 1 and pages[0].value(262, -1) in (0, 1) else 8
    return bits if 1 < bits < 8 else None


def of_few_bits(raw: RawImage, bits: int) -> RawImage:
    """Return the numbers of few bits that Pillow has spread over 8."""
    white = (1 << bits) - 1
    return raw._replace(pixels=raw.pixels // (255 // white), white=white)


def as_stored(raw: RawImage, head: bytes, whole: Callable[[], bytes]) -> RawImage:
    """Return the numbers that a file holds of which Pillow has made others.

    Parameters
    ----------
    raw : RawImage
        As Pillow gives it.
    head : bytes
        Of the file: `HEAD` of them, or all.
    whole : callable
        Returns all bytes of the file.
    """
    found = Netpbm.of(head)
    if found is not None:
        return _netpbm(raw, found, whole)
    bits = few_bits(head)
    if bits is None:
        return raw
    if raw.pixels.dtype == np.uint16:
        return raw._replace(pixels=raw.pixels >> (16 - bits), bits=bits)
    return of_few_bits(raw, bits)


def _netpbm(raw: RawImage, head: Netpbm, whole: Callable[[], bytes]) -> RawImage:
    if not head.altered:
        return raw
    if head.of_deep_colours:
        pixels = deep_numbers(head, whole())
    else:
        # Numbers of fewer steps come back as they were.
        pixels = np.rint(raw.pixels * (head.white / np.iinfo(raw.pixels.dtype).max)).astype(raw.pixels.dtype)
    bits = head.white.bit_length()
    if bits > 8 and head.white == (1 << bits) - 1:
        return raw._replace(pixels=pixels, bits=bits)
    return raw._replace(pixels=pixels, white=head.white)


def deep_numbers(head: Netpbm, data: bytes) -> npt.NDArray[np.uint16]:
    """Return the (H, W, 3) colours of a file of Netpbm of more than 8 bits, given all of its bytes."""
    count, rest = head.width * head.height * 3, data[head.start :]
    numbers = np.frombuffer(rest, ">u2", count) if head.kind == 6 else np.array(rest.split()[:count], np.uint16)
    return numbers.astype(np.uint16).reshape(head.height, head.width, 3)


def numbers_mark(head: bytes) -> bytes:
    """Return bytes that are not empty where numbers of a file that begins so were once those that Pillow made."""
    found = Netpbm.of(head)
    return _MARK if few_bits(head) or (found is not None and found.altered) else b""


def raw_mark(path: str | os.PathLike[str]) -> bytes:
    """Return bytes that are not empty where the numbers of a file, of which a scale makes pixels, once were others.

    Besides those of `numbers_mark`, of TIFF files that are called otherwise or of grey of 2 or 4 bits.
    """
    if oddity(path):
        return b""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            is_tiff = byte_order(head) is not None
            spread = is_tiff and few_bits_of_tiff(file) is not None
    except OSError:
        return b""
    misnamed = is_tiff and suffix_of(os.fspath(path)) not in (".tif", ".tiff")
    return _MARK if misnamed or spread else numbers_mark(head)
