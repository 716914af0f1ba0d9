"""COCO's JSON files of instances: images, categories and annotations that refer to both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from histokit.datasets.regions.boxes import Extent
from histokit.datasets.regions.json_items import read_items
from histokit.datasets.regions.outlines import Polygon, Runs, as_ring, as_text, extent_of
from histokit.datasets.regions.region import Format, Reading, Region, Size, as_number, label_in, plain_id
from histokit.errors import DataError

_NUMBER = "category_id"
_COLUMNS = {"annotation_id": str, "category": str, "supercategory": str}


class _Image(NamedTuple):
    """An image as it is listed."""

    name: str
    size: Size | None


class _Lists(NamedTuple):
    """The images and the categories, by their ids."""

    images: dict[str, _Image]
    categories: dict[str, Mapping[str, Any]]


def _read(reading: Reading) -> Iterator[Region]:
    lists = _read_lists(reading)
    by_image: dict[str, list[Region]] = {image.name: [] for image in lists.images.values()}
    for key, number, value in read_items(reading.path):
        if key != "annotations":
            continue
        if not isinstance(value, dict):
            raise reading.wrong(number, "is no object")
        region = _region(reading, number, value, lists)
        if region is not None:
            by_image[str(region.image)].append(region)
    for name in list(by_image):
        yield from by_image.pop(name)


def _read_lists(reading: Reading) -> _Lists:
    """Return images and categories, which may come behind the annotations."""
    lists = _Lists({}, {})
    for key, number, value in read_items(reading.path):
        if key not in ("images", "categories") or not number:
            continue
        entry_kind, name = ("Image", "file_name") if key == "images" else ("Category", "name")
        if not isinstance(value, dict) or value.get("id") is None or not isinstance(value.get(name), str):
            raise reading.wrong(number, f"has no id or no {name}", entry_kind)
        given = plain_id(value["id"])
        known: dict[str, Any] = lists.images if key == "images" else lists.categories
        entry: Any = value
        if key == "images":
            entry = _Image(value[name], reading.listed_size(value.get("width"), value.get("height"), number))
        if known.setdefault(given, entry) != entry:
            raise reading.wrong(number, f"has the id {given}, as another one has", entry_kind)
    return lists


def _region(reading: Reading, number: int, value: Mapping[str, Any], lists: _Lists) -> Region | None:
    if value.get("iscrowd") in (1, True, "1"):
        reading.leave_out("are marked as a crowd (iscrowd)", number)
        return None
    image = lists.images.get(plain_id(value.get("image_id")))
    if image is None:
        reading.leave_out("are of an image that the file does not list", number)
        return None
    size = _size(reading, number, value, image)
    shape = _shape(reading, number, value)
    box = _box(reading, number, value)
    if box and shape and reading.outlines and not box.meets(shape[0]):
        reading.leave_out("have a box that the outline does not meet", number)
        return None
    extent = box or (shape[0] if shape else None)
    if extent is None:
        reading.leave_out("have neither a box nor an outline", number)
        return None
    given = value.get("category_id")
    category = _category(reading, number, given, lists)
    columns = {
        "annotation_id": plain_id(value.get("id", number)),
        "category": None if given is None else plain_id(given),
        "supercategory": label_in(category, "supercategory"),
    }
    label = label_in(category, reading.label or "name")
    outline = shape[1] if shape and reading.outlines else None
    return Region(number, image.name, columns["annotation_id"] or "", label, extent, outline, columns, size)


def _category(reading: Reading, number: int, given: Any, lists: _Lists) -> Mapping[str, Any]:
    """Return the category of an annotation, or its number alone where that is the class or a path says it."""
    if given is None:
        return {}
    if reading.label == _NUMBER or (not lists.categories and reading.labels_elsewhere):
        return {_NUMBER: given}
    category = lists.categories.get(plain_id(given))
    if category is None:
        if not lists.categories:
            raise DataError(
                f"Annotation {number:,} of {str(reading.path)!r} has category_id={given!r}, and the file lists no "
                "categories.",
                next=f"List them under 'categories', or make the numbers the classes with -o label={_NUMBER}.",
            )
        known = ", ".join(f"{key} ({entry['name']})" for key, entry in list(lists.categories.items())[:10])
        raise reading.wrong(number, f"has category_id={given!r}, which is none of the categories: {known}")
    return category


def _box(reading: Reading, number: int, value: Mapping[str, Any]) -> Extent | None:
    box = value.get("bbox")
    if box is None or box == []:
        return None
    try:
        x, y, width, height = map(as_number, box)
    except (TypeError, ValueError):
        raise reading.wrong(number, f"has bbox={box!r}, not the four numbers x, y, width and height") from None
    if reading.corners:
        width, height = width - x, height - y
        if min(width, height) <= 0:
            raise reading.wrong(
                number, f"has bbox={box!r}, whose second corner is not to the right of the first, below"
            )
    return Extent(x, y, width, height)


def _shape(reading: Reading, number: int, value: Mapping[str, Any]) -> tuple[Extent, str] | None:
    """Return the extent and the text of a segmentation; none where it is empty or not needed."""
    segmentation = value.get("segmentation")
    if not segmentation or not (reading.outlines or not value.get("bbox")):
        return None
    try:
        found: Any = _runs(segmentation) if isinstance(segmentation, Mapping) else _polygons(segmentation)
    except (TypeError, ValueError, KeyError) as error:
        reason = f"its segmentation is neither polygons nor runs ({error})"
        raise reading.wrong(number, f"cannot be read: {reason}") from None
    if isinstance(found, Runs):
        extent = found.extent()
        return None if extent is None else (extent, found.text())
    return (extent_of(found), as_text(found)) if found else None


def _size(reading: Reading, number: int, value: Mapping[str, Any], image: _Image) -> Size | None:
    """Return the size of the image that an annotation was made on: the listed one, or that of its runs."""
    segmentation = value.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, Mapping) else None
    if not isinstance(size, list) or len(size) != 2:
        return image.size
    height, width = size
    if image.size not in (None, (width, height)):
        what = f"has a segmentation of {width} × {height} pixels (size={size}), and its image {image.name!r} is listed"
        raise reading.wrong(number, f"{what} with {image.size[0]} × {image.size[1]}" if image.size else what)
    return reading.listed_size(width, height, number)


def _runs(value: Mapping[str, Any]) -> Runs:
    height, width = map(int, value["size"])
    counts = value["counts"]
    return Runs.packed(height, width, counts) if isinstance(counts, str) else Runs(height, width, list(counts))


def _polygons(lists: list[Any]) -> list[Polygon]:
    """Return polygons of at least three corners; the one of a file that does not nest it as well."""
    found: list[Polygon] = []
    for numbers in [lists] if not isinstance(lists[0], list) else lists:
        if len(numbers) % 2:
            raise ValueError(f"{len(numbers)} numbers")
        if len(numbers) >= 6:
            found.append([as_ring(list(zip(numbers[0::2], numbers[1::2], strict=True)))])
    return found


COCO = Format(_COLUMNS, _read)
