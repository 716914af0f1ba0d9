"""Files of annotations as the programs of others write them."""

from __future__ import annotations

import gzip
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histokit
from histokit.datasets.annotations import Annotations
from histokit.errors import DataError, UsageError
from histokit.features import FeatureStore
from histokit.plugin.remarks import ImageWarning
from histokit.plugin.testing import check_dataset

#: As LabelImg writes it, with parts as in the published data and coordinates as in VOC 2011.
VOC = """<annotation>
	<folder>VOC2007</folder>
	<filename>000005.jpg</filename>
	<source><database>The VOC2007 Database</database></source>
	<size><width>30</width><height>20</height><depth>3</depth></size>
	<segmented>0</segmented>
	<object>
		<name>mitosis</name><pose>Rear</pose><truncated>0</truncated><difficult>1</difficult>
		<bndbox><ymin>3</ymin><xmin>1</xmin><ymax>7</ymax><xmax>10</xmax></bndbox>
	</object>
	<object>
		<name>cell</name><pose>Unspecified</pose><truncated>1</truncated><difficult>0</difficult>
		<bndbox><xmin>2.5</xmin><ymin>3.0</ymin><xmax>8.25</xmax><ymax>9.0</ymax></bndbox>
		<part><name>nucleus</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>
	</object>
	<object><name>cell</name></object>
</annotation>
"""


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def coco() -> dict[str, Any]:
    """Annotations before images, an image id as text, and what COCO has beside plain boxes."""
    entries = [
        {"id": 11, "image_id": 2, "category_id": 1, "bbox": [1.5, 2.0, 3.0, 4.0], "iscrowd": 0, "segmentation": []},
        {"id": 12, "image_id": 1, "category_id": 7, "bbox": [0, 0, 4, 4], "iscrowd": 0},
        {"id": 13, "image_id": "2", "category_id": 7, "segmentation": [[2, 3, 8, 3, 8, 6.5]], "iscrowd": 0},
        {"id": 14, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 15, "image_id": 3, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 16, "image_id": 99, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"id": 17, "image_id": 1, "category_id": 1, "bbox": [5, 5, 0, 9]},
        {"id": 18, "image_id": 1, "category_id": None, "bbox": [5, 5, 2.0, 2.0]},
        # Runs of a mask of 20 rows, column by column: rows 1 and 2 of columns 1 and 2.
        {"id": 19, "image_id": 1, "category_id": 1, "segmentation": {"size": [20, 30], "counts": [21, 2, 18, 2, 557]}},
        {"id": 20, "image_id": 1, "category_id": 1},
    ]
    images = [{"id": 2, "file_name": "b.png"}, {"id": 1, "file_name": "sub/a.png"}, {"id": 3, "file_name": "gone.png"}]
    categories = [{"id": 1, "name": "cell", "supercategory": "object"}, {"id": 7.0, "name": "Mitosis "}]
    return {"info": {}, "annotations": entries, "images": images, "categories": categories}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, name in enumerate(("sub/a.png", "b.png", "JPEGImages/000005.jpg", "slides/s1.ome.tif", "slides/s2.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.arange(20 * 30 * 3).reshape(20, 30, 3) % (251 - place)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
    return tmp_path


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def read(root: Path, **options: str) -> tuple[list[Any], Annotations]:
    dataset = Annotations.from_options(root, options)
    return list(dataset.samples()), dataset


def test_coco(root: Path) -> None:
    write(root / "coco.json", coco())
    samples, dataset = read(root, annotations="coco.json")
    assert [(s.id, s.image, s.label, s.box) for s in samples] == [
        ("b.png#11", ("b.png",), "cell", (1, 2, 4, 4)),
        ("b.png#13", ("b.png",), "Mitosis", (2, 3, 6, 4)),
        ("sub/a.png#12", ("sub/a.png",), "Mitosis", (0, 0, 4, 4)),
        ("sub/a.png#18", ("sub/a.png",), None, (5, 5, 2, 2)),
        ("sub/a.png#19", ("sub/a.png",), "cell", (1, 1, 2, 2)),
    ]
    with pytest.raises(UsageError, match="objects is for GeoJSON"):
        read(root, annotations="coco.json", objects="cell")
    assert dict(samples[1].metadata) == {
        "image_id": "b.png",
        "annotation_id": "13",
        "category": "7",
        "supercategory": None,
    }
    assert samples[0].metadata["supercategory"] == "object"
    assert dataset.group == "image_id"
    told = "; ".join(dataset.warnings)
    assert "1 annotation was left out: it is marked as a crowd (iscrowd), for example 'coco.json, 4'" in told
    assert "1 annotation was left out: it is of an image that the file does not list" in told
    assert "1 annotation was left out: its image is missing, for example 'gone.png'" in told
    assert "it has no area, for a width or height of 0, for example 'coco.json, 7'" in told
    assert "it has neither a box nor an outline, for example 'coco.json, 10'" in told
    assert "1 annotation has no label, for example 'coco.json, 8'" in told
    check_dataset(dataset)


def boxes(*listed: list[float]) -> dict[str, Any]:
    entries = [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(listed)]
    images = [{"id": 1, "file_name": "b.png", "width": 30, "height": 20}]
    return {"annotations": entries, "images": images, "categories": [{"id": 1, "name": "cell"}]}


def test_boxes_that_are_two_corners_are_asked_for(root: Path) -> None:
    # As width and height, the second would end at 28 + 30 = 58 of 30 pixels; as a corner, it is the image's own.
    write(root / "coco.json", boxes([2, 1, 12, 9], [18, 10, 28, 20]))
    with pytest.raises(DataError, match="1 of 2 boxes reach beyond the image, and all would lie in it if bbox were x1"):
        read(root, annotations="coco.json")
    samples, dataset = read(root, annotations="coco.json", corners="true")
    assert [sample.box for sample in samples] == [(2, 1, 10, 8), (18, 10, 10, 10)]
    assert dataset.warnings == []
    samples, dataset = read(root, annotations="coco.json", corners="false")
    assert [sample.box for sample in samples] == [(2, 1, 12, 9), (18, 10, 28, 20)]
    assert dataset.warnings == [
        "1 annotation has a box that reaches beyond the image, where pixels are reflected, for example 'coco.json, 2'"
    ]
    # A pixel beyond is no mistake, and what ends before it begins is no second corner.
    for listed in ([[2, 1, 12, 9], [18, 10, 13, 11]], [[2, 1, 12, 9], [18, 10, 15, 20]]):
        write(root / "coco.json", boxes(*listed))
        samples, dataset = read(root, annotations="coco.json")
        assert [list(sample.box) for sample in samples] == listed
        assert len(dataset.warnings) == (listed[1][2] == 15)
    with pytest.raises(DataError, match="whose second corner is not to the right of the first, below"):
        read(root, annotations="coco.json", corners="true")


def test_the_class_may_be_another_field_of_the_category(root: Path) -> None:
    write(root / "coco.json", coco())
    samples, _ = read(root, annotations="coco.json", label="supercategory", min_size="3")
    assert [(s.id, s.label) for s in samples] == [("b.png#11", "object"), ("b.png#13", None), ("sub/a.png#12", None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 5}, r"Annotation 2 of .*coco.json' has category_id=5, .*: 1 \(cell\), 7 \(Mitosis \)"),
        ({"bbox": [1, 2, "x", 3]}, r"Annotation 2 of .* has bbox=\[1, 2, 'x', 3\], not the four numbers"),
        ({"bbox": [1, 2, 3]}, r"has bbox=\[1, 2, 3\]"),
        ({"bbox": [1, 2, float("nan"), 3]}, "not the four numbers"),
        ({"bbox": [1, 2, -3, 3]}, "Annotation 2 of .* has a width of -3"),
        ({"bbox": [1, 2, 3, 1e12]}, "Annotation 2 of .* has a width of"),
        ({"id": 11, "image_id": 2}, "Annotation 2 of .* has the id 'b.png#11', as annotation 1 of 'coco.json' has"),
        ({"bbox": None, "segmentation": [[1, 2, 3, "x", 5, 6]]}, "its segmentation is neither polygons nor runs"),
        ({"bbox": None, "segmentation": {"size": [4, 5], "counts": [3]}}, "runs of 3 pixels for a mask of 5 × 4"),
    ],
)
def test_a_bad_annotation_is_named(root: Path, change: dict[str, Any], message: str) -> None:
    document = coco()
    document["annotations"][1] |= change
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=message):
        read(root, annotations="coco.json")


def test_bad_lists_are_named(root: Path) -> None:
    document = coco()
    document["images"][1]["id"] = 2
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=r"Image 2 of .* has the id 2, as another one has"):
        read(root, annotations="coco.json")
    del document["images"][1]["file_name"]
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=r"Image 2 of .* has no id or no file_name"):
        read(root, annotations="coco.json")


def test_categories_that_are_not_listed_are_named(root: Path) -> None:
    document = coco()
    document["category"] = document.pop("categories")
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=r"Annotation 1 of .* has category_id=1, and the file lists no categories"):
        read(root, annotations="coco.json")
    assert [s.label for s in read(root, annotations="coco.json", label="category_id")[0]] == ["1", "7", "7", None, "1"]
    samples, _ = read(root, annotations="coco.json", pattern="**/{label}.png")
    assert [(s.label, s.metadata["category"]) for s in samples][:3] == [("b", "1"), ("b", "7"), ("a", "7")]
    for entry in document["annotations"]:
        del entry["category_id"]
    write(root / "coco.json", document)
    samples, dataset = read(root, annotations="coco.json")
    assert {s.label for s in samples} == {None}
    assert any("5 annotations have no label" in warning for warning in dataset.warnings)


def test_parts_of_a_dataset_in_several_files(root: Path) -> None:
    document = coco()
    entries = document["annotations"]
    for part, chosen in (("train", entries[:1]), ("val", entries[1:2])):
        write(root / f"instances_{part}.json", {**document, "annotations": chosen})
    samples, dataset = read(root, annotations="instances_{split}.json")
    assert [(s.id, s.metadata["split"]) for s in samples] == [("b.png#11", "train"), ("sub/a.png#12", "val")]
    split = dataset.splits()["annotations"]
    # As published, COCO's test images have no annotations: those of val are tested.
    assert [(row.sample_id, row.role) for row in split.rows] == [("b.png#11", "train"), ("sub/a.png#12", "test")]
    assert "those of val are tested" in split.notes[0]
    (root / "instances_val.json").rename(root / "instances_left.json")
    _, dataset = read(root, annotations="instances_{split}.json")
    with pytest.raises(DataError, match=r"'sub/a.png#12' has split='left', which is no part of a split"):
        dataset.splits()


def parts(root: Path, *, images: str) -> None:
    """Write files of train, val and test of COCO, each of an image 1.png and of one of its own."""
    for number, part in enumerate(("train", "val", "test")):
        folder = root / images.format(part=part)
        folder.mkdir(parents=True)
        listed = [{"id": key, "file_name": f"{name}.png"} for key, name in enumerate(("1", f"own_{part}"))]
        for image in listed:
            Image.fromarray(np.full((20, 30), 40 * number, np.uint8)).save(folder / str(image["file_name"]))
        entries = [{"id": key, "image_id": key, "category_id": 1, "bbox": [0, 0, 9, 9]} for key in range(2)]
        document = {"images": listed, "annotations": entries, "categories": [{"id": 1, "name": "cell"}]}
        write(root / "annotations" / f"instances_{part}2017.json", document)


@pytest.mark.parametrize("images", ["{part}2017", "{part}/images", "pictures/{part}"])
@pytest.mark.parametrize("named", [True, False])
def test_images_of_one_name_are_those_of_the_same_part(tmp_path: Path, images: str, named: bool) -> None:
    parts(tmp_path, images=images)
    options = {"images": images.replace("part", "split")} if named else {}
    samples, dataset = read(tmp_path, annotations="annotations/instances_{split}2017.json", **options)
    expected = [
        (images.format(part=part) + f"/{name}.png", part)
        for part in ("test", "train", "val")
        for name in ("1", f"own_{part}")
    ]
    assert [(*s.image, s.metadata["split"]) for s in samples] == expected
    assert dataset.warnings == []
    assert len(dataset.splits()["annotations"].rows) == 6
    check_dataset(dataset)
    # Files that are not told apart by a field: what they and their folders are called says it as well.
    found = read(tmp_path, annotations="annotations")[0]
    assert [s.image[0] for s in found] == [path for path, _ in expected]


def test_an_image_of_another_part_is_not_taken(tmp_path: Path) -> None:
    parts(tmp_path, images="{part}2017")
    for name in ("1.png", "own_val.png"):
        (tmp_path / "val2017" / name).unlink()
    for options in ({}, {"images": "{split}2017"}):
        samples, dataset = read(tmp_path, annotations="annotations/instances_{split}2017.json", **options)
        assert [s.metadata["split"] for s in samples] == ["test", "test", "train", "train"]
        assert dataset.warnings[0] == (
            "2 annotations were left out: their images, 2 in all, are missing, for example '1.png', 'own_val.png'"
        )
    (tmp_path / "val2017").rmdir()
    assert len(read(tmp_path, annotations="annotations/instances_{split}2017.json", images="{split}2017")[0]) == 4
    with pytest.raises(UsageError, match=r"has a field 'splitt' that .* lacks.\nDid you mean 'split'\? It has: split"):
        read(tmp_path, annotations="annotations/instances_{split}2017.json", images="{splitt}2017")
    with pytest.raises(UsageError, match=r"lacks.\nName one, such as 'instances_\{split\}2017.json'"):
        read(tmp_path, annotations="annotations", images="{split}2017")


def test_the_innermost_folder_that_names_a_part_says_it_and_one_that_names_two_says_nothing(tmp_path: Path) -> None:
    parts(tmp_path, images="training/{part}")
    found = read(tmp_path, annotations="annotations")[0]
    assert [s.image[0] for s in found] == [
        f"training/{part}/{name}.png" for part in ("test", "train", "val") for name in ("1", f"own_{part}")
    ]
    (tmp_path / "training/train").rename(tmp_path / "train_val")
    (tmp_path / "training/val/1.png").unlink()
    for part in ("train", "val"):
        found = read(tmp_path, annotations=f"annotations/instances_{part}2017.json")[0]
        assert found[0].image[0] == "train_val/1.png"


def test_files_of_single_images_say_nothing_by_their_names(root: Path) -> None:
    for name in ("train/test_1.png", "other/test_2.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / "b.png").rename(root / name) if name[0] == "t" else (root / "sub/a.png").rename(root / name)
    for name in ("test_1", "test_2"):
        write(root / "boxes" / f"{name}.geojson", [feature(polygon(square(1, 1, 4)))])
    assert [s.image[0] for s in read(root)[0]] == ["train/test_1.png", "other/test_2.png"]


def test_voc(root: Path) -> None:
    write(root / "Annotations" / "000005.xml", VOC)
    samples, dataset = read(root, annotations="Annotations")
    # 1 to 10 and 3 to 7 are ten and five pixels, the first of which has the number 1.
    assert [(s.id, s.label, s.box) for s in samples] == [
        ("JPEGImages/000005.jpg#1", "mitosis", (0, 2, 10, 5)),
        ("JPEGImages/000005.jpg#2", "cell", (1, 2, 8, 7)),
    ]
    assert [dict(s.metadata) for s in samples] == [
        {
            "image_id": "JPEGImages/000005.jpg",
            "difficult": difficult,
            "truncated": not difficult,
            "occluded": None,
            "pose": pose,
        }
        for difficult, pose in ((True, "Rear"), (False, "Unspecified"))
    ]
    assert dataset.warnings == [
        "1 annotation was left out: it has no box, for example '000005.xml, 3'",
    ]
    check_dataset(dataset)


def test_voc_that_counts_from_0(root: Path) -> None:
    write(root / "Annotations" / "000005.xml", VOC.replace("<xmin>1<", "<xmin>0<"))
    _, dataset = read(root, images="JPEGImages")
    assert any("1 annotation begins at 0" in warning for warning in dataset.warnings)
    samples, _ = read(root, images="JPEGImages", first_pixel="0")
    assert samples[0].box == (0, 3, 10, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>10<", "<xmax>ten<", r"Annotation 1 of .*000005.xml' has xmax='ten', which is no number"),
        ("<xmax>10</xmax>", "", "Annotation 1 of .* has xmax=None"),
        ("<xmax>10<", "<xmax>-9<", "Annotation 1 of .* has a width of -9"),
        ("<difficult>1<", "<difficult>maybe<", "Annotation 1 of .* has difficult='maybe', not 0 or 1"),
        ("</annotation>", "", r"000005.xml' cannot be read: it is no XML \(no element found"),
        ("annotation>", "osm>", "its root is <osm>, not <annotation>"),
    ],
)
def test_bad_voc_is_named(root: Path, old: str, new: str, message: str) -> None:
    write(root / "Annotations" / "000005.xml", VOC.replace(old, new))
    with pytest.raises(DataError, match=message):
        read(root)


def test_geojson_of_qupath(root: Path) -> None:
    tumour = {"name": "Tumor", "color": [200, 0, 0]}
    inner = square(4, 4, 3)
    document = {
        "type": "FeatureCollection",
        "features": [
            {"id": "u1", **feature(polygon(square(1.25, 2, 8)), objectType="annotation", classification=tumour)},
            feature({"type": "MultiPolygon", "coordinates": [[square(0, 0, 2)], [square(9, 9, 3), inner]]}, name="n 1"),
            feature(polygon(square(0, 0, 4)), objectType="cell", classification={"names": ["Tumor", "Positive"]}),
            {"type": "Feature", "geometry": None, "properties": None},
            feature({"type": "LineString", "coordinates": [[0, 0], [5, 5]]}),
            feature(polygon(square(28, 18, 6)), classification="Stroma", isLocked=True),
        ],
    }
    write(root / "slides" / "s1.geojson", document)
    # Before version 0.3, a list, with the kind of an object in the place of its id; packed.
    old = {"id": "PathDetectionObject", **feature(polygon(square(5, 5, 2)), classification={"name": "Tumor"})}
    (root / "slides" / "s2.geojson.gz").write_bytes(gzip.compress(json.dumps([old, old]).encode()))
    samples, dataset = read(root)
    assert [(s.id, s.label, s.box) for s in samples] == [
        ("slides/s1.ome.tif#u1", "Tumor", (1, 2, 9, 8)),
        ("slides/s1.ome.tif#2", None, (0, 0, 12, 12)),
        ("slides/s1.ome.tif#3", "Tumor: Positive", (0, 0, 4, 4)),
        ("slides/s1.ome.tif#6", "Stroma", (28, 18, 6, 6)),
        ("slides/s2.png#1", "Tumor", (5, 5, 2, 2)),
        ("slides/s2.png#2", "Tumor", (5, 5, 2, 2)),
    ]
    kinds = [s.metadata["object_type"] for s in samples]
    assert kinds == ["annotation", None, "cell", None, "detection", "detection"]
    assert samples[1].metadata["name"] == "n 1"
    told = "; ".join(dataset.warnings)
    assert "1 annotation was left out: it has no geometry, for example 's1.geojson, 4'" in told
    assert "it is of the type LineString, which has no area, for example 's1.geojson, 5'" in told
    check_dataset(dataset)
    assert [s.id for s in read(root, objects="cell,annotation")[0]] == [samples[0].id, samples[2].id]
    with pytest.raises(UsageError, match="corners is for COCO"):
        read(root, corners="true")


def test_ids_and_kinds_of_objects_wherever_they_stand(root: Path) -> None:
    whole = {"id": "PathRootObject", **feature(polygon(square(0, 0, 20)))}
    kept = feature(polygon(square(1, 1, 4)), id=7.0, object_type="cell")
    write(root / "slides" / "s2.geojson", [whole, feature(polygon(square(0, 0, 9)), objectType="root"), kept])
    samples, _ = read(root)
    assert [(s.id, s.metadata["annotation_id"], s.metadata["object_type"]) for s in samples] == [
        ("slides/s2.png#7", "7", "cell")
    ]


def test_what_is_empty_is_left_out_and_told(root: Path) -> None:
    nothing = [{"type": "Polygon", "coordinates": []}, {"type": "MultiPolygon", "coordinates": [[]]}]
    write(root / "slides" / "s1.geojson", [feature(each) for each in nothing])
    partly = {"type": "MultiPolygon", "coordinates": [[], [square(1, 2, 4)]]}
    write(root / "slides" / "s2.geojson", [feature(partly, classification="cell")])
    for mask in ("none", "white"):
        samples, dataset = read(root, mask=mask)
        assert [(s.id, s.box) for s in samples] == [("slides/s2.png#1", (1, 2, 4, 4))]
        assert dataset.read(samples[0]).shape == (4, 4, 3)
        assert "2 annotations were left out: they have no geometry" in "; ".join(dataset.warnings)
        assert "1 file gives no sample, for example 's1.geojson'" in dataset.warnings


def test_names_of_images_are_composed_in_ids_and_columns_alone(root: Path) -> None:
    (root / "slides" / "s2.png").rename(root / "slides" / "e\u0301.png")
    write(root / "slides" / "e\u0301.geojson", [feature(polygon(square(1, 1, 4)))])
    (sample,), _ = read(root, pattern="slides/{slide}.png")
    assert sample.image == ("slides/e\u0301.png",)
    assert (sample.id, sample.metadata["image_id"]) == ("slides/\u00e9.png#1", "slides/\u00e9.png")
    assert sample.metadata["slide"] == "\u00e9"


def test_another_property_is_the_class(root: Path) -> None:
    document = [feature(polygon(square(1, 1, 4)), name="benign", grade={"who": 2}), feature(polygon(square(1, 1, 4)))]
    write(root / "slides" / "s2.geojson", document)
    _, dataset = read(root)
    assert (
        "2 annotations have no label, for example 's2.geojson, 1', 's2.geojson, 2'; -o label=FIELD names where it "
        + ("stands, of grade.who, name")
        in "; ".join(dataset.warnings)
    )
    assert [s.label for s in read(root, label="name")[0]] == ["benign", None]
    assert [s.label for s in read(root, label="grade.who")[0]] == ["2", None]
    # As some programs write it, which is no JSON by the letter.
    (root / "slides" / "s2.geojson").write_text(json.dumps(document).replace("benign", "be\tnign"))
    assert [s.label for s in read(root, label="name")[0]] == ["be\tnign", None]


def test_points_among_regions_are_left_out_and_told(root: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[1, 2], [4, 2], [4, 6], [1, 6], [1, 2]]]}
    features = [feature({"type": "Point", "coordinates": [3, 4]}), feature(square, classification={"name": "gland"})]
    write(root / "slides" / "s2.geojson", {"type": "FeatureCollection", "features": features})
    samples, dataset = read(root)
    assert [(s.label, s.box) for s in samples] == [("gland", (1, 2, 3, 4))]
    assert dataset.warnings[0].startswith("1 annotation was left out: it is of the kind point, which has no size")


def test_points_with_a_size_and_regions_with_a_margin(root: Path) -> None:
    points = {"type": "MultiPoint", "coordinates": [[10.0, 10.5], [3, 4]]}
    document = feature(points, classification={"name": "mitosis"})
    write(root / "slides" / "s2.geojson", document)
    with pytest.raises(DataError, match=r"no sample: 2 are of the kind point, which has no size \(-o size=64"):
        read(root)
    samples, _ = read(root, size="4")
    assert [(s.id, s.box) for s in samples] == [
        ("slides/s2.png#1/1", (8, 9, 4, 4)),
        ("slides/s2.png#1/2", (1, 2, 4, 4)),
    ]
    assert [s.box for s in read(root, size="3um", mpp="0.5")[0]] == [(7, 8, 6, 6), (0, 1, 6, 6)]
    with pytest.raises(UsageError, match="needs a resolution"):
        read(root, size="3um")
    write(root / "slides" / "s2.geojson", [feature(polygon(square(10, 10, 3)))])
    assert read(root, size="6")[0][0].box == (9, 9, 6, 6)
    assert read(root, margin="2")[0][0].box == (8, 8, 7, 7)
    flat = [[10, 10], [15, 10], [15, 13], [10, 13], [10, 10]]
    write(root / "slides" / "s2.geojson", [feature(polygon(flat))])
    # Its middle is (12.5, 11.5).
    assert read(root, size="3")[0][0].box == (11, 10, 3, 3)
    for ring in (square(10, 10, 3), flat, [[y, x] for x, y in flat]):
        write(root / "slides" / "s2.geojson", [feature(polygon(ring))])
        with pytest.raises(DataError, match="give no sample: 1 has fewer than 4 pixels"):
            read(root, min_size="4")


def test_points_among_regions_as_they_are_wanted(root: Path) -> None:
    features = [feature({"type": "Point", "coordinates": [13, 14]}), feature(polygon(square(1, 2, 5)))]
    write(root / "slides" / "s2.geojson", features)
    assert [s.box for s in read(root, size="4")[0]] == [(11, 12, 4, 4), (2, 3, 4, 4)]
    samples, dataset = read(root, size="4", size_for="points", margin="1")
    assert [s.box for s in samples] == [(11, 12, 4, 4), (0, 1, 7, 7)]
    check_dataset(dataset)
    for options, box in (({"size": "4"}, (2, 3, 4, 4)), ({}, (1, 2, 5, 5))):
        samples, dataset = read(root, points="drop", **options)
        assert [s.box for s in samples] == [box]
        assert dataset.warnings[0].startswith("1 annotation was left out: it is of the kind point (points=drop)")
    samples, dataset = read(root, points="only", size="4")
    assert [s.box for s in samples] == [(11, 12, 4, 4)]
    assert dataset.warnings[0].startswith("1 annotation was left out: it is of the kind area (points=only)")


def test_what_is_outside_an_outline_is_masked(root: Path) -> None:
    ring, hole = square(2, 3, 6), square(4, 5, 2)
    write(root / "slides" / "s2.geojson", [feature(polygon(ring, hole)), feature(polygon([[0, 0], [4, 0], [0, 4]]))])
    plain, dataset = read(root, margin="1")
    white, masked = read(root, margin="1", mask="white")
    black, dark = read(root, margin="1", mask="black")
    pixels = dataset.read(plain[0])
    inside = np.zeros((8, 8), dtype=bool)
    inside[1:7, 1:7] = True
    inside[3:5, 3:5] = False
    assert (masked.read(white[0]) == np.where(inside[:, :, None], pixels, 255)).all()
    assert (dark.read(black[0]) == np.where(inside[:, :, None], pixels, 0)).all()
    # Of row y, the middles of 3 - y pixels and the one on the edge, which is not inside.
    triangle = np.tri(4, 4, -1, dtype=bool)[::-1]
    assert (masked.read(white[1])[1:-1, 1:-1] != 255).any(axis=2).tolist() == triangle.tolist()
    keys = {d.pixel_key(s) for d, found in ((dataset, plain), (masked, white), (dark, black)) for s in found}
    assert len(keys) == 5
    check_dataset(masked)


@pytest.mark.parametrize(
    ("grey", "options", "values"),
    [(2000, {"bits": "12"}, [2000, 4095]), (20000, {"scale": "range:0,40000"}, [32768, 65535])],
)
def test_white_of_deep_images_is_white(root: Path, grey: int, options: dict[str, str], values: list[int]) -> None:
    Image.fromarray(np.full((20, 30), grey, np.uint16)).save(root / "slides" / "s2.png")
    write(root / "slides" / "s2.geojson", [feature(polygon([[0, 0], [4, 0], [0, 4]]))])
    samples, dataset = read(root, mask="white", **options)
    assert np.unique(dataset.read(samples[0])).tolist() == values


def test_a_label_inside_a_property_is_told_as_it_is_typed(root: Path) -> None:
    told = {"metadata": {"grade": "high"}, "measurements": {"Area": 4}}
    write(root / "slides" / "s2.geojson", [feature(polygon(square(1, 1, 4)), **told)])
    samples, dataset = read(root, label="grade")
    assert [s.label for s in samples] == [None]
    (line,) = [line for line in dataset.warnings if "-o label=FIELD" in line]
    assert "measurements, metadata.grade" in line
    assert [s.label for s in read(root, label="metadata.grade")[0]] == ["high"]


def test_one_kind_of_files_is_taken(root: Path) -> None:
    write(root / "slides" / "s2.geojson", [feature(polygon(square(1, 1, 4)))])
    write(root / "000005.xml", VOC)
    write(root / "settings.json", {"colour": "red"})
    samples, dataset = read(root)
    assert {s.image[0] for s in samples} == {"JPEGImages/000005.jpg"}
    assert "2 files hold no annotations of the kind voc, for example 'settings.json'" in dataset.warnings
    assert [s.image[0] for s in read(root, annotations="slides")[0]] == ["slides/s2.png"]
    assert {s.image[0] for s in read(root, format="voc")[0]} == {"JPEGImages/000005.jpg"}
    with pytest.raises(DataError, match="give no sample: none is of the kind labelme") as caught:
        read(root, annotations="slides", format="labelme")
    assert caught.value.next == "'s2.geojson' is of the kind geojson: add -o format=geojson, or leave format out."


def test_masks_of_coco(root: Path) -> None:
    document = coco()
    document["annotations"] = [
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 4], "segmentation": segmentation}
        # The same mask in runs, as pycocotools packs it, and as a polygon.
        for segmentation in (
            {"size": [20, 30], "counts": [21, 2, 18, 2, 557]},
            {"size": [20, 30], "counts": "e02b00k`0"},
            [[1, 1, 3, 1, 3, 3, 1, 3]],
        )
    ]
    for number, entry in enumerate(document["annotations"]):
        entry["id"] = number
    write(root / "coco.json", document)
    samples, dataset = read(root, annotations="coco.json", mask="black")
    for sample in samples:
        seen = dataset.read(sample).any(axis=2)
        assert np.argwhere(seen).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


@pytest.mark.parametrize(
    ("counts", "runs", "box"),
    [
        # Beyond the end of a column of 20 rows; a run of none; and one that is packed as a smaller number than before.
        ([5, 30, 565], None, (0, 0, 2, 20)),
        ([5, 0, 16, 2, 577], None, (1, 1, 1, 2)),
        ([21, 18, 2, 2, 557], "e0b02@[a0", (1, 1, 2, 18)),
    ],
)
def test_runs_of_any_length(root: Path, counts: list[int], runs: str | None, box: tuple[int, ...]) -> None:
    segmentation = {"size": [20, 30], "counts": runs or counts}
    document = {**coco(), "annotations": [{"id": 1, "image_id": 2, "category_id": 1, "segmentation": segmentation}]}
    write(root / "coco.json", document)
    Image.new("RGB", (30, 20), (9, 9, 9)).save(root / "b.png")
    inside = np.pad(np.repeat(np.arange(len(counts)) % 2, counts).reshape(30, 20).T, 3)
    left, top, width, height = box
    for margin in (0, 3):
        # A margin may reach beyond the image.
        (sample,), dataset = read(root, annotations="coco.json", mask="black", margin=str(margin))
        assert sample.box == (left - margin, top - margin, width + 2 * margin, height + 2 * margin)
        rows, columns = (slice(at + 3 - margin, at + n + 3 + margin) for at, n in ((top, height), (left, width)))
        assert ((dataset.read(sample)[:, :, 0] == 9) == inside[rows, columns]).all()


def test_labelme(root: Path) -> None:
    shapes = [
        {"label": "gland", "points": [[1, 2], [6, 2], [6, 9.5]], "group_id": 3, "shape_type": "polygon", "flags": {}},
        {"label": "gland", "points": [[9, 9], [4, 5]], "shape_type": "rectangle"},
        {"label": "nucleus", "points": [[10, 10], [13, 14]], "shape_type": "circle"},
        {"label": "cut", "points": [[0, 0], [9, 9]], "shape_type": "line"},
    ]
    document = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": "..\\slides\\s2.png", "imageData": None}
    write(root / "json" / "s2.json", document)
    samples, dataset = read(root)
    assert [(s.id, s.label, s.box) for s in samples] == [
        ("slides/s2.png#1", "gland", (1, 2, 5, 8)),
        ("slides/s2.png#2", "gland", (4, 5, 5, 4)),
        ("slides/s2.png#3", "nucleus", (5, 5, 10, 10)),
    ]
    assert dict(samples[0].metadata) == {"image_id": "slides/s2.png", "shape": "polygon", "group_id": "3"}
    assert "it is of the shape line, which has no area" in dataset.warnings[0]
    shapes[0]["points"] = [[1, "x"]]
    write(root / "json" / "s2.json", document)
    with pytest.raises(DataError, match=r"Annotation 1 of .* has points that are none of a polygon"):
        read(root)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_any_encoding_of_json(root: Path, encoding: str) -> None:
    document = [feature(polygon(square(1, 1, 4)), classification={"name": "Geschwür"})]
    (root / "slides" / "s2.geojson").write_text(json.dumps(document, ensure_ascii=False), encoding)
    assert [s.label for s in read(root)[0]] == ["Geschwür"]


def test_any_encoding_of_xml(root: Path) -> None:
    text = f'<?xml version="1.0" encoding="UTF-16"?>{VOC}'.replace("cell", "Geschwür")
    (root / "a.xml").write_bytes(text.encode("utf-16"))
    assert [s.label for s in read(root)[0]] == ["mitosis", "Geschwür"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("hello", "it begins with 'h', not with {"),
        (
            '{"type": "FeatureCollection", "features": [{"type": "Feature"',
            "it ends too early.* in element 1 of 'features'",
        ),
        ('{"features": [{"type": "Feature", "geometry": null}, {"type": x}]}', "expecting value in element 2 of"),
        ('{"features": [{"geometry": null} {"geometry": null}]}', "'{' stands where a comma or ] should in element 1 "),
        ('{"features": []} more', "something follows its end"),
        ('{"features": [3]}', "Annotation 1 of .* is no feature"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3]]]}}]', "Annotation 1 .* none of a Polygon"),
        ('[{"geometry": {"type": "Point", "coordinates": ["x", 2]}}]', "Annotation 1 .* none of a Point"),
        ('{"features": []}', "give no sample"),
    ],
)
def test_json_that_cannot_be_read(root: Path, text: str, message: str) -> None:
    write(root / "slides" / "s2.geojson", text)
    with pytest.raises(DataError, match=message):
        read(root, size="4")


def test_json_is_read_in_pieces(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from histokit.datasets.regions import json_items

    document = {"n": 1234.5, "list": [12, -3.5e-07, "text", {"a": [1, {"b": None}]}, []], "e": [], "t": True, "o": {}}
    path = write(root / "a.json", json.dumps(document, indent=1))
    expected = [
        ("n", 0, 1234.5),
        *(("list", place, value) for place, value in enumerate(document["list"], start=1)),
        ("t", 0, True),
        ("o", 0, {}),
    ]
    # Each letter is the last of a piece once.
    for size in (*range(1, path.stat().st_size), 1 << 20):
        monkeypatch.setattr(json_items, "_CHUNK", size)
        assert list(json_items.read_items(path)) == expected


def test_images_are_found_by_their_names(root: Path) -> None:
    document = coco()
    document["images"] = [{"id": 1, "file_name": "C:\\data\\000005.jpg"}, {"id": 2, "file_name": "old/s2.jpg"}]
    write(root / "coco.json", document)
    samples, dataset = read(root, annotations="coco.json")
    assert {s.image[0] for s in samples} == {"JPEGImages/000005.jpg", "slides/s2.png"}
    assert any("2 images were found by their names alone" in warning for warning in dataset.warnings)
    document["images"] = [{"id": 1, "file_name": "train/s2.png"}, {"id": 2, "file_name": "test/s2.png"}]
    write(root / "coco.json", document)
    with pytest.raises(
        DataError, match=r"of the images 'train/s2.png' and 'test/s2.png', of which 'slides/s2.png' alone"
    ):
        read(root, annotations="coco.json")
    (root / "other").mkdir()
    (root / "slides/s2.png").rename(root / "other" / "b.png")
    document["images"] = [{"id": 1, "file_name": "images/b.png"}]
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=r"The image 'images/b.png' .* may be 'b.png' or 'other/b.png'"):
        read(root, annotations="coco.json")
    assert {s.image[0] for s in read(root, annotations="coco.json", images="other")[0]} == {"other/b.png"}


def test_whole_slides_are_said_to_be_no_images_here(root: Path) -> None:
    write(root / "slides" / "s9.geojson", [feature(polygon(square(1, 1, 4)))])
    document: dict[str, list[Any]] = {
        "images": [{"id": 1, "file_name": "scan.svs"}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 1, 4, 4], "category_id": 1}],
        "categories": [{"id": 1, "name": "tumour"}],
    }
    (root / "scan.svs").write_bytes(b"a slide")
    write(root / "coco.json", document)
    with pytest.raises(DataError, match=r"None of the images of 1 annotation .* 'scan.svs'") as caught:
        read(root, annotations="coco.json")
    assert "such as 'scan.svs', are no images here: histokit ingest slides" in str(caught.value.next)
    document["images"].append({"id": 2, "file_name": "b.png"})
    document["annotations"].append({"id": 2, "image_id": 2, "bbox": [1, 1, 4, 4], "category_id": 1})
    write(root / "coco.json", document)
    (warning,) = (told for told in read(root, annotations="coco.json")[1].warnings if "missing" in told)
    assert "such as 'scan.svs', are no images here: histokit ingest slides" in warning


def test_no_image_is_there(root: Path) -> None:
    write(root / "slides" / "s9.geojson", [feature(polygon(square(1, 1, 4)))])
    with pytest.raises(DataError, match=r"None of the images of 1 annotation is in .*, for example 's9'"):
        read(root)
    with pytest.raises(DataError, match="There are no annotations"):
        read(root / "JPEGImages")
    with pytest.raises(DataError, match=r"nothing.json' does not exist"):
        read(root, annotations="nothing.json")
    with pytest.raises(DataError, match="does not exist"):
        read(root / "nowhere")


def test_columns_of_paths(root: Path) -> None:
    write(root / "slides" / "s2.geojson", [feature(polygon(square(1, 1, 4)))])
    samples, dataset = read(root, pattern="{label}/{patient}.png", group="patient")
    assert [(s.label, s.metadata["patient"]) for s in samples] == [("slides", "s2")]
    assert dataset.group == "patient"
    with pytest.raises(UsageError, match=r"does not fit the image 'slides/s2.png'"):
        read(root, pattern="{patient}/x/*")
    with pytest.raises(UsageError, match="group='slide' names no column"):
        read(root, group="slide")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "large"}, "size='large' is no length"),
        ({"size": "9" * 400}, r"size=9{10,}.* is larger than any image"),
        ({"size": "32um", "mpp": "0"}, "mpp=0 is no resolution.\nGive more than 0"),
        ({"mpp": "nan"}, "mpp=nan is no resolution"),
        ({"margin": "-1"}, "margin=-1 is less than 0"),
        ({"min_size": "0"}, "min_size=0 is less than 1"),
        ({"mask": "grey"}, "mask='grey' is not one of none, white, black"),
        ({"points": "only"}, "Points have no size of their own.\nAdd -o size=64"),
        ({"size_for": "points"}, "gives points a size, and none is given"),
        ({"size_for": "points", "points": "drop", "size": "4"}, "gives points a size, and points=drop leaves them out"),
        ({"pattern": "{mpp}/*"}, "'mpp', which is the name of a field"),
    ],
)
def test_options_that_are_wrong(root: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Annotations.from_options(root, options)


def test_a_size_that_is_too_many_pixels_is_told(root: Path) -> None:
    write(root / "slides" / "s2.geojson", [feature(polygon(square(1, 1, 4)))])
    with pytest.raises(DataError, match=r"Annotation 1 of .* lies at \(3.0, 3.0\), which no image reaches"):
        read(root, size="32um", mpp="1e-320")


def test_the_whole_way(root: Path, store: FeatureStore) -> None:
    classes = ["Tumor", "Stroma"]
    for slide in ("s1.ome.tif", "s2.png"):
        entries = [
            feature(polygon(square(x, y, 5)), classification={"name": classes[(x + y) % 2]})
            for x in range(0, 25, 4)
            for y in range(0, 15, 5)
        ]
        write(root / "slides" / f"{slide}.geojson", {"type": "FeatureCollection", "features": entries})
    record = histokit.ingest(store, "annotations", root, name="regions", options={"mask": "white", "min_size": "4"})
    assert (record.count, record.problems, record.group) == (42, 0, "image_id")
    histokit.extract(store, "regions", "texture")
    features = store.features("regions", "texture/last")
    assert len(features.X) == 42
    assert sorted(set(features.groups("image_id"))) == ["slides/s1.ome.tif", "slides/s2.png"]


def test_runs_of_another_size_than_that_of_their_image_are_named(root: Path) -> None:
    document = coco()
    document["images"][1] |= {"width": 30, "height": 20}
    write(root / "coco.json", document)
    assert len(read(root, annotations="coco.json", mask="black")[0]) == 5
    # As many pixels, so that the runs add up.
    document["annotations"][8]["segmentation"]["size"] = [30, 20]
    write(root / "coco.json", document)
    message = r"Annotation 9 of .*coco.json' has a segmentation of 20 × 30 pixels .*'sub/a.png' is listed with 30 × 20"
    with pytest.raises(DataError, match=message):
        read(root, annotations="coco.json", mask="black")


def listing(kind: str, width: int, height: int) -> tuple[str, Any]:
    """A file of annotations of b.png, and the size that it lists."""
    if kind == "voc":
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
        return "b.xml", (
            f"<annotation><filename>b.png</filename>{size}<object><name>cell</name>{box}</object></annotation>"
        )
    if kind == "labelme":
        shapes = [{"label": "cell", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"}]
        return "b.json", {"shapes": shapes, "imagePath": "b.png", "imageHeight": height, "imageWidth": width}
    entry: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    image: dict[str, Any] = {"id": 1, "file_name": "b.png"}
    if kind == "runs":
        runs = [width * height - 3, 2, 1]
        entry |= {"bbox": None, "segmentation": {"size": [height, width], "counts": runs}}
    else:
        image |= {"width": width, "height": height}
    return "b.json", {"images": [image], "annotations": [entry], "categories": [{"id": 1, "name": "cell"}]}


@pytest.mark.parametrize("kind", ["voc", "labelme", "coco", "runs"])
def test_annotations_made_on_a_resized_image_are_put_aside(root: Path, store: FeatureStore, kind: str) -> None:
    name, right = listing(kind, 30, 20)
    write(root / name, right)
    sample, dataset = read(root, annotations=name)
    assert dataset.read(sample[0]).shape[2] == 3
    assert not dataset.warnings
    for width, height in ((60, 40), (20, 30)):
        write(root / name, listing(kind, width, height)[1])
        samples, dataset = read(root, annotations=name)
        message = f"'b.png' has 30 × 20 pixels, and {name} lists it with {width} × {height}"
        with pytest.raises(DataError, match=message):
            dataset.read(samples[0])
    write(root / name, right)
    assert dataset.read(next(iter(dataset.samples()))).shape[2] == 3, "once the file is mended"
    write(root / name, listing(kind, width, height)[1])
    histokit.ingest(store, "annotations", root, name="regions", options={"annotations": name})
    assert [message in reason for reason in store.problems("regions").column("reason").to_pylist()] == [True]


def test_a_size_of_0_is_none_and_one_that_is_no_number_is_named(root: Path) -> None:
    name, document = listing("voc", 0, 0)
    write(root / name, document)
    assert len(read(root, annotations=name)[0]) == 1
    write(root / name, document.replace("<width>0", "<width>wide"))
    with pytest.raises(DataError, match=r"Image 1 of .*b.xml' is listed with the size 'wide' × '0'"):
        read(root, annotations=name)


def test_the_size_is_that_of_the_image_as_it_is_turned(root: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name, words in (("t.jpg", {}), ("t.png", {}), ("t.tif", {"tiffinfo": exif})):
        with Image.open(root / "b.png") as image:
            image.save(root / name, exif=exif, **words)
        for size, fits in (((20, 30), True), ((30, 20), False)):
            document = listing("coco", *size)[1]
            document["images"][0]["file_name"] = name
            write(root / "turned.json", document)
            samples, dataset = read(root, annotations="turned.json")
            if fits:
                assert dataset.read(samples[0]).shape == (4, 4, 3)
            else:
                with pytest.raises(DataError, match="has 20 × 30 pixels"):
                    dataset.read(samples[0])


def png(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize("depth", ["bits", "ones", "white"])
def test_labelme_masks_and_turned_boxes(root: Path, depth: str) -> None:
    inside = np.zeros((4, 5), bool)
    inside[0, 1:4] = inside[1:, 4] = inside[3, 0] = True
    image = {"bits": inside, "ones": inside.astype(np.uint8), "white": inside.astype(np.uint8) * 255}[depth]
    shapes = [
        {"label": "gland", "points": [[10.0, 7.0], [14.0, 10.0]], "shape_type": "mask", "mask": png(image)},
        {"label": "cell", "points": [[5, 1], [9, 5], [7, 7], [3, 3]], "shape_type": "rotation", "direction": 0.8},
        {"label": "cut", "points": [[0, 0], [9, 9]], "shape_type": "linestrip"},
        {"label": "cut", "points": [[0, 0], [9, 9]], "shape_type": "line"},
        {"label": "seeds", "points": [[0, 0], [9, 9]], "shape_type": "points"},
    ]
    document = {"shapes": shapes, "imagePath": "b.png", "imageHeight": 20, "imageWidth": 30}
    write(root / "b.json", document)
    Image.new("RGB", (30, 20), (9, 9, 9)).save(root / "b.png")
    assert [s.box for s in read(root)[0]] == [(10, 7, 5, 4), (3, 1, 6, 6)]
    samples, dataset = read(root, mask="white")
    assert [(s.box, s.label, s.metadata["shape"]) for s in samples] == [
        ((10, 7, 5, 4), "gland", "mask"),
        ((3, 1, 6, 6), "cell", "rotation"),
    ]
    assert np.array_equal((dataset.read(samples[0]) == 9).all(axis=2), inside)
    # A margin shows what is outside.
    samples, dataset = read(root, mask="white", margin="2")
    assert np.array_equal((dataset.read(samples[0]) == 9).all(axis=2), np.pad(inside, 2))
    told = "; ".join(dataset.warnings)
    assert "1 annotation was left out: it is of the shape linestrip, which has no area" in told
    assert "1 annotation was left out: it is of the shape points, which is not read" in told
    for change, message in (
        ({"mask": "?"}, "Annotation 1 of .*b.json' is a mask without an image"),
        ({"mask": None}, "is a mask without an image"),
        ({"mask": png(inside.T)}, "has a mask of 4 × 5 pixels for a box of 5 × 4"),
        ({"points": [[1, 1]]}, "has points that are none of a mask"),
    ):
        write(root / "b.json", {**document, "shapes": [{**shapes[0], **change}]})
        with pytest.raises(DataError, match=message):
            read(root, mask="white")


def test_collections_of_geojson(root: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}
    point = {"type": "Point", "coordinates": [20, 9]}
    areas = [polygon(square(1, 1, 2)), {"type": "MultiPolygon", "coordinates": [[square(5, 4, 2)]]}]
    collections = [areas, [point], [*areas[:1], point, line], [line], []]
    features = [feature({"type": "GeometryCollection", "geometries": each}) for each in collections]
    write(root / "slides" / "s2.geojson", [*features, feature({"type": "Circle", "coordinates": [1, 2]})])
    samples, dataset = read(root, size="4")
    assert [s.id for s in samples] == [f"slides/s2.png#{number}" for number in (1, 2, 3)]
    samples, dataset = read(root, size="8", mask="black")
    assert samples[0].box == (0, 0, 8, 8)
    seen = np.argwhere(dataset.read(samples[0]).any(axis=2))
    assert seen.tolist() == [[y + k, x + j] for y, x in ((1, 1), (4, 5)) for k in (0, 1) for j in (0, 1)]
    told = "; ".join(dataset.warnings)
    assert "1 annotation was left out: it is of the type LineString, which has no area" in told
    assert "1 annotation was left out: it has no geometry" in told
    assert "1 annotation was left out: it is of the type Circle, which is not read" in told
    assert "1 annotation holds areas, and points or lines that are passed over, for example 's2.geojson, 3'" in told


def test_boxes_in_shares_of_the_image_are_refused(root: Path) -> None:
    document = coco()
    document["annotations"][1]["bbox"] = [0.5, 0.25, 0.5, 0.5]
    write(root / "coco.json", document)
    with pytest.raises(DataError, match="lies inside the first pixel: it seems to be in shares") as caught:
        read(root, annotations="coco.json")
    assert "in pixels" in caught.value.next


def test_points_in_shares_of_the_image_are_refused_where_all_are(root: Path) -> None:
    points = {"type": "MultiPoint", "coordinates": [[0.5, 0.25], [1, 0.75]]}
    write(root / "slides" / "s2.geojson", feature(points))
    with pytest.raises(DataError, match=r"All points, .* lie inside the first pixel: they seem to be in") as caught:
        read(root, size="4")
    assert "in pixels" in caught.value.next
    points["coordinates"][1] = [2, 0.75]
    write(root / "slides" / "s2.geojson", feature(points))
    assert [s.box for s in read(root, size="4")[0]] == [(-1, -2, 4, 4), (0, -1, 4, 4)]
    # Points without boxes have no part in it.
    points["coordinates"][1] = [1, 0.75]
    write(root / "slides" / "s2.geojson", [feature(points), feature(polygon(square(1, 2, 5)))])
    for options in ({}, {"points": "drop", "size": "5"}):
        assert [s.box for s in read(root, **options)[0]] == [(1, 2, 5, 5)]


def test_a_box_that_its_outline_does_not_meet_is_left_out_where_outlines_matter(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a.png")
    boxes = {"apart": [0, 0, 5, 5], "met": [18, 18, 9, 9], "thin": [20.4, 20, 0.4, 5]}
    outlines = {
        "apart": [20, 20, 25, 20, 25, 25],
        "met": [20, 20, 26, 20, 26, 26],
        "thin": [20.6, 20, 20.9, 20, 20.7, 25],
    }
    entries = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": boxes[name], "segmentation": [outlines[name]]}
        for number, name in enumerate(boxes)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": entries,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    samples, _ = read(tmp_path)
    assert len(samples) == 3
    samples, dataset = read(tmp_path, mask="white")
    assert [sample.metadata["annotation_id"] for sample in samples] == ["1", "2"]
    assert dataset.warnings == [
        "1 annotation was left out: it has a box that the outline does not meet, for example 'a.json, 1'"
    ]
    assert dataset.read(samples[0]).min() == 9
    with pytest.warns(ImageWarning, match="has no pixel whose middle lies inside its outline"):
        assert dataset.read(samples[1]).min() == 255
