"""Colours of 16 bits for each channel, of which Pillow gives the upper eight only."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError
from histokit.plugin.tiff_pieces import TiffPieces, damage

DeepPixels = npt.NDArray[np.uint16]

#: The largest value of 16 bits, which stands for white.
WHITE = 65535

#: What a value of ORIENTATION asks for: whether rows and columns change places, then whether each is turned round.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
ORIENTATION = 274

_ASSOCIATED = 1

#: How advice begins behind a colon, other than what decoders say there.
_ADVICE = re.compile(r": (save|say|name|install)\b")
_REPLACE = "Replace the file, then ingest the dataset again."


class UnreadDepthError(Exception):
    """Colours of 16 bits are not read; why, as the end of a sentence."""


def refused(name: str, reason: str) -> DataError:
    """Return the error of an image that is not read.

    Parameters
    ----------
    name : str
        What it is called in messages.
    reason : str
        As the end of a sentence; what to do may stand behind a colon.
    """
    what, *advice = _ADVICE.split(reason, maxsplit=1)
    return DataError(f"{name} {what}.", next=f"{advice[0].capitalize()}{advice[1]}." if advice else _REPLACE)


def to_16_bits(values: npt.NDArray[np.integer], bits: int) -> DeepPixels:
    """Bring whole numbers of some bits to 16, so that the largest becomes `WHITE`.

    Parameters
    ----------
    values : array of int, from 0 to 2 ** bits - 1
    bits : int
    """
    if bits == 16:
        return values.astype(np.uint16)
    return np.rint(values * (WHITE / ((1 << bits) - 1))).astype(np.uint16)


def to_8_bits(pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Bring pixels of which 65535 is white to 8 bits; those that have 8 stay as they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return np.rint(pixels / (WHITE / 255)).astype(np.uint8)


def turned(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return (H, W, …) pixels upright, by the number that EXIF and TIFF have for how they are stored."""
    swap, rows, columns = _TURNS.get(orientation, _TURNS[1])
    pixels = np.swapaxes(pixels, 0, 1) if swap else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def png_colours(file: BinaryIO) -> DeepPixels:
    """Return the pixels of a PNG file of 16 bits as it stores them: (H, W, 3 or 4).

    Raises
    ------
    UnreadDepthError
        If they are grey with transparency.
    """
    from PIL import Image

    planes: list[DeepPixels] = []
    # Pillow takes one byte of each two: the first, which is the upper one, or the second of another order of bytes.
    for order in "BL":
        file.seek(0)
        with Image.open(file, formats=["PNG"]) as opened:
            image: Any = opened
            tile = image.tile[0]
            if image.mode not in ("RGB", "RGBA") or not str(tile[3]).startswith("RGB"):
                raise UnreadDepthError("has grey of 16 bits with transparency, which is not read: save it without")
            mode = f"{image.mode};16{order}"
            image.tile = [tile._replace(args=mode) if hasattr(tile, "_replace") else (*tile[:3], mode)]
            planes.append(np.asarray(image).astype(np.uint16))
    return planes[0] * 256 + planes[1]


def tiff_colours(file: BinaryIO) -> tuple[DeepPixels, bool]:
    """Return the pixels of the first page of a TIFF file, (H, W, 3 or 4), and whether colours hold their transparency.

    Raises
    ------
    UnreadDepthError
        If its compression needs a package that is not there.
    """
    from tifffile import TiffFile

    file.seek(0)
    with TiffFile(file) as tiff:
        page = tiff.pages.first
        pixels = decoded_page(page)
        extras = page.extrasamples
        alpha = bool(extras) and int(extras[0]) in (_ASSOCIATED, 2)
        kept = page.samplesperpixel - len(extras) + alpha
        return turned(pixels[..., :kept], _orientation(page)), alpha and int(extras[0]) == _ASSOCIATED


def _orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION)
    return int(tag.value) if tag is not None else 1


def decoded_page(page: Any) -> npt.NDArray[Any]:
    """Return a page of a `tifffile.TiffFile` as (H, W, channels).

    Raises
    ------
    UnreadDepthError
        If some of it is not there or damaged, or its compression needs a package that is not there.
    """
    # What was never written is filled with zeros by the decoder.
    if not all(page.dataoffsets) or not all(page.databytecounts):
        raise UnreadDepthError("cannot be read (some of its pixels were never written)")
    refuse_damage(page)
    try:
        pixels: npt.NDArray[Any] = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        name = getattr(page.compression, "name", "a method")
        raise UnreadDepthError(
            f"is compressed by {name}, which is read with imagecodecs: install it with pip install 'histokit[codecs]'"
        ) from None
    axes = page.axes
    if "S" not in axes:
        return pixels[..., None]
    return np.moveaxis(pixels, axes.index("S"), -1)


def refuse_damage(page: Any) -> None:
    """Raise where the data of a page of a `tifffile.TiffFile` are damaged, which its decoder may not tell.

    Raises
    ------
    UnreadDepthError
    """
    pieces = TiffPieces(int(page.compression), page.dataoffsets, page.databytecounts, page.jpegtables or b"")
    if found := damage(page.parent.filehandle, pieces):
        raise UnreadDepthError(f"cannot be read ({found})")


def over_white(pixels: DeepPixels, associated: bool = False) -> tuple[DeepPixels, float]:
    """Lay pixels with transparency, their last channel, over white.

    Parameters
    ----------
    pixels : (H, W, C) uint16 array
    associated : bool
        Whether colours were multiplied by it.

    Returns
    -------
    (H, W, C - 1) uint16 array
    share : float
        Of pixels that are not wholly opaque.
    """
    colours, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:] / WHITE
    mixed = (colours if associated else colours * alpha) + WHITE * (1 - alpha)
    return np.rint(mixed).clip(0, WHITE).astype(np.uint16), float((alpha < 1).mean())
