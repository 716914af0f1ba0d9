"""TIFF and OME-TIFF files with all that they hold: channels, planes, numbers of any kind, and what they say of them."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError
from histokit.plugin.deep_colours import ORIENTATION, UnreadDepthError, decoded_page, turned
from histokit.plugin.raw_images import ImageReader, RawImage

#: Axes of a picture itself, in the letters of `tifffile`: rows, columns, numbers of a pixel, channels.
_OF_A_PICTURE = "YXSC"

#: What other axes are called in the names of parts; those without a meaning are pages.
_NAMES = {"Z": "z", "T": "t", "R": "r", "H": "h", "L": "l", "A": "a", "E": "e"}
_PAGE = "page"

#: Micrometres in units of OME-XML and ImageJ.
_MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "\\u00B5m", "micrometer", "micrometre"), 1.0),
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}

_MOST_PIXELS = 1 << 31


class _Plane(NamedTuple):
    """An axis that is not of a picture itself: its letter, what it is called, and how many planes it has."""

    letter: str
    name: str
    length: int


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
        return _raw(path, path, part)

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
            planes = _planes(tiff.series[0])
        axes = [[f"{plane.name}={number}" for number in range(plane.length)] for plane in planes]
        return [",".join(names) for names in itertools.product(*axes)] if planes else []

    def mpp(self, path: Path) -> float | None:
        """Return the micrometres per pixel that OME-XML or ImageJ wrote.

        Raises
        ------
        DataError
            If it cannot be read, or pixels are not square.
        """
        with _opened(path, path) as tiff:
            sides = _ome_mpp(tiff) if tiff.is_ome else _imagej_mpp(tiff) if tiff.is_imagej else None
        if sides is None:
            return None
        if not math.isclose(*sides, rel_tol=0.01):
            raise DataError(
                f"{path} has pixels of {sides[0]:g} × {sides[1]:g} µm, which are not square.",
                next="Resample it, or give the micrometres per pixel yourself.",
            )
        return sides[0]


def _raw(path: str | Path, source: Path | BinaryIO, part: str | None) -> RawImage:
    with _opened(path, source) as tiff:
        series = tiff.series[0]
        planes, axes = _planes(series), series.axes
        pages = [plane for plane in planes if plane.name == _PAGE]
        if part is None and len(planes) == 1 == len(pages) and not set(axes) & set("CS"):
            planes, axes = [], axes.replace(pages[0].letter, "C")
        pixels = _pixels(series, axes, _index(path, planes, part))
        page = series.keyframe
        if page.photometric == 0 and pixels.dtype.kind == "u":
            pixels = np.asarray((1 << page.bitspersample) - 1, pixels.dtype) - pixels
        tag = page.tags.get(ORIENTATION)
        pixels = turned(pixels, int(tag.value) if tag is not None else 1)
        names = () if axes == series.axes else tuple(f"{_PAGE}={k}" for k in range(pixels.shape[2]))
        return RawImage(pixels, _bits(tiff, page), names or _channels(tiff, pixels.shape[2]))


@contextmanager
def _opened(path: str | Path, source: Path | BinaryIO) -> Iterator[Any]:
    """Open a file; whatever its decoders raise is told of it."""
    from tifffile import TiffFile

    try:
        with TiffFile(source) as tiff:
            if not tiff.series:
                raise UnreadDepthError("has no page")
            yield tiff
    except DataError:
        raise
    except MemoryError:
        raise
    except UnreadDepthError as error:
        reason = str(error)
    except Exception as error:
        reason = f"cannot be read ({error or type(error).__name__})"
    else:
        return
    raise DataError(f"{path} {reason}.", next="Replace the file, then ingest the dataset again.") from None


def _planes(series: Any) -> list[_Plane]:
    found = [(axis, int(size)) for axis, size in zip(series.axes, series.shape, strict=True)]
    return [_Plane(a, _NAMES.get(a, _PAGE), size) for a, size in found if a not in _OF_A_PICTURE and size > 1]


def _index(path: str | Path, planes: Sequence[_Plane], part: str | None) -> dict[str, int]:
    """Return which plane of each axis is asked for."""
    sizes = ", ".join(f"{plane.name}=0 to {plane.length - 1}" for plane in planes)
    if part is None:
        if planes:
            count = math.prod(plane.length for plane in planes)
            raise DataError(
                f"{path} has {count} planes or pages ({sizes}), which are not one image.",
                next="Choose one, all, or their maximum: -o planes=each, max, or such as "
                f"{','.join(f'{plane.name}=0' for plane in planes)}.",
            )
        return {}
    wanted = dict(re.findall(r"(\w+)=(\d+)", part))
    index = {plane.letter: int(wanted.pop(plane.name, -1)) for plane in planes}
    if wanted or any(not 0 <= index[plane.letter] < plane.length for plane in planes):
        raise DataError(f"{path} has no plane {part!r}: it has {sizes or 'one only'}.", next="Name one that it has.")
    return index


def _pixels(series: Any, axes: str, index: dict[str, int]) -> npt.NDArray[Any]:
    """Return one plane as (H, W, channels), reading no more than its pages where that can be done."""
    shape = series.shape
    if math.prod(shape[axes.index(a)] for a in "YX") > _MOST_PIXELS:
        raise UnreadDepthError("has too many pixels to be opened safely")
    channels = shape[axes.index("C")] if "C" in axes else 1
    outer = [a for a in axes if a not in "YXS"]
    if len(series.pages) == math.prod(shape[axes.index(a)] for a in outer) and "S" not in axes.rstrip("S"):
        sizes = [shape[axes.index(a)] for a in outer]
        found = []
        for channel in range(channels):
            place = [channel if a == "C" else index.get(a, 0) for a in outer]
            number = int(np.ravel_multi_index(place, sizes)) if outer else 0
            page = series.pages[number]
            if page is None:
                raise UnreadDepthError("lacks one of its planes")
            found.append(decoded_page(page))
        return np.concatenate(found, axis=2)
    whole = series.asarray()
    for a in [a for a in axes if a not in _OF_A_PICTURE]:
        whole = np.take(whole, index.get(a, 0), axis=axes.index(a))
        axes = axes.replace(a, "", 1)
    order = [axes.index(a) for a in "YX"]
    rest = [k for k in range(whole.ndim) if k not in order]
    return np.transpose(whole, [*order, *rest]).reshape(*(whole.shape[k] for k in order), -1)


def _bits(tiff: Any, page: Any) -> int | None:
    pixels = _ome_pixels(tiff)
    told = None if pixels is None else pixels.get("SignificantBits")
    if told and told.isdigit() and 8 <= int(told) <= page.bitspersample:
        return int(told)
    return page.bitspersample if page.bitspersample not in (8, 16, 32, 64) else None


def _channels(tiff: Any, count: int) -> tuple[str, ...]:
    pixels = _ome_pixels(tiff)
    if pixels is not None:
        names = [each.get("Name") for each in pixels if each.tag.rpartition("}")[2] == "Channel"]
    else:
        labels = (tiff.imagej_metadata or {}).get("Labels") if tiff.is_imagej else None
        names = list(labels) if labels else []
    told = [name for name in names if name]
    if len(told) == len(names) == count and len(set(told)) == count:
        return tuple(told)
    return ("R", "G", "B") if int(tiff.series[0].keyframe.photometric) in (2, 6) and count == 3 else ()


def _ome_pixels(tiff: Any) -> Any:
    """Return the first element ``Pixels`` of OME-XML; none where there is none."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(tiff.ome_metadata)
    except ElementTree.ParseError:
        return None
    return next((each for each in root.iter() if each.tag.rpartition("}")[2] == "Pixels"), None)


def _ome_mpp(tiff: Any) -> tuple[float, float] | None:
    pixels = _ome_pixels(tiff)
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
