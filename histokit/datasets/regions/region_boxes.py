"""Which pixels are cut out for a region, and which regions are left out."""

from __future__ import annotations

from typing import Literal

from histokit.datasets.regions.boxes import (
    IN_PIXELS,
    Length,
    around,
    enclosing,
    in_shares,
    parse_length,
    require_resolution,
    side,
    widened,
)
from histokit.datasets.regions.region import Reading, Region
from histokit.errors import UsageError
from histokit.plugin.images import Box

Points = Literal["keep", "drop", "only"]
SizeFor = Literal["all", "points"]


class RegionBoxes:
    """Gives regions their boxes.

    Parameters
    ----------
    size : str, optional
        The side of the box around a region's middle, in pixels or micrometres.
    size_for : {"all", "points"}
        Which regions have a box of that size; others have their own.
    points : {"keep", "drop", "only"}
        Whether points are samples, none, or the only ones.
    margin : int
        Pixels around a region that has its own box.
    min_size : int
        Regions of fewer pixels in width or height are left out.
    mpp : float, optional
        Micrometres per pixel.

    Raises
    ------
    UsageError
        If options are out of range or contradict each other.
    """

    def __init__(
        self, size: str | None, size_for: SizeFor, points: Points, margin: int, min_size: int, mpp: float | None
    ):
        self.size_for, self.points, self.mpp = size_for, points, mpp
        self.margin, self.min_size = _at_least(0, "margin", margin), _at_least(1, "min_size", min_size)
        if mpp is not None:
            require_resolution(mpp)
        self.size: Length | None = None if size is None else parse_length(size)
        if size is not None and self.size is None:
            raise UsageError(f"The option size={size!r} is no length.", next="Write 64, for pixels, or 32um.")
        if self.size is not None and self.size.pixels(mpp) is None:
            raise UsageError(f"A size of {size} needs a resolution.", next="Add -o mpp=MICROMETRES_PER_PIXEL.")
        if size is None and points == "only":
            raise UsageError("Points have no size of their own.", next="Add -o size=64 or -o size=32um.")
        if size_for == "points" and (size is None or points == "drop"):
            raise UsageError(
                "The option size_for=points gives points a size, "
                + ("and none is given." if size is None else "and points=drop leaves them out."),
                next="Add -o size=64 or -o size=32um." if size is None else "Leave one of the two out.",
            )

    def box(self, region: Region, reading: Reading) -> Box | None:
        """Return the pixels of a region, none where it is left out.

        Raises
        ------
        DataError
            If it lies or reaches where no image does.
        """
        extent, number = region.extent, region.number
        if self.points == ("drop" if region.is_point else "only"):
            reading.leave_out(
                f"are of the kind {'point' if region.is_point else 'area'} (points={self.points})", number
            )
            return None
        if not region.is_point and (shares := in_shares(extent)):
            raise reading.wrong(number, shares, next=IN_PIXELS)
        try:
            inner = None if region.is_point else enclosing(extent)
        except ValueError:
            if min(extent.width, extent.height) == 0:
                reading.leave_out("have no area, for a width or height of 0", number)
                return None
            raise reading.wrong(number, f"has a width of {extent.width:g} and a height of {extent.height:g}") from None
        if inner is not None and min(inner[2:]) < self.min_size:
            reading.leave_out(f"have fewer than {self.min_size} pixels in width or height (min_size)", number)
            return None
        try:
            if self.size is not None and (inner is None or self.size_for == "all"):
                if region.is_point:
                    reading.meet(extent.middle)
                pixels = side(self.size, self.mpp, f"Annotation {number} of {str(reading.path)!r}")
                return around(*extent.middle, pixels, pixels)
            if inner is not None:
                return widened(inner, self.margin)
        except ValueError:
            raise reading.wrong(number, f"lies at {extent.middle}, which no image reaches") from None
        reading.leave_out("are of the kind point, which has no size (-o size=64 or 32um gives them one)", number)
        return None


def _at_least(least: int, option: str, number: int) -> int:
    if number < least:
        raise UsageError(f"The option {option}={number} is less than {least}.", next="Give a number of pixels.")
    return number
