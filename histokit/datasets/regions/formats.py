"""The kinds of files of annotations, and how a file tells which it is."""

from __future__ import annotations

from pathlib import Path

from histokit.datasets.regions.coco import COCO
from histokit.datasets.regions.geojson import GEOJSON
from histokit.datasets.regions.json_items import Item, read_items
from histokit.datasets.regions.labelme import LABELME
from histokit.datasets.regions.region import Format
from histokit.datasets.regions.voc import VOC

FORMATS: dict[str, Format] = {"coco": COCO, "voc": VOC, "geojson": GEOJSON, "labelme": LABELME}

#: What files of annotations end in.
SUFFIXES = (".xml", ".json", ".geojson", ".json.gz", ".geojson.gz")

#: Keys that no other kind of file has.
_KEYS = {
    **dict.fromkeys(("images", "annotations", "categories"), "coco"),
    "features": "geojson",
    **dict.fromkeys(("shapes", "imagePath"), "labelme"),
}


def format_of(path: Path) -> str | None:
    """Return the kind of a file, by its suffix or by the first key that tells; none where nothing does.

    Raises
    ------
    DataError
        If it is no JSON.
    """
    name = path.name.lower()
    if name.endswith(".xml"):
        return "voc"
    if name.removesuffix(".gz").endswith(".geojson"):
        return "geojson"
    return next((kind for item in read_items(path) if (kind := _kind(item))), None)


def _kind(item: Item) -> str | None:
    if item.key == "" or item.key == "type":
        value = item.value.get("type") if isinstance(item.value, dict) else item.value
        listed = isinstance(item.value, dict) and "geometry" in item.value
        return "geojson" if listed or value in ("Feature", "FeatureCollection") else None
    return _KEYS.get(item.key)
