"""TIFF and OME-TIFF files with all that they hold: channels, planes, numbers of any kind, and what they say of them."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from histokit.errors import DataError
from histokit.plugin.deep_colours import ORIENTATION, UnreadDepthError, refused, turned
from histokit.plugin.images import decode_image
from histokit.plugin.raw_images import ImageReader, RawImage
from histokit.plugin.raw_numbers import few_bits_of_tiff, of_few_bits
from histokit.plugin.remarks import remark
from histokit.plugin.signatures import refuse_stand_in
from histokit.plugin.tiff import COLOURS, numbers_of
from histokit.plugin.tiff_stack import TiffStack

#: Micrometres in units of OME-XML and ImageJ.
_MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "\\u00B5m", "micrometer", "micrometre"), 1.0),
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "pm": 1e-6,
    **dict.fromkeys(("in", "inch"), 25_400.0),
    "Å": 1e-4,
}


class TiffImages(ImageReader):
    """Reads the first series of a TIFF file, at full resolution."""

    def read(self, path: Path, part: str | None) -> RawImage:
        """Return a plane, or a file of one: 0 is black, whatever is stored.

        Pages of which nothing says what they are count as channels where none of them is named.

        Raises
        ------
        DataError
            If it cannot be read, holds several planes of which none is named, or has none of that name.
        """
        with path.open("rb") as file:
            return _raw(str(path), file, part)

    def decode(self, data: bytes, name: str) -> RawImage:
        """Return what `read` does of a file, here of one that another file holds.

        Parameters
        ----------
        data : bytes
            All of the image file.
        name : str
            What it is called in messages.

        Raises
        ------
        DataError
            As `read` does.
        """
        return _raw(name, io.BytesIO(data), None)

    def parts(self, path: Path) -> Sequence[str]:
        """Return the planes of a file, such as ``t=0,z=3``; none where it is one picture.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        with _opened(path, path) as tiff:
            return TiffStack(tiff).parts

    def mpp(self, path: Path) -> float | None:
        """Return the micrometres per pixel that OME-XML or ImageJ wrote.

        Raises
        ------
        DataError
            If it cannot be read, or pixels are not square.
        """
        with _opened(path, path) as tiff:
            sides = ome_mpp(tiff) if tiff.is_ome else _imagej_mpp(tiff) if tiff.is_imagej else None
        if sides is None:
            return None
        if not math.isclose(*sides, rel_tol=0.01):
            raise DataError(
                f"{path} has pixels of {sides[0]:g} × {sides[1]:g} µm, which are not square.",
                next="Resample it, or give the micrometres per pixel yourself.",
            )
        return sides[0]


def _raw(name: str, file: BinaryIO, part: str | None) -> RawImage:
    kind, problem = numbers_of(file)
    file.seek(0)
    if kind == COLOURS and part is None:
        raw = RawImage(decode_image(file.read(), name, deep=True), channels=("R", "G", "B"))
        bits = few_bits_of_tiff(file)
        return raw if bits is None else of_few_bits(raw, bits)
    with _opened(name, file, problem) as tiff:
        described = _all_pixels(tiff)
        stack = TiffStack(tiff)
        pixels, names = stack.pixels(name, part)
        page = stack.first.keyframe
        if len(stack.alike) > 1 and len({(each.get("SignificantBits"), *_names(each)) for each in described}) > 1:
            raise UnreadDepthError("holds images of different channels or bits: save each alone")
        white = (1 << page.bitspersample) - 1
        if pixels.dtype == np.bool_:
            pixels, white = pixels * np.uint8(255), 255
        extras = [int(each) for each in page.extrasamples]
        alpha = extras[0] if extras in ([1], [2]) and pixels.shape[2] == page.samplesperpixel else 0
        if page.photometric == 0:
            colours = pixels[..., : pixels.shape[2] - bool(alpha)]
            pixels = np.concatenate(
                [np.asarray(white, pixels.dtype) - colours, pixels[..., colours.shape[2] :]], axis=2
            )
        tag = page.tags.get(ORIENTATION)
        pixels = turned(pixels, int(tag.value) if tag is not None else 1)
        if stack.files:
            remark("of several", name, stack.files)
        if stack.left_out:
            remark("left out", name, stack.left_out)
        first = next(iter(described), None)
        return RawImage(pixels, _bits(first, page), names or _channels(tiff, first, pixels.shape[2]), alpha=alpha)


@contextmanager
def _opened(name: str | Path, source: Path | BinaryIO, problem: str | None = None) -> Iterator[Any]:
    """Open a file unless it has a problem; whatever its decoders raise is told of it."""
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        if problem:
            raise UnreadDepthError(problem)
        with TiffFile(source) as tiff:
            if not tiff.series:
                raise UnreadDepthError("has no page")
            yield tiff
    except (DataError, MemoryError):
        raise
    except UnreadDepthError as error:
        reason = str(error)
    except Exception as error:
        if isinstance(source, Path):
            refuse_stand_in(source)
        reason = f"cannot be read ({error or type(error).__name__})"
    else:
        return
    raise refused(str(name), reason) from None


def _bits(pixels: Any, page: Any) -> int | None:
    told = None if pixels is None else pixels.get("SignificantBits")
    if told and told.isdigit() and 8 <= int(told) <= page.bitspersample:
        return int(told)
    return page.bitspersample if page.bitspersample not in (8, 16, 32, 64) else None


def _channels(tiff: Any, pixels: Any, count: int) -> tuple[str, ...]:
    if pixels is not None:
        names = _names(pixels)
    else:
        labels = (tiff.imagej_metadata or {}).get("Labels") if tiff.is_imagej else None
        names = list(labels) if labels else []
    told = [name for name in names if name]
    if len(told) == len(names) == count and len(set(told)) == count:
        return tuple(told)
    return ("R", "G", "B") if int(tiff.series[0].keyframe.photometric) in (2, 6) and count == 3 else ()


def _all_pixels(tiff: Any) -> list[Any]:
    """Return the elements ``Pixels`` of OME-XML, one for each of its images."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return []
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)
    except ElementTree.ParseError:
        return []
    return [each for each in root.iter() if each.tag.rpartition("}")[2] == "Pixels"]


def _names(pixels: Any) -> list[str | None]:
    """Return the names of the channels of an element ``Pixels``."""
    return [each.get("Name") for each in pixels if each.tag.rpartition("}")[2] == "Channel"]


def ome_mpp(tiff: Any) -> tuple[float, float] | None:
    """Return the micrometres per pixel, across and down, that OME-XML tells of the first image of a file; or none.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    """
    pixels = next(iter(_all_pixels(tiff)), None)
    if pixels is None:
        return None
    sides = []
    for axis in "XY":
        unit = _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            sides.append(float(pixels.get(f"PhysicalSize{axis}", "")) * (unit or math.nan))
        except ValueError:
            return None
    return (sides[0], sides[1]) if all(0 < side < math.inf for side in sides) else None


def _imagej_mpp(tiff: Any) -> tuple[float, float] | None:
    unit = _MICROMETRES.get(str((tiff.imagej_metadata or {}).get("unit", "")))
    tags = [tiff.pages.first.tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or None in tags or any(not all(tag.value) for tag in tags):
        return None
    x, y = (unit * tag.value[1] / tag.value[0] for tag in tags)
    return x, y
