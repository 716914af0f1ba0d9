"""Colours of 16 bits for each channel, of which Pillow gives the upper eight only."""

from __future__ import annotations

import re
from copy import copy
from functools import cached_property
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
_PALETTE = 3

#: As many as Pillow opens at most.
_MOST_PIXELS = 2 * 178_956_970

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
    """Return the pixels of a PNG file of 16 bits as it stores them: (H, W, 3 or 4); grey has three alike."""
    from PIL import Image

    file.seek(0)
    with Image.open(file, formats=["PNG"]) as opened:
        if str(opened.tile[0][3]).startswith("LA"):
            return _grey_and_alpha(opened)
    planes: list[DeepPixels] = []
    # Pillow takes one byte of each two: the first, which is the upper one, or the second of another order of bytes.
    for order in "BL":
        file.seek(0)
        with Image.open(file, formats=["PNG"]) as opened:
            image: Any = opened
            tile = image.tile[0]
            mode = f"{image.mode};16{order}"
            image.tile = [tile._replace(args=mode) if hasattr(tile, "_replace") else (*tile[:3], mode)]
            planes.append(np.asarray(image).astype(np.uint16))
    return planes[0] * 256 + planes[1]


def _grey_and_alpha(image: Any) -> DeepPixels:
    # As four numbers of 8 bits: the two bytes of grey, and those of transparency.
    tile = image.tile[0]
    image._mode = "RGBA"
    image.tile = [tile._replace(args="RGBA") if hasattr(tile, "_replace") else (*tile[:3], "RGBA")]
    halves = np.asarray(image).astype(np.uint16)
    grey, alpha = halves[..., 0] * 256 + halves[..., 1], halves[..., 2] * 256 + halves[..., 3]
    return np.dstack([grey, grey, grey, alpha])


def tiff_colours(file: BinaryIO, count: int = 1) -> tuple[npt.NDArray[Any], bool, int]:
    """Return the pixels of the first pages of a TIFF file.

    Returns
    -------
    (H, W, C) array
        Grey or colours of the first page, with transparency as the last of 2 or 4; or grey of several pages.
    bool
        Whether colours hold their transparency.
    int
        Bits of each number.

    Raises
    ------
    UnreadDepthError
        If its compression needs a package that is not there, or it has too many pixels.
    """
    from tifffile import TiffFile

    file.seek(0)
    with TiffFile(file) as tiff:
        pages = [tiff.pages[number] for number in range(count)]
        page: Any = pages[0]
        if page.imagewidth * page.imagelength > _MOST_PIXELS:
            raise UnreadDepthError("has too many pixels to be opened safely")
        extras = page.extrasamples
        alpha = bool(extras) and int(extras[0]) in (_ASSOCIATED, 2)
        kept = page.samplesperpixel - len(extras) + alpha
        pixels = np.concatenate([turned(decoded_page(each)[..., :kept], _orientation(each)) for each in pages], axis=2)
        if page.photometric == _PALETTE:
            return np.moveaxis(page.colormap[:, pixels[..., 0]], 0, -1), False, 16
        return pixels, alpha and int(extras[0]) == _ASSOCIATED, int(page.bitspersample)


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
        pixels = decoded(page, page)
    except UnreadDepthError:
        raise
    except Exception:  # Of a last strip that is longer than it should be.
        return _of_padded_strips(page)
    return _samples_last(page, pixels)


def decoded(source: Any, page: Any) -> npt.NDArray[Any]:
    """Return what a page or a series of a `tifffile.TiffFile` holds.

    Parameters
    ----------
    source : TiffPage or TiffPageSeries
    page : TiffPage
        Itself, or one of its pages.

    Raises
    ------
    UnreadDepthError
        If its compression needs a package that is not there.
    """
    try:
        pixels: npt.NDArray[Any] = source.asarray()
    except Exception as error:
        # Of Zstandard, what is not there is told by the name of a module of later versions of Python.
        if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
            raise
        name = getattr(page.compression, "name", "a method")
        raise UnreadDepthError(
            f"is compressed by {name}, which is read with imagecodecs: install it with pip install 'histokit[codecs]'"
        ) from None
    return pixels


def _samples_last(page: Any, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.moveaxis(pixels, page.axes.index("S"), -1) if "S" in page.axes else pixels[..., None]


def _of_padded_strips(page: Any) -> npt.NDArray[Any]:
    """Return a page whose last strip holds as many rows as the others, which its decoder refuses; else raise again."""
    height, rows = page.imagelength, page.rowsperstrip
    if page.is_tiled or page.keyframe is not page or not rows or rows > height or height % rows == 0:
        return _samples_last(page, page.asarray())
    whole, padded = -(-height // rows) * rows, copy(page)
    for name in list(vars(padded)):
        if isinstance(getattr(type(page), name, None), cached_property):
            del padded.__dict__[name]
    padded.imagelength, padded.shaped = whole, (*page.shaped[:2], whole, *page.shaped[3:])
    padded.shape = tuple(whole if axis == "Y" else side for axis, side in zip(page.axes, page.shape, strict=True))
    return _samples_last(page, padded.asarray())[:height]


def refuse_damage(page: Any) -> None:
    """Raise where the data of a page of a `tifffile.TiffFile` are damaged, which its decoder may not tell.

    Raises
    ------
    UnreadDepthError
    """
    pieces = TiffPieces(int(page.compression), page.dataoffsets, page.databytecounts, page.jpegtables or b"")
    # Where bits are turned round, what checks them would have to turn them as well.
    if page.keyframe.fillorder == 1 and (found := damage(page.parent.filehandle, pieces)):
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
