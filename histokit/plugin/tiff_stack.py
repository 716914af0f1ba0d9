"""The pictures of a TIFF file: its first series, or pages that were written one by one, as planes and channels."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError
from histokit.plugin.deep_colours import ORIENTATION, UnreadDepthError, decoded, decoded_page, refuse_damage
from histokit.plugin.tiff_told import other_files

#: Axes of a picture itself, in the letters of `tifffile`: rows, columns, numbers of a pixel, channels.
_OF_A_PICTURE = "YXSC"

#: What other axes are called in the names of parts; those without a meaning are pages.
_NAMES = {"Z": "z", "T": "t", "R": "r", "H": "h", "L": "l", "A": "a", "E": "e"}
_PAGE, _SERIES = "page", "series"

_MOST_PIXELS = 1 << 31

_REDUCED = 1


class _Plane(NamedTuple):
    """An axis that is not of a picture itself: its letter, what it is called, and how many planes it has."""

    letter: str
    name: str
    length: int


class TiffStack:
    """The pictures of a TIFF file.

    Parameters
    ----------
    tiff : tifffile.TiffFile

    Attributes
    ----------
    planes : list
        Axes that are not of one picture.
    files : str
        Which other files hold more of the same image; empty where none does.
    left_out : str
        What besides is in the file; empty where nothing is.

    Raises
    ------
    UnreadDepthError
        If it is not clear which picture is meant.
    """

    def __init__(self, tiff: Any):
        self.files = other_files(tiff.ome_metadata or "") if tiff.is_ome else ""
        if tiff.series[0].is_multifile:
            # Of several files of one image, each is read for its own pages.
            tiff = type(tiff)(tiff.filehandle, is_ome=False)
        whole = [series for series in tiff.series if not int(series.keyframe.subfiletype) & _REDUCED]
        if not whole:
            raise UnreadDepthError("has only reduced images: save the full one as a plain TIFF or PNG")
        self.first = whole[0]
        self.alike = [series for series in whole if _kind(series) == _kind(self.first)]
        self.planes = _planes(self.first)
        if len(self.alike) > 1:
            if self.planes:
                raise UnreadDepthError(f"holds {len(self.alike)} images of several planes each: save each alone")
            self.planes = [_Plane("", _SERIES if tiff.is_ome else _PAGE, len(self.alike))]
        others = [series for series in whole if _kind(series) != _kind(self.first)]
        larger = next((series for series in others if _area(series) > _area(self.first)), None)
        if larger is not None:
            raise UnreadDepthError("holds a larger image than its first: save the one that is meant alone")
        count = len(others)
        self.left_out = f"{count} more image{'s' * (count > 1)}" if count and not tiff.is_svs else ""

    @property
    def parts(self) -> list[str]:
        """The names of the planes, such as ``t=0,z=3``; none where there is one picture."""
        axes = [[f"{plane.name}={number}" for number in range(plane.length)] for plane in self.planes]
        return [",".join(names) for names in itertools.product(*axes)] if self.planes else []

    def pixels(self, path: Any, part: str | None) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
        """Return a plane as (H, W, channels), and the names of channels that are pages of which nothing is said.

        Raises
        ------
        DataError
            If there are several planes and none is named, or there is none of that name.
        """
        axes = self.first.axes
        pages = [plane for plane in self.planes if plane.name == _PAGE]
        if part is None and len(self.planes) == 1 == len(pages) and not set(axes) & set("CS"):
            names = tuple(f"{_PAGE}={k}" for k in range(pages[0].length))
            if not pages[0].letter:
                return np.concatenate([_pixels(series, axes, {}) for series in self.alike], axis=2), names
            return _pixels(self.first, axes.replace(pages[0].letter, "C"), {}), names
        index = self._index(path, part)
        return _pixels(self.alike[index.pop("", 0)], axes, index), ()

    def _index(self, path: Any, part: str | None) -> dict[str, int]:
        """Return which plane of each axis is asked for."""
        planes = self.planes
        sizes = ", ".join(f"{plane.name}=0 to {plane.length - 1}" for plane in planes)
        if part is None:
            if planes:
                count = math.prod(plane.length for plane in planes)
                one = ",".join(f"{plane.name}=0" for plane in planes)
                raise DataError(
                    f"{path} has {count} planes or pages ({sizes}), which are not one image.",
                    next="Choose all, their maximum or one (ingest folder or table with -o planes=each, max, or such "
                    f"as {one}), or save each alone.",
                )
            return {}
        wanted = dict(re.findall(r"(\w+)=(\d+)", part))
        index = {plane.letter: int(wanted.pop(plane.name, -1)) for plane in planes}
        if wanted or any(not 0 <= index[plane.letter] < plane.length for plane in planes):
            raise DataError(
                f"{path} has no plane {part!r}: it has {sizes or 'one only'}.", next="Name one that it has."
            )
        return index


def _kind(series: Any) -> tuple[Any, ...]:
    turned = series.keyframe.tags.get(ORIENTATION)
    return series.shape, series.dtype, series.axes, int(series.keyframe.photometric), turned and int(turned.value)


def _area(series: Any) -> int:
    return math.prod(series.shape[series.axes.index(a)] for a in "YX")


def _planes(series: Any) -> list[_Plane]:
    found: Sequence[tuple[str, int]] = [(a, int(size)) for a, size in zip(series.axes, series.shape, strict=True)]
    return [_Plane(a, _NAMES.get(a, _PAGE), size) for a, size in found if a not in _OF_A_PICTURE and size > 1]


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
    if any(page is None for page in series.pages):
        raise UnreadDepthError("lacks one of its planes")
    for page in series.pages:
        refuse_damage(page)
    whole = decoded(series, series.pages[0])
    for a in [a for a in axes if a not in _OF_A_PICTURE]:
        whole = np.take(whole, index.get(a, 0), axis=axes.index(a))
        axes = axes.replace(a, "", 1)
    order = [axes.index(a) for a in "YX"]
    rest = [k for k in range(whole.ndim) if k not in order]
    return np.transpose(whole, [*order, *rest]).reshape(*(whole.shape[k] for k in order), -1)
