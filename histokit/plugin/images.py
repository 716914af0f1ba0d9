"""The one place that opens image files."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError, UsageError
from histokit.files import oddity
from histokit.plugin.colours import (
    OpenImage,
    RefusalError,
    as_rgb,
    palette_size,
    remark_on_halves,
    scale_transparency,
    tiff_rgb,
)
from histokit.plugin.deep_colours import refused
from histokit.plugin.netpbm import HEAD, Netpbm
from histokit.plugin.plain_jpeg import START, plain_pixels
from histokit.plugin.remarks import Remark, collected_remarks, repeat
from histokit.plugin.signatures import not_an_image
from histokit.plugin.tiff import TiffLayout, tiff_layout
from histokit.plugin.tiff_pieces import damaged_pages
from histokit.plugin.wholeness import is_whole, jpeg_damage

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[int, int, int, int]
#: White is 255 of uint8, and 65535 of uint16 unless fewer bits are declared.
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: Pixels of what goes through a network at once: as many as Pillow opens without fearing a bomb.
LARGEST_IMAGE = 178_956_970

#: Pixels of a box that leaves its image: so many, or so many times those of the image, are no mistake.
_SMALL_CROP, _LARGEST_RATIO = 1 << 22, 16


def check_bits(bits: int | None) -> int | None:
    """Return the number of bits that were recorded, or raise where images of 16 bits cannot hold so many.

    Raises
    ------
    UsageError
    """
    if bits is not None and not 8 <= bits <= 16:
        raise UsageError(f"Images cannot have {bits} bits here.", next="Give 8 to 16: what the camera recorded.")
    return bits


def read_image(path: str | os.PathLike[str], bits: int | None = None, deep: bool = False) -> Pixels:
    """Open an image file as RGB.

    Greyscale is repeated over three channels, a palette is looked up, of 16 bits the upper eight are taken unless all
    are wanted (of 12, where the file declares so, 4095 is white), transparency is laid over white, and the orientation
    is applied;
    EXIF data that cannot be read are passed over. Of an animated file, the first frame is read. Three grey pages of a
    TIFF file that calls them channels are red, green and blue, unless OME gives them these colours in another order,
    which is refused. Colour profiles are not applied.

    What is to be known of an image although it is read, such as 16 bits of which less than a quarter of the range is
    used, is a Python warning of the category `histokit.plugin.remarks.ImageWarning`.

    Pixels that are floating-point numbers, signed, of 32 bits or in CIE Lab are refused: which value is white
    is not written in the file. So are TIFF files of several planes or pages of one size, images of which a part is
    missing, whatever Pillow's ``LOAD_TRUNCATED_IMAGES`` says, and images of more than twice Pillow's
    ``MAX_IMAGE_PIXELS`` (179 million pixels), before their memory is asked for; up to there no warning is given.

    Parameters
    ----------
    path : str or path
    bits : int, optional
        That were recorded, such as 12, where a file of 16 bits does not say it.
    deep : bool
        Whether files of more than 8 bits give uint16.

    Returns
    -------
    (H, W, 3) array
        uint8; or uint16 of which 65535 is white.

    Raises
    ------
    DataError
        If the file is missing, empty, a pipe or a device, not an image that can be decoded to its end, or one that is
        refused.
    """
    # Texts, because paths as objects take a part of the time of decoding a small image.
    path = os.fspath(path)

    def opened() -> BinaryIO:
        if odd := oddity(path):
            raise RefusalError(f"is {odd}, no image")
        return open(path, "rb")

    return _decoded(path, opened, bits, deep)


def decode_image(data: bytes, name: str, bits: int | None = None, deep: bool = False) -> Pixels:
    """Open an image that is held by another file, such as an archive or a table, as `read_image` opens a file.

    Parameters
    ----------
    data : bytes
        All of the image file.
    name : str
        What it is called in messages.
    bits, deep
        As in `read_image`.

    Returns
    -------
    (H, W, 3) array
        As of `read_image`.

    Raises
    ------
    DataError
        As `read_image` does.
    """
    return _decoded(name, lambda: io.BytesIO(data), bits, deep)


def _decoded(name: str, opened: Callable[[], BinaryIO], bits: int | None, deep: bool) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    remarks: list[Remark] = []
    try:
        with opened() as file:
            pixels = _plain(file)
            if pixels is None:
                with collected_remarks() as remarks:
                    pixels = _read(Path(name), file, bits)
    except RefusalError as error:
        reason = str(error)
    except UnidentifiedImageError:
        with opened() as file:
            raise not_an_image(name, file) from None
    except FileNotFoundError:
        reason = "does not exist"
    except Image.DecompressionBombError:
        reason = "has too many pixels to be opened safely"
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise whatever they stumble upon in a damaged file.
        reason = f"cannot be read ({error or type(error).__name__})"
    else:
        repeat(remarks)
        return pixels if deep or pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    raise refused(name, reason)


#: What is handed to Pillow, whose other decoders read no images of tissue; one for PostScript starts Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "JPEG2000", "WEBP", "DIB", "ICO", "PCX", "SGI", "TGA")


def _prepare() -> None:
    """Keep Pillow from warning of large images, which are errors if too large, and from filling up truncated ones."""
    from PIL import Image, ImageFile

    # Not with catch_warnings, which other threads that read at the same time would undo.
    if all(kind is not Image.DecompressionBombWarning for _, _, kind, _, _ in warnings.filters):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    # Another library may have set it, and nothing would tell that half of an image is missing.
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def opened_image(file: BinaryIO) -> Image.Image:
    """Open an image file by Pillow, which reads its head and decodes nothing yet."""
    from PIL import Image

    _prepare()
    return Image.open(file, formats=_FORMATS)


def _plain(file: BinaryIO) -> Pixels | None:
    start = file.read(len(START))
    return plain_pixels(start + file.read(), LARGEST_IMAGE) if start == START else None


def _read(path: Path, file: BinaryIO, bits: int | None) -> Pixels:
    from PIL import UnidentifiedImageError

    layout = tiff_layout(file)
    if layout and layout.refusal:
        raise RefusalError(layout.refusal)
    file.seek(0)
    if layout and layout.elsewhere:
        return tiff_rgb(path, file, layout if bits is None or layout.bits != 16 else replace(layout, bits=bits))
    try:
        # By a file and not by its path, for Pillow maps files into memory by their path, and then turns some wrongly.
        image = opened_image(file)
    except UnidentifiedImageError as error:
        if layout is None:
            raise
        raise RefusalError("is a TIFF file of a kind that is not read: save it as a plain TIFF or PNG") from error
    with image:
        raw = [str(tile[3]) for tile in getattr(image, "tile", ())]
        colours = palette_size(image)
        try:
            image.load()
        except ValueError as error:
            if "raw mode" not in str(error):
                raise
            # Planes of their own, without compression.
            raise RefusalError("stores its pixels in a way that is not read: save it as a plain TIFF or PNG") from error
        wrong = None if is_whole(image, file) else "the image file is truncated"
        if wrong := wrong or _damage(image, file, layout):
            raise RefusalError(f"cannot be read ({wrong})")
        layout = layout or TiffLayout()
        netpbm = _netpbm(file) if image.format == "PPM" else None
        if bits is not None and layout.bits == 16 and (netpbm is None or netpbm.white in (255, 65535)):
            layout = replace(layout, bits=bits)
        scale_transparency(image, raw)
        # BGR;16 are three colours in 16 bits.
        deep = any(";16" in mode and "BGR;16" not in mode for mode in raw)
        deep |= layout.deep or (netpbm is not None and netpbm.of_deep_colours)
        remark_on_halves(path, image, file)
        if netpbm is not None and _goes_on(netpbm, file):
            layout = replace(layout, left_out="further images")
        return as_rgb(OpenImage(path, image, file, layout, deep, colours))


def _netpbm(file: BinaryIO) -> Netpbm | None:
    file.seek(0)
    return Netpbm.of(file.read(HEAD))


def _goes_on(head: Netpbm, file: BinaryIO) -> bool:
    if head.stop is None:
        return False
    file.seek(head.stop)
    return head.goes_on(file.read(HEAD))


def _damage(image: Image.Image, file: BinaryIO, layout: TiffLayout | None) -> str | None:
    if layout is not None:
        return damaged_pages(file, layout.pages)
    if image.format not in ("JPEG", "MPO"):
        return None
    file.seek(0)
    return jpeg_damage(file.read())


def crop(image: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    """Cut a box out of an image; what lies outside the image is filled by reflection.

    Parameters
    ----------
    image : (H, W, C) array
    box : (x, y, width, height) in pixels; may leave the image

    Returns
    -------
    (height, width, C) array
        Of the same type.

    Raises
    ------
    DataError
        If no pixel of the box lies inside the image, or the box is many times as large as the image.
    """
    x, y, width, height = box
    rows_left, columns_left = image.shape[0] - y, image.shape[1] - x
    if min(width, height, x + width, y + height, rows_left, columns_left) < 1:
        raise DataError(
            f"The box {box} lies outside an image of {image.shape[1]} × {image.shape[0]} pixels.",
            next="Check the coordinates: a box is x, y, width and height in pixels.",
        )
    if min(x, y, rows_left - height, columns_left - width) >= 0:
        return image[y : y + height, x : x + width].copy()
    if width * height > min(LARGEST_IMAGE, max(_SMALL_CROP, _LARGEST_RATIO * image.shape[0] * image.shape[1])):
        raise DataError(
            f"The box {box} is too large for an image of {image.shape[1]} × {image.shape[0]} pixels.",
            next="Check the coordinates: a box is x, y, width and height in pixels.",
        )
    rows = _reflected(y, height, image.shape[0])
    columns = _reflected(x, width, image.shape[1])
    return np.ascontiguousarray(image[rows][:, columns])


def _reflected(start: int, length: int, size: int) -> npt.NDArray[np.intp]:
    index = np.arange(start, start + length)
    if size == 1:
        return np.zeros(length, dtype=np.intp)
    period = 2 * (size - 1)
    folded = np.abs(index) % period
    return np.where(folded < size, folded, period - folded).astype(np.intp)
