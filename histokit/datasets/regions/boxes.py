"""Boxes of whole pixels, from regions and centres that are given in fractions of them."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from histokit.errors import DataError, UsageError, shortened
from histokit.plugin.images import Box

#: What sums of fractions are off by: such an edge lies between two pixels, not in one.
_SLACK = 1e-6
#: What the store keeps.
_LARGEST = 1 << 31
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(px|um|µm|μm)?", re.IGNORECASE)


class Extent(NamedTuple):
    """A region's bounding box, where the first pixel reaches from 0 to 1."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """The point in its middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    def holds(self, other: Extent) -> bool:
        """Whether another one lies in it."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )

    def meets(self, other: Extent) -> bool:
        """Whether some point lies in both."""
        across = self.x <= other.x + other.width and other.x <= self.x + self.width
        return across and self.y <= other.y + other.height and other.y <= self.y + self.height


#: What is to be done about boxes in shares of an image.
IN_PIXELS = "Write boxes in pixels: x and width times the width of the image, y and height times its height."


def in_shares(extent: Extent) -> str | None:
    """Return what is wrong with a box inside the first pixel, as it is in shares of an image's sides; else none."""
    x, y, width, height = map(float, extent)
    if not (x >= 0 and y >= 0 and 0 < width < 1 and 0 < height < 1 and max(x + width, y + height) <= 1 + _SLACK):
        return None
    numbers = ", ".join(f"{each:g}" for each in extent)
    return f"has the box {numbers}, which lies inside the first pixel: it seems to be in shares of the image"


#: What is to be done about points in shares of an image.
POINTS_IN_PIXELS = "Write points in pixels: x times the width of the image, y times its height."


def point_in_shares(x: float, y: float) -> bool:
    """Whether a point may be in shares of an image's sides: inside the first pixel, and on none of its corners."""
    return 0 <= x <= 1 and 0 <= y <= 1 and not (x in (0, 1) and y in (0, 1))


class Length(NamedTuple):
    """The side of a box: pixels, or micrometres."""

    number: float
    micrometres: bool = False

    def pixels(self, mpp: float | None) -> int | None:
        """Return it in whole pixels, halves upwards; none where micrometres need a resolution that is not known."""
        if not self.micrometres:
            return nearest(self.number)
        return None if mpp is None else nearest(min(self.number / mpp, 4 * _LARGEST))


def enclosing(extent: Extent) -> Box:
    """Return the smallest box that holds every pixel which a region touches: edges are rounded outwards.

    Raises
    ------
    ValueError
        If there is no such box: a number is none, the width or the height is not above 0, or too large.
    """
    numbers = map(float, extent)
    x, y, width, height = numbers
    if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
        raise ValueError(extent)
    left, top = math.floor(x + _SLACK), math.floor(y + _SLACK)
    right, bottom = math.ceil(x + width - _SLACK), math.ceil(y + height - _SLACK)
    return _fitting(left, top, max(1, right - left), max(1, bottom - top))


def around(x: float, y: float, width: int, height: int) -> Box:
    """Return the box of a size around a point, its edges moved to the nearest ones between pixels, halves upwards.

    Raises
    ------
    ValueError
        If there is no such box.
    """
    if not (math.isfinite(x) and math.isfinite(y)) or min(width, height) < 1:
        raise ValueError(x, y, width, height)
    return _fitting(nearest(x - width / 2), nearest(y - height / 2), width, height)


def widened(box: Box, margin: int) -> Box:
    """Return a box with some more pixels on each side."""
    x, y, width, height = box
    return _fitting(x - margin, y - margin, width + 2 * margin, height + 2 * margin)


def nearest(number: float) -> int:
    """Return the nearest whole number, halves upwards."""
    return math.floor(number + 0.5)


def _fitting(x: int, y: int, width: int, height: int) -> Box:
    if max(map(abs, (x, y, x + width, y + height))) >= _LARGEST:
        raise ValueError(x, y, width, height)
    return x, y, width, height


def parse_length(text: str) -> Length | None:
    """Return what ``64``, ``64px``, ``32um`` or ``32µm`` says; none for another text.

    Raises
    ------
    UsageError
        If it is 0, or larger than any image.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    if not 0 < float(found[1]) < _LARGEST:
        what = "nothing" if float(found[1]) <= 0 else "larger than any image"
        hint = "Give the side of the box, such as 64 or 32um."
        raise UsageError(f"The option size={shortened(text)} is {what}.", next=hint)
    return Length(float(found[1]), (found[2] or "px").lower() != "px")


def require_resolution(mpp: float, text: str = "") -> None:
    """Raise a `UsageError` where an option says micrometres per pixel that no image has."""
    if not 0 < mpp < math.inf:
        what = f"The option mpp={text or f'{mpp:g}'} is no resolution."
        raise UsageError(what, next="Give more than 0 µm per pixel, or leave it out.")


def side(length: Length, mpp: float | None, what: str) -> int:
    """Return a side in pixels.

    Parameters
    ----------
    what : str
        Whose it is, for messages.

    Raises
    ------
    DataError
        If it needs a resolution that is not known, or is less than a pixel.
    """
    pixels = length.pixels(mpp)
    if pixels is None:
        raise DataError(
            f"{what} has no resolution, so that a size of {length.number:g} µm says no number of pixels.",
            next="Give micrometres per pixel with -o mpp=, or the size in pixels.",
        )
    if pixels < 1:
        raise DataError(
            f"{what} has {mpp} µm per pixel, so that a size of {length.number:g} µm is less than a pixel.",
            next="Check the size and the resolution.",
        )
    return pixels
