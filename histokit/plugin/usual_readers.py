"""The readers of image files that come with histokit, registered as those of plugins are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from histokit.files import oddity
from histokit.named_objects import named_object
from histokit.plugin.hookspecs import RegisterReader, hookimpl
from histokit.plugin.images import Pixels, read_image
from histokit.plugin.netpbm import HEAD
from histokit.plugin.raw_images import ImageReader, RawImage
from histokit.plugin.raw_numbers import as_stored
from histokit.plugin.remarks import collected_remarks, repeat
from histokit.plugin.tiff_tags import byte_order

#: Of files that are looked for where no pattern says which.
_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")


@hookimpl
def register_readers(register: RegisterReader) -> None:
    """Register the readers; none is imported before it is asked for."""
    for suffix in _SUFFIXES:
        register(suffix, partial(named_object, "histokit.plugin.usual_readers:ImagesByContent"))


class ImagesByContent(ImageReader):
    """Reads image files by what they begin with: names of TIFF files end in many ways, and in wrong ones."""

    def read(self, path: Path, part: str | None) -> RawImage | npt.NDArray[Any]:
        """Return all that a TIFF file holds, and red, green and blue of all others."""
        return _reader(path).read(path, part)

    def parts(self, path: Path) -> Sequence[str]:
        """Return the planes of a TIFF file; none of all others."""
        return _reader(path).parts(path)

    def mpp(self, path: Path) -> float | None:
        """Return the micrometres per pixel that a TIFF file states."""
        return _reader(path).mpp(path)


def _reader(path: Path) -> ImageReader:
    if not oddity(path):
        with suppress(OSError), path.open("rb") as file:
            if byte_order(file.read(4)):
                tiff: ImageReader = named_object("histokit.plugin.tiff_images:TiffImages")()
                return tiff
    return UsualImages()


class UsualImages(ImageReader):
    """Images of three channels or one, as Pillow reads them."""

    def read(self, path: Path, part: str | None) -> RawImage:
        """Return red, green and blue, as of `of_colours`, in the numbers that the file holds."""
        found = of_colours(lambda: read_image(path, deep=True))
        with path.open("rb") as file:
            return as_stored(found, file.read(HEAD), path.read_bytes)


def of_colours(read: Callable[[], Pixels]) -> RawImage:
    """Return red, green and blue; whether they use the range is no matter before they are scaled.

    Parameters
    ----------
    read : callable
        Returns (H, W, 3) pixels, or raises.
    """
    with collected_remarks() as remarks:
        pixels = read()
    repeat(each for each in remarks if each.kind != "dark")
    return RawImage(pixels, channels=("R", "G", "B"))
