"""What is the same of annotations, whatever file they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from histokit.datasets.cells import tidy_text
from histokit.datasets.regions.boxes import POINTS_IN_PIXELS, Extent, point_in_shares
from histokit.datasets.walk import Tally
from histokit.errors import DataError

#: Width and height.
Size = tuple[int, int]


class Region(NamedTuple):
    """A box, an outline or a point in an image.

    Parameters
    ----------
    number : int
        In its file, from 1; also of what is left out.
    image : str, optional
        As the file calls it; none where the file's own name tells.
    id : str
        Unique in its image.
    label : str, optional
    extent : Extent
        Of width and height 0, it is a point.
    outline : str, optional
        As of `histokit.datasets.regions.outlines`, where outlines were asked for and it has one.
    columns : mapping
    size : (width, height), optional
        Of the image, as the file lists it.
    """

    number: int
    image: str | None
    id: str
    label: str | None
    extent: Extent
    outline: str | None
    columns: Mapping[str, Any]
    size: Size | None = None

    @property
    def is_point(self) -> bool:
        """Whether it has no area, and was not meant to have one."""
        return self.extent.width == 0 == self.extent.height


@dataclass
class Reading:
    """How a file of annotations is read, and what is met in it.

    Parameters
    ----------
    path : Path
    label : str, optional
        The field that says the class, parts of its name separated by ``.``; that of the format where not given.
    outlines : bool
        Whether outlines are wanted.
    first_pixel : int
        The coordinate of the first pixel in boxes of first and last pixels; of 0, the last is not in the box.
    labels_elsewhere : bool
        Whether a path says the class where an annotation has none.
    left_out, noted : dict
        Why annotations were left out, and what is to be known of others, as the end of a sentence → which ones.
    fields : set of str
        Names of fields among which that of the class is.
    corners : bool, optional
        Whether COCO's ``bbox`` holds two corners; where not given, it does not, unless all of them look as if.
    points, in_shares : int
        How many points were met, and how many of them may be in shares of the image.
    boxes, beyond, as_corners : int
        How many boxes in images of a listed size were met, how many of them reach beyond the image, and how many would
        lie in it if width and height were a second corner.
    """

    path: Path
    label: str | None = None
    outlines: bool = False
    first_pixel: int = 1
    labels_elsewhere: bool = False
    corners: bool | None = None
    left_out: dict[str, Tally] = field(default_factory=dict)
    noted: dict[str, Tally] = field(default_factory=dict)
    fields: set[str] = field(default_factory=set)
    points: int = 0
    in_shares: int = 0
    boxes: int = 0
    beyond: int = 0
    as_corners: int = 0

    def leave_out(self, reason: str, number: int) -> None:
        """Count an annotation that is no sample."""
        self.left_out.setdefault(reason, Tally()).add(f"{self.path.name}, {number}")

    def note(self, what: str, number: int) -> None:
        """Count an annotation of which there is something to be known."""
        self.noted.setdefault(what, Tally()).add(f"{self.path.name}, {number}")

    def meet(self, point: tuple[float, float]) -> None:
        """Count a point that gets a box."""
        self.points += 1
        self.in_shares += point_in_shares(*point)

    def meet_box(self, extent: Extent, size: Size, number: int) -> None:
        """Count a box in an image of a size, and note one that reaches beyond it by more than a pixel."""
        inside = Extent(-1, -1, size[0] + 2, size[1] + 2)
        self.boxes += 1
        if not inside.holds(extent):
            self.beyond += 1
            self.note("have a box that reaches beyond the image, where pixels are reflected", number)
        x, y, right, bottom = extent
        self.as_corners += x < right and y < bottom and inside.holds(Extent(right, bottom, 0, 0))

    def require_sizes(self) -> None:
        """Raise where numbers that should be widths and heights are corners: MIDOG's files are COCO's but for that.

        Raises
        ------
        DataError
        """
        if self.corners is None and self.beyond and self.boxes == self.as_corners:
            boxes = "The box reaches" if self.boxes == 1 else f"{self.beyond:,} of {self.boxes:,} boxes reach"
            raise DataError(
                f"{boxes} beyond the image, and all would lie in it if bbox were x1, y1, x2, y2; COCO's is x, y, "
                f"width, height ({str(self.path)!r}).",
                next="Say which it is: -o corners=true for two corners, -o corners=false for width and height.",
            )

    def require_pixels(self) -> None:
        """Raise where all points lie inside the first pixel, as they do in shares of an image.

        Raises
        ------
        DataError
        """
        if self.points and self.points == self.in_shares:
            raise DataError(
                f"All points, the last of them in {str(self.path)!r}, lie inside the first pixel: they seem to be in "
                "shares of the image.",
                next=POINTS_IN_PIXELS,
            )

    def wrong(self, number: int, what: str, entry: str = "Annotation", next: str = "") -> DataError:
        """Return the error on an annotation, or another entry of the file."""
        next = next or "Mend it, or export the annotations again."
        return DataError(f"{entry} {number:,} of {str(self.path)!r} {what}.", next=next)

    def listed_size(self, width: Any, height: Any, number: int = 1) -> Size | None:
        """Return the size that the file lists for an image; none where it is empty or 0, as programs leave it.

        Raises
        ------
        DataError
            If it is no two numbers.
        """
        try:
            sides = [as_number(side or 0) for side in (width, height)]
            if min(sides) < 0 or not all(side.is_integer() for side in sides):
                raise ValueError(sides)
        except ValueError:
            raise self.wrong(number, f"is listed with the size {width!r} × {height!r}", "Image") from None
        return (int(sides[0]), int(sides[1])) if min(sides) else None


class Format(NamedTuple):
    """A kind of files of annotations.

    Parameters
    ----------
    columns : mapping
        What each region has beside its label.
    read : callable
        Yields the regions of a file, those of an image one after the other.
    """

    columns: Mapping[str, type]
    read: Callable[[Reading], Iterator[Region]]


def label_in(values: Any, name: str) -> str | None:
    """Return the text at a dotted name of nested objects: a name, the ``name`` of an object, or names, joined.

    QuPath keeps a class of several parts as ``names``, and shows them as ``Tumor: Positive``.
    """
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values = values.get("name") or values.get("names")
    if isinstance(values, list):
        values = ": ".join(map(str, values))
    return None if values is None else tidy_text(plain_id(values)) or None


def plain_id(value: Any) -> str:
    """Return an id or a label as text, whether it is kept as one, or as a number such as 7 or 7.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def as_number(value: Any) -> float:
    """Return a coordinate, as a number or as its text.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
