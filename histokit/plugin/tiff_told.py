"""What programs tell of an image in the description of a TIFF file: ImageJ, OME and tifffile."""

from __future__ import annotations

import json
import re
from typing import Any

from histokit.plugin.tiff_tags import Page

_COLOUR = re.compile(r"<(?:\w+:)?Channel\b[^>]*\bColor\s*=\s*[\"'](-?\d{1,10})[\"']")
_RED_GREEN_BLUE = [0xFF0000, 0x00FF00, 0x0000FF]
_FILE_NAME = re.compile(r"<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*[\"']([^\"']+)")


def told_planes(page: Page) -> tuple[int, int]:
    """Return how many planes the description of a file tells of, and how many channels they are; 1 or 0 where none."""
    text = page.description
    if text.startswith("ImageJ="):
        found = {name: int(number) for name, number in re.findall(r"^(\w+)=(\d+)\s*$", text, re.MULTILINE)}
        axes = [found.get(name, 1) for name in ("channels", "slices", "frames")]
        return found.get("images", 1), axes[0] if axes[1:] == [1, 1] else 0
    if "<OME" in text[:1000] or "<Pixels" in text:
        if other_files(text):
            # Of which each has some of the planes.
            return 1, 0
        sizes = [int(_attribute(text, f"Size{axis}") or 1) for axis in "CZT"]
        in_one = 1 if page.samples == 1 else page.samples
        return max(1, sizes[0] * sizes[1] * sizes[2] // in_one), sizes[0] if sizes[1:] == [1, 1] else 0
    return _told_by_tifffile(page)


def are_coloured_otherwise(page: Page) -> bool:
    """Whether OME calls three channels red, green and blue, and not in this order."""
    text = page.description.partition("</Pixels>")[0]
    colours = [int(colour) >> 8 & 0xFFFFFF for colour in _COLOUR.findall(text)]
    return colours != _RED_GREEN_BLUE and sorted(colours, reverse=True) == _RED_GREEN_BLUE


def other_files(text: str) -> str:
    """Return that OME-XML tells of more files of the same image, for people; an empty text where it does not."""
    count = len(set(_FILE_NAME.findall(text))) - 1
    return f"{count} more file{'s' * (count > 1)} of the same image" if count > 0 else ""


def _told_by_tifffile(page: Page) -> tuple[int, int]:
    try:
        told: Any = json.loads(page.description)
        shape, axes = [int(size) for size in told["shape"]], str(told.get("axes", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 1, 0
    whole = page.size[0] * page.size[1] * page.samples
    count = 1
    for size in shape:
        count *= size
    planes = max(1, count // max(1, whole))
    return planes, planes if len(shape) == 3 and axes[:1] == "C" else 0


def declared_bits(page: Page) -> int:
    """Return of how many bits a pixel's grey makes use.

    MaxSampleValue does not tell it: by TIFF 6.0 it is the largest value of this one image, not to change how it looks.
    """
    stored = page.value(258, 16)
    declared = _attribute(page.description, "SignificantBits")
    return min(stored, int(declared)) if declared and int(declared) >= 8 else stored


def _attribute(text: str, name: str) -> str | None:
    """Return a whole number among the attributes of the first ``Pixels`` of OME-XML."""
    pixels = next(iter(re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", text)), "")
    return next(iter(re.findall(rf'\b{name}\s*=\s*["\'](\d{{1,9}})["\']', pixels)), None)
