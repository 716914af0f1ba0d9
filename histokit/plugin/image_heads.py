"""What the first bytes of an image file tell of it, before anything is decoded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from histokit.files import oddity, suffix_of
from histokit.plugin.deep_colours import ORIENTATION
from histokit.plugin.images import opened_image
from histokit.plugin.raw_images import is_foreign
from histokit.plugin.tiff_tags import byte_order, read_pages

#: Orientations that change width for height.
_ON_ITS_SIDE = (5, 6, 7, 8)


def upright_size(path: Path, expected: tuple[int, int]) -> tuple[int, int] | None:
    """Return the width and height of an image as `read_image` turns it.

    Parameters
    ----------
    path : Path
    expected : (width, height)
        A PNG file, which may say only behind its pixels how it is turned, is read that far only where the answer
        depends on it.

    Returns
    -------
    (width, height), optional
        None where the file cannot be opened, or is read by a plugin.
    """
    if is_foreign(suffix_of(str(path))) or oddity(str(path)):
        return None
    # What is the matter with a file is told by whoever reads it.
    with suppress(Exception), path.open("rb") as file:
        head = file.read(4)
        return _of_tiff(file) if byte_order(head) else _of_others(file, expected)
    return None


def _of_tiff(file: BinaryIO) -> tuple[int, int] | None:
    page = read_pages(file)[0]
    return _turned(page.size, page.value(ORIENTATION, 1))


def _of_others(file: BinaryIO, expected: tuple[int, int]) -> tuple[int, int]:
    file.seek(0)
    with opened_image(file) as image:
        size: tuple[int, int] = image.size
        if image.format == "PNG" and (size == expected or size != expected[::-1]) and "exif" not in image.info:
            return size
        return _turned(size, int(image.getexif().get(ORIENTATION, 1)))


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in _ON_ITS_SIDE else size
