"""Image files written byte by byte, so that tests compare a reader with numbers and not with another reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: TIFF's types of values: number → (name in `struct`, size); of these, 5 is a fraction of two numbers.
_TYPES = {1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("II", 8), 16: ("Q", 8)}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, ORIENTATION = 256, 257, 258, 259, 262, 270, 274
SAMPLES, PLANAR, PREDICTOR, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 284, 317, 320, 338, 339
SUBFILE_TYPE, MAX_SAMPLE_VALUE, SUB_IFDS, FILL_ORDER = 254, 281, 330, 266
_OFFSETS, _ROWS_PER_STRIP, _BYTE_COUNTS = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTE_COUNTS = 322, 323, 324, 325
_LONG = {_OFFSETS, _BYTE_COUNTS, _TILE_OFFSETS, _TILE_BYTE_COUNTS, SUB_IFDS}


def page(pixels: np.ndarray, tags: Mapping[int, Any] | None = None, **how: Any) -> dict[str, Any]:
    """Describe a page of a TIFF file: (H, W) or (H, W, C) pixels as they are to be stored, and tags besides the usual.

    A tag that is none is left out.

    `how`: ``rows`` of a strip, ``tile`` (a side), ``data`` (strips as they are stored, instead of the pixels).
    """
    return {"pixels": np.asarray(pixels), "tags": dict(tags or {}), **how}


def tiff(path: Path, *pages: dict[str, Any], order: str = "<", big: bool = False) -> Path:
    """Write a TIFF file of some pages."""
    content = bytearray(struct.pack(order + "2sH", b"II" if order == "<" else b"MM", 43 if big else 42))
    content += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    link = 8 if big else 4
    for each in pages:
        tags = _tags(each, content, order)
        content += b"\0" * (-len(content) % 8)
        struct.pack_into(order + ("Q" if big else "I"), content, link, len(content))
        link = _directory(content, tags, order, big)
    path.write_bytes(content)
    return path


def _tags(each: dict[str, Any], content: bytearray, order: str) -> dict[int, Any]:
    pixels, given = each["pixels"], each["tags"]
    height, width = given.get(HEIGHT, pixels.shape[0]), given.get(WIDTH, pixels.shape[1])
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    tags: dict[int, Any] = {
        WIDTH: width,
        HEIGHT: height,
        BITS: [pixels.dtype.itemsize * 8] * samples,
        COMPRESSION: 1,
        PHOTOMETRIC: 2 if samples >= 3 else 1,
        SAMPLES: samples,
    }
    planes = [pixels[..., k] for k in range(samples)] if given.get(PLANAR) == 2 else [pixels]
    tile = each.get("tile")
    if tile:
        blocks = [block for plane in planes for block in _tiles(plane, tile)]
        places, counts = _TILE_OFFSETS, _TILE_BYTE_COUNTS
        tags |= {_TILE_WIDTH: tile, _TILE_LENGTH: tile}
    else:
        rows = each.get("rows", height)
        blocks = [plane[top : top + rows] for plane in planes for top in range(0, height, rows)]
        places, counts = _OFFSETS, _BYTE_COUNTS
        tags |= {_ROWS_PER_STRIP: rows}
    stored = each.get("data") or [_stored(block, given, order) for block in blocks]
    tags |= {places: [], counts: [len(data) for data in stored]}
    for data in stored:
        tags[places].append(len(content))
        content += data + b"\0" * (-len(data) % 2)
    return {tag: value for tag, value in {**tags, **given}.items() if value is not None}


def _tiles(plane: np.ndarray, side: int) -> list[np.ndarray]:
    extra = [(0, -size % side) for size in plane.shape[:2]] + [(0, 0)] * (plane.ndim - 2)
    whole = np.pad(plane, extra)
    starts = [(y, x) for y in range(0, whole.shape[0], side) for x in range(0, whole.shape[1], side)]
    return [whole[y : y + side, x : x + side] for y, x in starts]


def _stored(block: np.ndarray, tags: Mapping[int, Any], order: str) -> bytes:
    if tags.get(PREDICTOR) == 2:
        block = np.concatenate([block[:, :1], np.diff(block, axis=1)], axis=1).astype(block.dtype)
    data = np.ascontiguousarray(block, block.dtype.newbyteorder(order)).tobytes()
    kind = tags.get(COMPRESSION, 1)
    if kind == 32773:
        # PackBits without runs: at most 128 bytes, each part led by its length less one.
        return b"".join(bytes([len(data[i : i + 128]) - 1]) + data[i : i + 128] for i in range(0, len(data), 128))
    return zlib.compress(data) if kind in (8, 32946) else data


def _directory(content: bytearray, tags: Mapping[int, Any], order: str, big: bool) -> int:
    """Append the directory of a page, and return where the place of the next one is to be written."""
    slot = 8 if big else 4
    start = len(content)
    entries = bytearray(struct.pack(order + ("Q" if big else "H"), len(tags)))
    spare = bytearray()
    behind = start + len(entries) + len(tags) * (20 if big else 12) + slot
    for tag in sorted(tags):
        kind, count, data = _value(tag, tags[tag], order)
        if len(data) > slot:
            place = struct.pack(order + ("Q" if big else "I"), behind + len(spare))
            spare += data + b"\0" * (-len(data) % 2)
        else:
            place = data.ljust(slot, b"\0")
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count) + place
    content += entries
    link = len(content)
    content += b"\0" * slot + spare
    return link


def _value(tag: int, value: Any, order: str) -> tuple[int, int, bytes]:
    if isinstance(value, str | bytes):
        data = (value.encode() if isinstance(value, str) else value) + b"\0"
        return 2, len(data), data
    values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, tuple) for each in values):
        # Fractions.
        return 5, len(values), struct.pack(f"{order}{2 * len(values)}I", *(part for each in values for part in each))
    kind = 4 if tag in _LONG or max(values, default=0) > 65535 else 3
    name, _ = _TYPES[kind]
    return kind, len(values), struct.pack(f"{order}{len(values)}{name}", *values)


def chunk(kind: str, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    body = kind.encode() + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(path: Path, header: tuple[int, ...], rows: bytes, **chunks: bytes) -> Path:
    """Write a PNG file, chunk by chunk: width, height, bits and colour type, then more chunks before the pixels."""
    more = b"".join(chunk(kind, data) for kind, data in chunks.items())
    ends = chunk("IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), chunk("IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + ends[0] + more + chunk("IDAT", zlib.compress(rows)) + ends[1])
    return path
