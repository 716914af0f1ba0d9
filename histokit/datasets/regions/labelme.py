"""LabelMe's JSON files: one for each image, with shapes."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from histokit.datasets.regions.boxes import Extent
from histokit.datasets.regions.json_items import read_items
from histokit.datasets.regions.outlines import Runs, as_ring, as_text, extent_of
from histokit.datasets.regions.region import Format, Reading, Region, as_number, label_in, plain_id
from histokit.errors import DataError
from histokit.plugin.images import decode_image

_COLUMNS = {"shape": str, "group_id": str}
_CIRCLE = 64
_POLYGONS = ("polygon", "rotation", "oriented_rectangle")
_Points = Sequence[tuple[float, float]]
_LINES = ("line", "linestrip")


def _read(reading: Reading) -> Iterator[Region]:
    shapes: list[Any] = []
    image = None
    sides: dict[str, Any] = {}
    for key, number, value in read_items(reading.path):
        if key == "shapes" and number:
            shapes.append(value)
        elif key == "imagePath" and isinstance(value, str):
            image = value
        elif key in ("imageWidth", "imageHeight"):
            sides[key] = value
    size = reading.listed_size(sides.get("imageWidth"), sides.get("imageHeight"))
    for number, shape in enumerate(shapes, start=1):
        if not isinstance(shape, dict):
            raise reading.wrong(number, "is no shape")
        kind = shape.get("shape_type") or "polygon"
        try:
            points = [(as_number(x), as_number(y)) for x, y in shape.get("points", ())]
            drawn = _mask(reading, number, shape, points) if kind == "mask" else _drawn(reading, kind, points)
        except (TypeError, ValueError, IndexError):
            raise reading.wrong(number, f"has points that are none of a {kind}") from None
        if drawn is None:
            why = "has no area" if kind in _LINES else "is not read"
            reading.leave_out(f"are of the shape {kind}, which {why}", number)
            continue
        group = shape.get("group_id")
        columns = {"shape": str(kind), "group_id": None if group is None else plain_id(group)}
        label = label_in(shape, reading.label or "label")
        yield Region(number, image, str(number), label, *drawn, columns, size)


def _drawn(reading: Reading, kind: str, points: _Points) -> tuple[Extent, str | None] | None:
    """Return the extent and the outline of a shape that has corners."""
    ring = _ring(kind, points)
    if ring is None:
        return None
    if kind == "point":
        return Extent(*ring[0], 0, 0), None
    polygon = [as_ring(ring)]
    return extent_of([polygon]), as_text([polygon]) if reading.outlines else None


def _mask(reading: Reading, number: int, shape: Mapping[str, Any], points: _Points) -> tuple[Extent, str | None]:
    """Return the box of a mask, whose points are its first and its last pixel, and what is inside."""
    (left, top), (right, bottom) = points
    extent = Extent(left, top, right - left + 1, bottom - top + 1)
    if not all(edge.is_integer() for edge in extent) or min(extent.width, extent.height) < 1:
        raise ValueError(points)
    if not reading.outlines:
        return extent, None
    try:
        inside = decode_image(b64decode(shape["mask"], validate=True), "The mask").any(axis=2)
    except (KeyError, TypeError, ValueError, DataError):
        raise reading.wrong(number, "is a mask without an image of it: 'mask' has to be a PNG in base64") from None
    if inside.shape != (extent.height, extent.width):
        found = f"{inside.shape[1]} × {inside.shape[0]} pixels for a box of {extent.width:g} × {extent.height:g}"
        raise reading.wrong(number, f"has a mask of {found}")
    return extent, Runs.of(inside, int(left), int(top)).text()


def _ring(kind: str, points: _Points) -> _Points | None:
    """Return the corners of a shape, or its point; none of a line, or of a kind that is not known."""
    if kind in _POLYGONS:
        if len(points) < 3:
            raise ValueError(points)
        return points
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points[0], points[-1]
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        angles = [2 * math.pi * step / _CIRCLE for step in range(_CIRCLE)]
        return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    return points[:1] if kind == "point" and points else None


LABELME = Format(_COLUMNS, _read)
