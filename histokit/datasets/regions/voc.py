"""Pascal VOC's XML files: one for each image, a box for each object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from histokit.datasets.cells import TRUTH, tidy_text
from histokit.datasets.regions.boxes import Extent
from histokit.datasets.regions.json_items import unreadable
from histokit.datasets.regions.outlines import as_ring, as_text
from histokit.datasets.regions.region import Format, Reading, Region, as_number
from histokit.files import require_file

_COLUMNS = {"difficult": bool, "truncated": bool, "occluded": bool, "pose": str}
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_YES = {"1": True, "0": False, **TRUTH}


def _read(reading: Reading) -> Iterator[Region]:
    root = _parsed(reading.path)
    if root.tag != "annotation":
        raise unreadable(reading.path, f"its root is <{root.tag}>, not <annotation>")
    image = (root.findtext("filename") or "").strip()
    size = reading.listed_size(_side(root, "width"), _side(root, "height"))
    for number, entry in enumerate(root.iterfind("object"), start=1):
        extent = _box(reading, number, entry)
        if extent is None:
            reading.leave_out("have no box", number)
            continue
        # Parts of an object have names and boxes as well, and are none themselves.
        label = tidy_text(entry.findtext((reading.label or "name").replace(".", "/")) or "") or None
        columns = {name: _flag(reading, number, name, entry.findtext(name)) for name in _COLUMNS if name != "pose"}
        pose = tidy_text(entry.findtext("pose") or "") or None
        outline = as_text([[as_ring(_corners(extent))]]) if reading.outlines else None
        yield Region(number, image or None, str(number), label, extent, outline, {**columns, "pose": pose}, size)


def _parsed(path: Path) -> ElementTree.Element:
    require_file(path, "file of annotations", next="Check its path.")
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:
        raise unreadable(path, f"it is no XML ({error})") from error


def _box(reading: Reading, number: int, entry: ElementTree.Element) -> Extent | None:
    box = entry.find("bndbox")
    if box is None:
        return None
    edges = []
    for name in _EDGES:
        text = box.findtext(name)
        try:
            edges.append(as_number((text or "").strip()))
        except ValueError:
            raise reading.wrong(number, f"has {name}={text!r}, which is no number") from None
    left, top, right, bottom = edges
    # The first pixel has the number 1, and the last is in the box; where it has 0, edges lie between pixels.
    first = reading.first_pixel
    if min(left, top) < first:
        reading.note("begin at 0, where the format counts pixels from 1: if all do, add -o first_pixel=0", number)
    return Extent(left - first, top - first, right - left + first, bottom - top + first)


def _corners(extent: Extent) -> list[tuple[float, float]]:
    x, y, width, height = extent
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _side(root: ElementTree.Element, name: str) -> str:
    return (root.findtext(f"size/{name}") or "").strip()


def _flag(reading: Reading, number: int, name: str, text: str | None) -> bool | None:
    if text is None or not text.strip() or text.strip().lower() == "unspecified":
        return None
    value = _YES.get(text.strip())
    if value is None:
        raise reading.wrong(number, f"has {name}={text!r}, not 0 or 1")
    return value


VOC = Format(_COLUMNS, _read)
