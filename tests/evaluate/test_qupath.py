"""Predictions as GeoJSON, read as QuPath reads it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from histokit import cli
from histokit.evaluate.qupath import colours
from histokit.features import FeatureStore
from tests.evaluate.made_up import save_run
from tests.toy import make_store

BOXES = {"t0": [0, 0, 10, 20], "t1": [10, 0, 10, 20], "t2": [-5, 7, 3, 4]}


def tile_objects(path: Path) -> list[dict[str, Any]]:
    """What QuPath's reader of features takes of a file, which fails where it would."""
    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert document["type"] == "FeatureCollection"
    found = []
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        geometry, properties = feature["geometry"], feature["properties"]
        assert geometry["type"] == "Polygon"
        (ring,) = geometry["coordinates"]
        assert ring[0] == ring[-1], "a closed polygon"
        assert properties["objectType"] == "tile"
        red, green, blue = properties["classification"]["color"]
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in (red, green, blue))
        assert all(isinstance(value, float) for value in properties["measurements"].values())
        assert all(isinstance(value, str) for value in properties["metadata"].values())
        found.append({**properties, "ring": ring, "id": feature["id"]})
    return found


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def make_run(folder: Path, boxes: dict[str, Any] = BOXES, **columns: Any) -> None:
    images = [["x/one.svs"], ["x/one.svs"], ["y/zwei ö.ome.tif"]]
    samples = {"id": list(boxes), "label": ["a", "b", "b"], "box": list(boxes.values()), "image": images, **columns}
    store = make_store(folder / "store", samples, {"last": [[0.0]] * 3}, root="/data")
    rows = [(0, "t0", "a", [0.9, 0.1], "P"), (0, "t1", "b", [0.6, 0.4], "P"), (1, "t2", "b", [-float("inf"), 2.0], "Q")]
    save_run(store, rows)


def test_one_file_for_all(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path)
    assert call("predictions", "abcd", "--out", "all.geojson")[:2] == (0, "all.geojson\n")
    first, second, third = tile_objects(tmp_path / "all.geojson")
    assert first["ring"] == [[0, 0], [10, 0], [10, 20], [0, 20], [0, 0]]
    assert third["ring"] == [[-5, 7], [-2, 7], [-2, 11], [-5, 11], [-5, 7]]
    assert [o["classification"]["name"] for o in (first, second, third)] == ["a", "a", "b"]
    assert first["classification"]["color"] == second["classification"]["color"] != third["classification"]["color"]
    assert (first["measurements"], third["measurements"]) == ({"a": 0.9, "b": 0.1}, {"b": 2.0})
    assert second["metadata"] == {"id": "t1", "image": "one.svs", "true": "b", "fold": "0"}
    assert len({first["id"], second["id"], third["id"]}) == 3
    before = (tmp_path / "all.geojson").read_bytes()
    call("predictions", "abcd", "--out", "all.geojson")
    assert (tmp_path / "all.geojson").read_bytes() == before


def test_a_sample_that_is_tested_in_each_repeat_is_an_object_of_each(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path)
    again = [(0, name, "a", [0.7, 0.3], "P") for name in BOXES]
    save_run(FeatureStore(tmp_path / "store"), again, run_id="ef0123456789", repeats=[again])
    assert call("predictions", "ef01", "--out", "all.geojson")[0] == 0
    assert len({each["id"] for each in tile_objects(tmp_path / "all.geojson")}) == 6


def test_a_file_for_each_image(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path)
    assert call("predictions", "abcd", "--out", "each/")[0] == 0
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["one.geojson", "zwei ö.geojson"]
    assert [o["metadata"]["id"] for o in tile_objects(tmp_path / "each" / "one.geojson")] == ["t0", "t1"]
    assert call("predictions", "abcd", "--wrong", "--out", "wrong/")[0] == 0
    (wrong,) = tile_objects(tmp_path / "wrong" / "one.geojson")
    assert (wrong["metadata"]["true"], wrong["classification"]["name"]) == ("b", "a")


def test_whole_images_have_no_place(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path, {**BOXES, "t1": None})
    code, _, err = call("predictions", "abcd", "--out", "all.geojson")
    assert code == 2
    assert "1 sample has no box, so that it is not known where they lie: t1" in " ".join(err.split())
    assert not (tmp_path / "all.geojson").exists()


def test_paths_that_cannot_be_written(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path)
    (tmp_path / "file").touch()
    for out, words in (("file/", "no folder"), ("x.json", "none of .csv, .parquet, .geojson"), ("no/x.geojson", "no")):
        code, _, err = call("predictions", "abcd", "--out", out)
        assert code == 2
        assert words in " ".join(err.split())


def test_colours_of_many_classes_differ() -> None:
    found = colours([f"c{number}" for number in range(40)])
    assert len({tuple(colour) for colour in found.values()}) == 40


def test_a_sample_that_several_folds_or_repeats_test_is_an_object_of_each(tmp_path: Path, call: Any) -> None:
    samples = {"id": ["t0"], "label": ["a"], "box": [[0, 0, 10, 20]], "image": [["x/one.svs"]]}
    store = make_store(tmp_path / "store", samples, {"last": [[0.0]]}, root="/data")
    save_run(store, [(fold, "t0", "a", [0.9, 0.1], "P") for fold in range(3)])
    assert call("predictions", "abcd", "--out", "all.geojson")[0] == 0
    objects = tile_objects(tmp_path / "all.geojson")
    assert [found["metadata"]["fold"] for found in objects] == ["0", "1", "2"]
    assert len({found["id"] for found in objects}) == 3
    assert call("predictions", "abcd", "--where", "id = 't0'", "--limit", "1", "--out", "one.geojson")[0] == 0
    assert tile_objects(tmp_path / "one.geojson")[0]["id"] == objects[0]["id"]


def test_parts_of_a_file_have_places_of_their_own(tmp_path: Path, call: Any) -> None:
    make_run(tmp_path, part=["page=0", "page=1", None])
    assert call("predictions", "abcd", "--out", "each/")[0] == 0
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == [
        "one.svs#page=0.geojson",
        "one.svs#page=1.geojson",
        "zwei ö.ome.tif.geojson",
    ]
    (page,) = tile_objects(tmp_path / "each" / "one.svs#page=1.geojson")
    assert page["metadata"] == {"id": "t1", "part": "page=1", "true": "b", "fold": "0", "image": "one.svs"}
