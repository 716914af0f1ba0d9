"""Figures and images as addresses that hold them, so that a page needs no file beside it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histokit.figures.sheet import sheet_bytes
from histokit.report.page import Picture

#: Figures of many points are smaller as pixels.
_LARGEST_SVG = 60_000
#: Of figures as pixels, which have few.
_SHADES = 128
#: Pixels of a page to an inch: of letters of 7 points that are 12 high.
_INCH = 120


def figure(sheet: Any, description: str, caption: str) -> Picture:
    """Return a matplotlib figure as a part of a page."""
    drawn = sheet_bytes(sheet, ".svg")
    width, height = (round(_INCH * float(inches)) for inches in sheet.get_size_inches())
    if len(drawn) <= _LARGEST_SVG:
        return Picture(_address("image/svg+xml", drawn), width, height, description, caption)
    written = io.BytesIO()
    with Image.open(io.BytesIO(sheet_bytes(sheet, ".png"))) as pixels:
        pixels.convert("RGB").quantize(_SHADES).save(written, "PNG", optimize=True)
    return Picture(_address("image/png", written.getvalue()), width, height, description, caption)


def image_address(pixels: NDArray[np.uint8]) -> str:
    """Return a picture of (H, W, 3) as an address."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=88)
    return _address("image/jpeg", written.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
