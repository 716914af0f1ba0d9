"""Figures and images as addresses that hold them, so that a page needs no file beside it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histokit.figures.sheet import count_letters, laid_out, write_sheet
from histokit.report.page import Picture

#: Figures of many letters or many points are smaller as pixels; outlines of so many letters take about as many bytes.
_MOST_LETTERS, _LARGEST_SVG = 300, 60_000
#: Of each colour of figures as pixels: none differs by more than 4 of 255 from what was drawn.
_SHADES = 32
#: Pixels of a page to an inch: of letters of 7 points that are 12 high.
_INCH = 120
#: Of samples, which differs from the sample less than a JPEG of 88 that is larger by half.
_QUALITY = 85


def figure(sheet: Any, description: str, caption: str) -> Picture:
    """Return a matplotlib figure as a part of a page."""
    width, height = (round(_INCH * float(inches)) for inches in sheet.get_size_inches())
    with laid_out(sheet):
        source = _as_lines(sheet) or _as_pixels(sheet)
    return Picture(source, width, height, description, caption)


class _TooLargeError(Exception):
    """A figure takes more bytes than it may."""


class _SmallFile(io.BytesIO):
    """A file that takes what is small, so that no more of a figure is drawn than it takes."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > _LARGEST_SVG:
            raise _TooLargeError
        return super().write(data)


def _as_lines(sheet: Any) -> str | None:
    """Return the address of a figure that is sharp at each size; none where it would be large."""
    if count_letters(sheet) > _MOST_LETTERS:
        return None
    drawn = _SmallFile()
    try:
        write_sheet(sheet, drawn, ".svg")
    except _TooLargeError:
        return None
    return _address("image/svg+xml", drawn.getvalue())


def _as_pixels(sheet: Any) -> str:
    drawn, written = io.BytesIO(), io.BytesIO()
    write_sheet(sheet, drawn, ".rgba")
    width, height = sheet.canvas.get_width_height()
    pixels = np.frombuffer(drawn.getvalue(), np.uint8).reshape(height, width, 4)[:, :, :3]
    step = 255 / (_SHADES - 1)
    shades = np.round(np.round(np.arange(256) / step) * step).astype(np.uint8)
    # Without a loss, 100 is the effort.
    Image.fromarray(shades[pixels]).save(written, "WEBP", lossless=True, quality=100)
    return _address("image/webp", written.getvalue())


def image_address(pixels: NDArray[np.uint8]) -> str:
    """Return a picture of (H, W, 3) as an address."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "WEBP", quality=_QUALITY)
    return _address("image/webp", written.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
