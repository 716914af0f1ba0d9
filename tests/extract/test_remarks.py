"""What is said of images that are read although not all of them is, and of those whose pixels changed their meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_images import ORIENTATION, page, tiff

import histokit
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.ingest import digest_process
from histokit.ingest import ingest as ingest_module
from histokit.plugin import reader_marks
from histokit.reading import ingested_files as ingested_module

GREY = np.random.default_rng(0).integers(0, 256, (24, 16), dtype=np.uint8)
DARK = GREY.astype(np.uint16) * 16
DARK[0, 0] = 4095

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three dark images of 16 bits, two animations, and one image of which nothing is to be said."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number in range(3):
        pixels = DARK.copy()
        pixels[1, 1] = number
        tiff(folder / f"dark{number}.tif", page(pixels))
    for number in range(2):
        frames = [Image.new("RGB", (16, 16), (9 * number + k, 0, 0)) for k in range(3)]
        frames[0].save(folder / f"moving{number}.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(GREY).save(folder / "plain.png")
    return folder


def ingest(store: FeatureStore, root: Path) -> None:
    histokit.ingest(store, "folder", root, name="d", options={"pattern": "{name}.*"})


def test_one_line_for_each_kind_with_count_and_example(store: FeatureStore, root: Path) -> None:
    ingest(store, root)
    extraction = histokit.extract(store, "d", "tiny", layers="last", workers=1)
    moving, dark = sorted(extraction.warnings)
    assert moving == (
        "2 images: each holds more than what was read, its first picture, for example moving0.gif (3 frames); "
        "save what else is wanted as images of its own"
    )
    assert dark.startswith("3 images: each uses less than a quarter of its range")
    assert "for example dark0.tif (no value above 4095 of 65535)" in dark
    assert extraction.problems == ()
    assert extraction.to_json()["warnings"] == list(extraction.warnings)
    assert extraction.tables[0]["unusable"] == 0
    assert extraction.tables[0]["computed"] == 6


def test_it_is_told_again_where_everything_is_cached_and_as_long_as_it_is_true(store: FeatureStore, root: Path) -> None:
    ingest(store, root)
    first = histokit.extract(store, "d", "tiny", layers="last")
    again = histokit.extract(store, "d", "tiny", layers="last")
    assert again.tables[0]["cached"] == 6
    assert sorted(again.warnings) == sorted(first.warnings)
    retried = histokit.extract(store, "d", "tiny", layers="last", retry=True)
    assert sorted(retried.warnings) == sorted(first.warnings)
    for number in range(3):
        Image.fromarray(GREY + np.uint8(number)).save(root / f"dark{number}.tif")
    ingest(store, root)
    assert [line.split(":")[0] for line in histokit.extract(store, "d", "tiny", layers="last").warnings] == ["2 images"]


def test_boxes_of_one_image_are_remarked_on_by_each_sample(store: FeatureStore, root: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("file,x,y,width,height\n" + "".join(f"dark0.tif,{x},0,8,8\n" for x in range(0, 8, 2)))
    options = {"table": str(table), "image": "file", "box": "x,y,width,height"}
    histokit.ingest(store, "table", root, name="d", options=options)
    (line,) = histokit.extract(store, "d", "tiny", layers="last").warnings
    assert line.startswith("4 images: each uses less than a quarter")


def test_what_is_refused_is_put_aside_and_the_rest_goes_on(store: FeatureStore, root: Path) -> None:
    tiff(root / "stack.tif", page(GREY), page(GREY))
    ingest(store, root)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    (problem,) = extraction.problems
    assert problem["id"] == "stack.tif"
    assert "has 2 planes or pages, 16 × 24 pixels each" in problem["reason"]
    assert extraction.tables[0]["computed"] == 6


def test_only_images_that_are_read_otherwise_than_before_are_extracted_anew(
    store: FeatureStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff(root / "turned.tif", page(GREY, {ORIENTATION: 6}))
    with monkeypatch.context() as before:
        before.setattr(digest_process, "reader_mark", lambda _: b"")
        before.setattr(reader_marks, "mark_of", lambda _: b"")
        before.setattr(ingest_module, "READER_REVISION", 0)
        before.setattr(ingested_module, "READER_REVISION", 0)
        ingest(store, root)
        assert histokit.extract(store, "d", "tiny", layers="last").tables[0]["computed"] == 7
    # Not ingested again: no new pixels under the old content.
    extraction = histokit.extract(store, "d", "tiny", layers="0", workers=2)
    assert "images are read by threads: no other process can open this dataset" in extraction.notes
    # Those of 16 bits were read by their upper eight.
    otherwise = ["dark0.tif", "dark1.tif", "dark2.tif", "turned.tif"]
    assert sorted(problem["id"] for problem in extraction.problems) == otherwise
    assert (
        "is read otherwise than by the version that ingested the dataset: ingest it again"
        in (extraction.problems[0]["reason"])
    )
    assert extraction.tables[0]["computed"] == 3
    ingest(store, root)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert extraction.problems == ()
    assert (extraction.tables[0]["cached"], extraction.tables[0]["computed"]) == (3, 4)


@pytest.mark.parametrize("plugin", ["folder", "table"])
def test_bits_that_were_recorded_are_an_option(store: FeatureStore, root: Path, tmp_path: Path, plugin: str) -> None:
    (tmp_path / "t.csv").write_text("image\ndark0.tif\nplain.png\n")
    given = {"folder": {"pattern": "{name}.*"}, "table": {"table": str(tmp_path / "t.csv")}}[plugin]
    histokit.ingest(store, plugin, root, name="d", options=given)
    histokit.extract(store, "d", "tiny", layers="last")
    dark = store.features("d", "tiny/last")
    histokit.ingest(store, plugin, root, name="d", options={**given, "bits": "12"})
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert not any("quarter of its range" in line for line in extraction.warnings)
    bright = np.rint(DARK * (65535 / 4095)).astype(np.uint16)
    bright[1, 1] = 0
    Image.fromarray(bright).save(tmp_path / "right.png")
    histokit.ingest(store, "folder", tmp_path, name="right", options={"pattern": "right.png"})
    histokit.extract(store, "right", "tiny", layers="last")
    features, right = store.features("d", "tiny/last"), store.features("right", "tiny/last").X[0]
    row = features.sample_ids.index("dark0.tif")
    np.testing.assert_allclose(features.X[row], right, atol=1e-6)
    assert abs(dark.X[dark.sample_ids.index("dark0.tif")] - right).max() > 0.01
    for bits in ("7", "17"):
        with pytest.raises(UsageError, match=f"Images cannot have {bits} bits"):
            histokit.ingest(store, plugin, root, name="d", options={**given, "bits": bits})
