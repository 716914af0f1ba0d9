"""GeoJSON files of the objects of one image, as QuPath exports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from histokit.datasets.cells import tidy_text
from histokit.datasets.regions.boxes import Extent
from histokit.datasets.regions.json_items import read_items
from histokit.datasets.regions.outlines import Polygon, as_ring, as_text, extent_of
from histokit.datasets.regions.region import Format, Reading, Region, as_number, label_in, plain_id

_COLUMNS = {"annotation_id": str, "object_type": str, "name": str}

#: Ids of QuPath up to version 0.2, which say what an object is.
_KINDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "PathRootObject": "root",
    "TMACoreObject": "tma_core",
}


_AREAS, _PLACES = ("Polygon", "MultiPolygon"), ("Point", "MultiPoint")
_LINES = {"LineString", "MultiLineString"}


class Feature(NamedTuple):
    """A feature of a file.

    Parameters
    ----------
    number : int
        In the file, from 1.
    polygons : list of Polygon
        Corners (x, y) in pixels of the whole image; empty where it is of points.
    points : list of (x, y)
    value : mapping
        The whole feature.
    """

    number: int
    polygons: Sequence[Polygon]
    points: Sequence[tuple[float, float]]
    value: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties, none of which has to be there."""
        found = self.value.get("properties")
        return found if isinstance(found, Mapping) else {}

    @property
    def given_id(self) -> Any:
        """Its id as the file has it; none where it has none."""
        return self.value.get("id", self.properties.get("id"))

    @property
    def object_type(self) -> str | None:
        """What kind of object of QuPath it is, such as ``annotation``, in whichever way the version wrote that."""
        # Since version 0.4, and in 0.3.
        told = self.properties.get("objectType", self.properties.get("object_type"))
        return _text(told) or _old_kind(self.given_id)


def read_features(reading: Reading) -> Iterator[Feature]:
    """Yield the features of a file that are polygons or points: of a collection, a list, or the single one.

    Raises
    ------
    DataError
        If the file cannot be read, or a feature is none.
    """
    single: dict[str, Any] = {}
    for key, number, value in read_items(reading.path):
        if key in ("features", "") and number:
            yield from _feature(reading, number, value)
        elif key != "features":
            single[key] = value
    if single.get("type") == "Feature":
        yield from _feature(reading, 1, single)


def _feature(reading: Reading, number: int, value: Any) -> Iterator[Feature]:
    if not isinstance(value, dict) or not ("geometry" in value or value.get("type") == "Feature"):
        raise reading.wrong(number, "is no feature: it has no geometry")
    geometry = value.get("geometry")
    if geometry is None:
        reading.leave_out("have no geometry", number)
        return
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    try:
        polygons, points, others = _parts(geometry)
        if polygons and (points or others):
            reading.note("hold areas, and points or lines that are passed over", number)
        if polygons or points:
            yield Feature(number, polygons, [] if polygons else points, value)
        elif others:
            why = "has no area" if others <= _LINES else "is not read"
            reading.leave_out(f"are of the type {', '.join(sorted(others))}, which {why}", number)
        else:
            reading.leave_out("have no geometry", number)
    except (KeyError, TypeError, ValueError, IndexError):
        raise reading.wrong(number, f"has coordinates that are none of a {kind}") from None


def _parts(geometry: Any) -> tuple[list[Polygon], list[tuple[float, float]], set[str]]:
    """Return the polygons and points of a geometry, or of all in a collection, and the types of what is neither."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        found: tuple[list[Polygon], list[tuple[float, float]], set[str]] = [], [], set()
        for polygons, points, others in map(_parts, geometry["geometries"]):
            found[0].extend(polygons)
            found[1].extend(points)
            found[2].update(others)
        return found
    if kind not in _AREAS + _PLACES:
        return [], [], {str(kind)}
    given = geometry["coordinates"]
    several = given if kind.startswith("Multi") else [given]
    if kind in _PLACES:
        return [], [_point(each) for each in several], set()
    return [[as_ring(ring) for ring in each] for each in several if each], [], set()


def _point(corner: Any) -> tuple[float, float]:
    return as_number(corner[0]), as_number(corner[1])


def _fields(properties: Mapping[str, Any]) -> Iterator[str]:
    """Yield what ``label`` may name: the properties, and what is inside one such as ``metadata.grade``."""
    for name, value in properties.items():
        inside = value if isinstance(value, dict) and name not in ("classification", "measurements") else {}
        texts = [f"{name}.{field}" for field, held in inside.items() if isinstance(held, str | int)]
        yield from texts or [str(name)]


def _read(reading: Reading) -> Iterator[Region]:
    for feature in read_features(reading):
        properties = feature.properties
        reading.fields.update(_fields(properties))
        given = feature.given_id
        columns = {
            "annotation_id": None if given is None or _old_kind(given) else plain_id(given),
            "object_type": feature.object_type,
            "name": _text(properties.get("name")),
        }
        if columns["object_type"] == "root":
            continue
        label = label_in(properties, reading.label or "classification")
        key = columns["annotation_id"] or str(feature.number)
        if feature.polygons:
            extent = extent_of(feature.polygons)
            outline = as_text(feature.polygons) if reading.outlines else None
            yield Region(feature.number, None, key, label, extent, outline, columns)
        for place, (x, y) in enumerate(feature.points, start=1):
            here = key if len(feature.points) == 1 else f"{key}/{place}"
            yield Region(feature.number, None, here, label, Extent(x, y, 0, 0), None, columns)


def _old_kind(given: Any) -> str | None:
    return _KINDS.get(given) if isinstance(given, str) else None


def _text(value: Any) -> str | None:
    return None if value is None else tidy_text(plain_id(value)) or None


GEOJSON = Format(_COLUMNS, _read)
