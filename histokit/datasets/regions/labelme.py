"""LabelMe's JSON files: one for each image, with shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from histokit.datasets.regions.boxes import Extent
from histokit.datasets.regions.json_items import read_items
from histokit.datasets.regions.outlines import as_ring, as_text, extent_of
from histokit.datasets.regions.region import Format, Reading, Region, as_number, label_in, plain_id

_COLUMNS = {"shape": str, "group_id": str}
_CIRCLE = 64


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
            ring = _ring(kind, [(as_number(x), as_number(y)) for x, y in shape.get("points", ())])
        except (TypeError, ValueError, IndexError):
            raise reading.wrong(number, f"has points that are none of a {kind}") from None
        if ring is None:
            reading.leave_out(f"are of the shape {kind}, which has no area", number)
            continue
        yield _region(reading, number, image, shape, kind, ring)._replace(size=size)


def _region(
    reading: Reading,
    number: int,
    image: str | None,
    shape: Mapping[str, Any],
    kind: str,
    ring: Sequence[tuple[float, float]],
) -> Region:
    if kind == "point":
        extent, outline = Extent(*ring[0], 0, 0), None
    else:
        polygon = [as_ring(ring)]
        extent, outline = extent_of([polygon]), as_text([polygon]) if reading.outlines else None
    group = shape.get("group_id")
    columns = {"shape": str(kind), "group_id": None if group is None else plain_id(group)}
    return Region(number, image, str(number), label_in(shape, reading.label or "label"), extent, outline, columns)


def _ring(kind: str, points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]] | None:
    """Return the corners of a shape; none of one without an area."""
    if kind == "polygon":
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
