"""Image files of all the kinds that folders of images turn out to hold."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: Name → pixels that are read, worked out by hand; every other row of the network's input follows from them.
Expected = dict[str, list[list[list[int]]]]


def write_odd_images(folder: Path) -> Expected:
    """Write images that are unusual but sound."""
    expected: Expected = {}

    def add(name: str, image: Any, pixels: list[list[list[int]]], **options: Any) -> None:
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(folder / name, format=options.pop("format", None), **options)
        expected[name] = pixels

    grey = [[[0] * 3, [100] * 3, [255] * 3]]
    levels = np.array([[0, 100, 255]], dtype=np.uint8)
    add("one pixel.png", Image.new("RGB", (1, 1), (7, 8, 9)), [[[7, 8, 9]]])
    add("sliver.png", Image.new("RGB", (50, 1), (7, 8, 9)), [[[7, 8, 9]] * 50])
    add("greyscale.png", levels, grey)
    add("one bit.png", levels > 50, [[[0] * 3, [255] * 3, [255] * 3]])
    # 65535 is white: 25700 = 100 * 257.
    wide = np.array([[0, 25_700, 65_535]], dtype=np.uint16)
    add("16 bits.png", wide, grey)
    add("16 bits.tif", wide, grey)
    add("16 bits big-endian.tif", wide.astype(">u2"), grey)
    # Transparency lies over white: 51 of 255 is a fifth, 255 * 4 / 5 = 204.
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    add("rgba.png", rgba, [[[200, 0, 0], [255] * 3, [204] * 3]])
    add("la.png", Image.fromarray(rgba[..., [1, 3]], "LA"), [[[0] * 3, [255] * 3, [204] * 3]])
    add("cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), [[[255, 0, 0]] * 8] * 8, quality=100)
    palette = Image.new("P", (2, 1))
    palette.putpalette([7, 8, 9, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    add("palette.png", palette, [[[7, 8, 9], [200, 100, 50]]])
    add("palette with transparency.png", palette, [[[255] * 3, [200, 100, 50]]], transparency=bytes([0, 255]))
    add("transparent.gif", palette, [[[255] * 3, [200, 100, 50]]], transparency=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    # Orientation 6: the left column becomes the upper row.
    column = np.array([[0, 250], [0, 250], [0, 250]], dtype=np.uint8)
    add("turned.png", column, [[[0] * 3] * 3, [[250] * 3] * 3], exif=exif)
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    for suffix, options in (("gif", {}), ("png", {}), ("webp", {"lossless": True})):
        red = [[[255, 0, 0]] * 2] * 2
        add(f"animated.{suffix}", frames[0], red, save_all=True, append_images=frames[1:], **options)
    plain = Image.new("RGB", (2, 2), (1, 2, 3))
    for name in (
        "it's.png",
        'a "quote".png',
        "two\nlines.png",
        "-o.png",
        "--help.png",
        "Präparat 細胞 🔬.png",
        "%s{}.png",
    ):
        add(name, plain, [[[1, 2, 3]] * 2] * 2)
    # Larger than Pillow warns of, where a test has lowered its limit.
    add("large.png", Image.new("L", (40, 20), 9), [[[9] * 3] * 40] * 20)
    return expected


def write_bad_images(folder: Path) -> Mapping[str, str]:
    """Write files that no image can be read from; return the reason to be given for each, a regular expression."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    content: dict[str, bytes] = {}
    for kind in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        content[f"cut.{kind.lower()}"] = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    content |= {"empty.png": b"", "text.png": b"patient,label\n", 'it\'s\n"bad".png': b"bad", "--bad.png": b"x"}
    content["bomb.png"] = bomb(60_000)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    for name, pixels in (("32 bits.tif", np.int32([[300]])), ("float.tif", np.float32([[0.5]]))):
        Image.fromarray(pixels).save(folder / name)
    os.mkfifo(folder / "pipe.png")
    noise.save(os.fsencode(folder) + b"/byte \xff.png", "PNG")
    return {
        "cut.jpeg": r"cannot be read \(",
        "cut.png": r"cannot be read \(",
        "empty.png": "is empty",
        'it\'s\n"bad".png': "is not an image",
        "text.png": "is not an image",
        "--bad.png": "is not an image",
        "bomb.png": "has too many pixels to be opened safely",
        "32 bits.tif": "has pixels of 32 bits or with a sign",
        "float.tif": "has floating-point pixels",
        "pipe.png": "cannot be read: it is a pipe, no file",
        "byte \\xff.png": "cannot be read: its name is not valid UTF-8: rename it",
    }


def bomb(side: int) -> bytes:
    """A small PNG file that says it has `side` × `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
