"""From an open image to RGB of 8 or 16 bits, and what is to be remarked on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.plugin.deep_colours import (
    ORIENTATION,
    WHITE,
    DeepPixels,
    UnreadDepthError,
    over_white,
    png_colours,
    tiff_colours,
    to_8_bits,
    to_16_bits,
    turned,
)
from histokit.plugin.netpbm import HEAD, Netpbm
from histokit.plugin.raw_numbers import bits_of_colours, deep_numbers
from histokit.plugin.remarks import remark
from histokit.plugin.tiff import TiffLayout

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: Formats whose orientation stands in nothing but these pieces of information.
_BY_EXIF = ("JPEG", "PNG")
_EXIF = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})


_SAY_BITS = "say how many were recorded (-o bits=N)"


class RefusalError(Exception):
    """An image is not read; why, as the end of a sentence."""


class OpenImage(NamedTuple):
    """An open image, what its file says of itself, whether its pixels are of 16 bits, and how many colours it has."""

    path: Path
    image: Image.Image
    file: BinaryIO
    layout: TiffLayout
    deep: bool
    colours: int | None = None


def _bits_of_sgi(head: bytes) -> int:
    return 8 * head[3]


#: Formats of which Pillow gives eight bits → how many there are, by the head of a file.
_HALVED: Mapping[str, Callable[[bytes], int]] = {"SGI": _bits_of_sgi, "JPEG2000": bits_of_colours}

#: What grey of fewer than 8 bits is multiplied by, by the decoder's name of it.
_GREY_OF_FEW_BITS = {"1": (1, 255), "L;2": (3, 85), "L;4": (15, 17)}


def palette_size(image: Image.Image) -> int | None:
    """Return how many colours the palette of an image holds that is not yet loaded; none where it has none."""
    palette = image.palette
    if image.mode not in ("P", "PA") or palette is None or not palette.palette:
        return None
    return len(palette.palette) // len((palette.rawmode or palette.mode).partition(";")[0])


def scale_transparency(image: Image.Image, raw: Sequence[str]) -> None:
    """Bring the transparent grey of a PNG file to the scale of its pixels, which the decoder leaves as it is written.

    Parameters
    ----------
    image : PIL.Image.Image
    raw : sequence of str
        The decoder's names of how pixels are stored.
    """
    value = image.info.get("transparency")
    if image.format == "PNG" and image.mode in ("1", "L") and isinstance(value, int) and raw[:1]:
        mask, factor = _GREY_OF_FEW_BITS.get(raw[0], (255, 1))
        image.info["transparency"] = (value & mask) * factor


def as_rgb(opened: OpenImage) -> Pixels:
    """Return the pixels of an image that was loaded as an (H, W, 3) array: uint8, or uint16 of which 65535 is white.

    Raises
    ------
    RefusalError
        If its numbers have no one meaning as RGB.
    """
    pixels = _of_pages(opened) if opened.layout.pages > 1 else _of_one(opened)
    _remark_on_frames(opened)
    return pixels


def _of_one(opened: OpenImage) -> Pixels:
    image = opened.image
    _refuse_beyond_palette(opened)
    orientation = _set_upright(image)
    unclear = _unclear(image)
    if unclear:
        raise RefusalError(f"has {unclear}, which have no one meaning as RGB: save it with 8 bits for each channel")
    if image.mode.startswith("I"):
        return np.repeat(_to_grey(opened)[..., None], 3, axis=2)
    if opened.deep and (image.format in ("PNG", "PPM") or opened.layout.deep):
        return _deep(opened, orientation)
    if opened.deep and opened.layout.bits != 16:
        raise RefusalError("has 16 bits for each ink, of which only the upper eight are read: save it with 8 bits")
    if opened.deep:
        remark("halved", opened.path, "16 bits for each ink")
    return np.asarray(_to_rgb(opened), dtype=np.uint8)


def _deep(opened: OpenImage, orientation: int) -> DeepPixels:
    """Return colours of 16 bits, which Pillow has cut down to eight."""
    image, associated = opened.image, False
    if "transparency" in image.info:
        raise RefusalError("has a transparent colour of 16 bits, which is not read: save it without transparency")
    try:
        if image.format == "PNG":
            values = turned(png_colours(opened.file), orientation)
        elif image.format == "PPM":
            values = _netpbm_colours(opened.file)
        else:
            values, associated, _ = tiff_colours(opened.file)
    except UnreadDepthError as error:
        raise RefusalError(str(error)) from error
    transparent = values.shape[2] == 4
    top = (1 << opened.layout.bits) - 1
    colours = values[..., : values.shape[2] - transparent]
    if (largest := int(colours.max())) > top:
        told = opened.layout.bits
        raise RefusalError(f"holds {largest}, more than the {told} bits that it was said to have: {_SAY_BITS}")
    _remark_on_darkness(opened.path, colours, opened.layout.bits)
    pixels = to_16_bits(colours, opened.layout.bits)
    if transparent:
        pixels, share = over_white(np.dstack([pixels, values[..., -1:]]), associated)
        if share:
            _remark_on_transparency(opened.path, share)
    return pixels


def _netpbm_colours(file: BinaryIO) -> DeepPixels:
    file.seek(0)
    data = file.read()
    head = Netpbm.of(data[:HEAD])
    assert head is not None
    numbers = deep_numbers(head, data)
    return numbers if head.white == WHITE else np.rint(numbers * (WHITE / head.white)).clip(0, WHITE).astype(np.uint16)


def remark_on_halves(path: Path, image: Image.Image, file: BinaryIO) -> None:
    """Remark on colours of more than 8 bits of which Pillow gives the upper eight, in formats that nothing else reads.

    Parameters
    ----------
    path : Path
    image : PIL.Image.Image
    file : file
    """
    count = _HALVED.get(image.format or "")
    if count is None:
        return
    file.seek(0)
    if (bits := count(file.read(HEAD))) > 8:
        remark("halved", path, f"{bits} bits")


def tiff_rgb(path: Path, file: BinaryIO, layout: TiffLayout) -> Pixels:
    """Return what `as_rgb` does, of a TIFF file of grey or colours that Pillow does not read.

    Raises
    ------
    RefusalError
        If a package is needed that is not there, or numbers are larger than they are said to be.
    """
    try:
        values, associated, stored = tiff_colours(file, layout.pages)
    except UnreadDepthError as error:
        raise RefusalError(str(error)) from error
    if layout.pages > 1:
        remark("channels", path, f"{layout.pages} channels")
    _remark_on_the_rest(path, layout)
    transparent, top = values.shape[2] in (2, 4), (1 << layout.bits) - 1
    colours = values[..., : values.shape[2] - transparent]
    if (largest := int(colours.max())) > top:
        raise RefusalError(f"holds {largest}, more than the {layout.bits} bits that it was said to have: {_SAY_BITS}")
    if stored > 8:
        _remark_on_darkness(path, colours, layout.bits)
    pixels = to_16_bits(top - colours if layout.inverted else colours, layout.bits)
    if transparent:
        pixels, share = over_white(np.dstack([pixels, to_16_bits(values[..., -1:], stored)]), associated)
        if share:
            _remark_on_transparency(path, share)
    pixels = np.repeat(pixels, 3 // pixels.shape[2], axis=2)
    return pixels if stored > 8 else to_8_bits(pixels)


def _refuse_beyond_palette(opened: OpenImage) -> None:
    if opened.colours is None or opened.image.mode != "P":
        return
    numbers = np.asarray(opened.image)
    transparent = opened.image.info.get("transparency")
    largest = int(numbers[numbers != transparent].max(initial=0) if isinstance(transparent, int) else numbers.max())
    if largest >= opened.colours:
        raise RefusalError(f"uses colour {largest}, but its palette ends at {opened.colours - 1}: it is damaged")


def _of_pages(opened: OpenImage) -> Pixels:
    """Return pages of grey as red, green and blue."""
    planes = []
    for number in range(opened.layout.pages):
        opened.image.seek(number)
        opened.image.load()
        planes.append(_to_grey(opened) if opened.image.mode != "L" else np.asarray(opened.image))
    remark("channels", opened.path, f"{opened.layout.pages} channels")
    return np.stack(planes, axis=2)


def _unclear(image: Image.Image) -> str | None:
    """Return the kind of pixels, for people, where nothing says which value is black and which is white."""
    # Some versions of Pillow open PNG files of 16 bits in the mode of 32.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        return "pixels of 32 bits or with a sign"
    return {"F": "floating-point pixels", "LAB": "CIE Lab pixels"}.get(image.mode)


def _set_upright(image: Image.Image) -> int:
    """Turn an image upright, and return the number of how it was stored."""
    from PIL import ImageOps

    if image.format in _BY_EXIF and not image.info.keys() & _EXIF:
        return 1
    # Parsers raise whatever they stumble upon; the pixels are whole, for they were loaded before.
    with suppress(Exception):
        orientation = int(image.getexif().get(ORIENTATION, 1))
        ImageOps.exif_transpose(image, in_place=True)
        return orientation
    return 1


def _to_grey(opened: OpenImage) -> DeepPixels:
    """Return grey of up to 16 bits."""
    values, bits = np.asarray(opened.image).astype(np.int64), opened.layout.bits
    top, largest = (1 << bits) - 1, int(values.max())
    if largest > top:
        raise RefusalError(f"holds {largest}, more than the {bits} bits that it was said to have: {_SAY_BITS}")
    _remark_on_darkness(opened.path, values, bits)
    grey = to_16_bits(top - values if opened.layout.inverted else values.clip(0), bits)
    transparent = opened.image.info.get("transparency")
    if isinstance(transparent, int) and (values == transparent).any():
        _remark_on_transparency(opened.path, float((values == transparent).mean()))
        grey[values == transparent] = WHITE
    return grey


def _to_rgb(opened: OpenImage) -> Image.Image:
    from PIL import Image

    image = opened.image
    if image.mode not in ("RGBA", "LA", "La", "PA", "RGBa") and "transparency" not in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    share = float((np.asarray(rgba.getchannel("A")) < 255).mean())
    if share:
        _remark_on_transparency(opened.path, share)
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _remark_on_darkness(path: Path, values: npt.NDArray[np.integer], bits: int) -> None:
    """Remark on values of some bits all of which are below a quarter of the range, but for a few hot pixels."""
    top = (1 << bits) - 1
    light = values > top // 4
    pixels = light.any(axis=2) if light.ndim == 3 else light
    bright = int(np.count_nonzero(pixels))
    if bright > max(pixels.size // 1000, min(3, pixels.size // 50)):
        return
    few = f", but for {bright} hot pixel{'s' * (bright > 1)}" if bright else ""
    remark("dark", path, f"no value above {int(values[~light].max())} of {top}{few}")


def _remark_on_transparency(path: Path, share: float) -> None:
    remark("transparent", path, f"{100 * share:.3g} % of its pixels")


def _remark_on_the_rest(path: Path, layout: TiffLayout) -> None:
    if layout.files:
        remark("of several", path, layout.files)
    if layout.left_out:
        remark("left out", path, layout.left_out)


def _remark_on_frames(opened: OpenImage) -> None:
    _remark_on_the_rest(opened.path, opened.layout)
    if opened.image.format == "TIFF" or not getattr(opened.image, "is_animated", False):
        return
    count = 0
    # What is wrong with a later frame does not concern the first one.
    with suppress(Exception):
        count = int(getattr(opened.image, "n_frames", 0))
    remark("left out", opened.path, f"{count} frames" if count > 1 else "several frames")
