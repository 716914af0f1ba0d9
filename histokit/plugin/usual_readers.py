"""The readers of image files that come with histokit, registered as those of plugins are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from histokit.named_objects import named_object
from histokit.plugin.hookspecs import RegisterReader, hookimpl
from histokit.plugin.images import Pixels, read_image
from histokit.plugin.raw_images import ImageReader, RawImage
from histokit.plugin.remarks import collected_remarks, repeat

#: Suffix → its reader.
_READERS = {
    **dict.fromkeys((".tif", ".tiff"), "histokit.plugin.tiff_images:TiffImages"),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"),
        "histokit.plugin.usual_readers:UsualImages",
    ),
}


@hookimpl
def register_readers(register: RegisterReader) -> None:
    """Register the readers; none is imported before it is asked for."""
    for suffix, place in _READERS.items():
        register(suffix, partial(named_object, place))


class UsualImages(ImageReader):
    """Images of three channels or one, as Pillow reads them."""

    def read(self, path: Path, part: str | None) -> RawImage:
        """Return red, green and blue, as of `of_colours`."""
        return of_colours(lambda: read_image(path, deep=True))


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
