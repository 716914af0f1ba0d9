"""Whether image files hold all of their pixels, for decoders make up what is missing without a word."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from histokit.plugin.cut_files import jpeg2000_is_whole, pcx_is_whole
from histokit.plugin.jpeg_parts import JpegParts

if TYPE_CHECKING:
    from PIL import Image

#: Marks of a JPEG file: of a scan, of the end, of an interval of restarts, of the frames of progressive pictures.
_TELLING = re.compile(rb"\xff[\xda\xd9\xdd\xc2\xc6\xca\xce]")
_END = b"\xff\xd9"
_PLAIN = [b"\xff\xda", b"\xff\xd9"]

_CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: First column, first row, and the steps of the passes of an interlaced PNG file.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


#: What libjpeg says where pixels are made up; the bytes that it passes over are so few where they only fill a place.
_DAMAGE = re.compile(
    r"(?:Corrupt JPEG data: )?"
    r"((?!bad ICC)(?:premature|bad|found|\d+ extraneous|Inconsistent|Unsupported marker|Bogus|Invalid)\b.*)",
    re.IGNORECASE,
)
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_FEW_BYTES = 16


def jpeg_damage(data: bytes) -> str | None:
    """Return what is the matter with the data of a JPEG file or of a piece of a TIFF file; none where all is well.

    Its end may be missing if nothing before it is.
    """
    from simplejpeg import decode_jpeg, decode_jpeg_header

    data = data if data.endswith(_END) else data + _END
    try:
        colours = decode_jpeg_header(data)[2]
        space = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "RGB")
        # As small as can be: of what it decodes, nothing is wanted but its warnings.
        decode_jpeg(data, space, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        found = _DAMAGE.match(str(error))
        left = _LEFT_OVER.match(found[1]) if found else None
        if found and not (left and int(left[1]) <= _FEW_BYTES):
            return f"its JPEG data are damaged: {found[1]}"
    return None


_BY_FORMAT = {"PCX": pcx_is_whole, "JPEG2000": jpeg2000_is_whole}


def is_whole(image: Image.Image, content: BinaryIO) -> bool:
    """Return whether a file holds all pixels of the image that was decoded from it, as it was decoded."""
    if image.format == "PNG":
        # What is missing is 0; in an interlaced file, it may lie anywhere.
        width, height = image.size
        last = np.asarray(image.crop((0, height - 1, width, height)))
        return bool(last.any() and not image.info.get("interlace")) or _png_is_whole(_bytes(content))
    if image.format in _BY_FORMAT:
        return _BY_FORMAT[image.format](_bytes(content))
    return image.format not in ("JPEG", "MPO") or _jpeg_is_whole(image, content)


def _bytes(content: BinaryIO) -> bytes:
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


def _jpeg_is_whole(image: Image.Image, content: BinaryIO) -> bool:
    from PIL import Image

    width, height = image.size
    corner = image.getpixel((width - 1, height - 1))
    # Blocks without coefficients are of a middle grey.
    suspect = all(abs(value - 128) <= 1 for value in (corner if isinstance(corner, tuple) else (corner or 0,)))
    data = _bytes(content)
    if not suspect and is_one_scan(data):
        return True
    jpeg = JpegParts.of(data)
    if jpeg.end is None or not jpeg.scans or not jpeg.has_all_restarts(data):
        return False
    if jpeg.progressive and not _refines_all([scan.header for scan in jpeg.scans]):
        return False
    if not suspect and len(jpeg.scans) == 1 and not jpeg.scans[0].interval:
        # What is missing of one scan without marks in it is missing in the end.
        return True
    if jpeg.arithmetic:
        return not suspect
    with Image.open(io.BytesIO(jpeg.with_more(data))) as other:
        return bool(np.array_equal(np.asarray(image), np.asarray(other)))


def is_one_scan(data: bytes) -> bool:
    """Return whether a JPEG file is one sequential scan without marks in it, and has an end.

    Looks for marks wherever they may lie, so that a file with metadata that look like them is taken apart instead.
    """
    return _TELLING.findall(data) == _PLAIN


def _refines_all(scans: Sequence[bytes]) -> bool:
    """Return whether the scans of a progressive file bring each coefficient of each component to its last bit."""
    left: dict[tuple[int, int], int] = {}
    components = set()
    for scan in scans:
        named = [scan[1 + 2 * k] for k in range(scan[0])]
        first, last, bits = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
        components.update(named)
        left.update({(name, k): bits & 15 for name in named for k in range(first, last + 1)})
    return bool(components) and all(left.get((name, k), 1) == 0 for name in components for k in range(64))
