"""Samples that are drawn and looked at: as they are read, as a network sees them, and those that could not be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from histokit import cli
from histokit.errors import DataError, UsageError
from histokit.extract.extract import extract
from histokit.extract.shown_samples import drawn_places, show
from histokit.extract.shown_sheet import MOST, shown_sheet
from histokit.features import FeatureStore
from histokit.figures.contact import draw_contact
from histokit.ingest.ingest import ingest
from tests.toy import make_samples, make_store

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")


@pytest.fixture
def cells(store: FeatureStore, images: Path) -> FeatureStore:
    """The tiny images, and two files that are none."""
    (images / "p1" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (images / "p2" / "bright" / "empty.png").write_bytes(b"")
    ingest(store, "folder", images, name="cells", options=OPTIONS)
    return store


@pytest.fixture
def five(store: FeatureStore, tmp_path: Path) -> FeatureStore:
    """Two images of five channels of 12 bits; channel k holds k times 800 on its right half."""
    for label in "ab":
        planes = np.zeros((5, 16, 16), np.uint16)
        planes[:, :, 8:] = 800 * np.arange(5, dtype=np.uint16)[:, None, None]
        path = tmp_path / "five" / "p" / label / "1.tif"
        path.parent.mkdir(parents=True)
        tifffile.imwrite(path, planes, metadata={"axes": "CYX"})
    options = {"pattern": "{patient}/{label}/*.tif", "group": "patient", "bits": 12, "channels": list(CHANNELS)}
    ingest(store, "folder", tmp_path / "five", name="five", options=options)
    return store


def test_of_each_class_as_many_are_drawn_as_there_are() -> None:
    labels = [*"a" * 50, *"b" * 50, *"c" * 2, None]
    places = drawn_places(labels, 11, seed=0)
    assert [labels[place] for place in places] == [*"aaaa", *"bbbb", "c", "c", None]
    assert len(set(places)) == 11
    assert drawn_places(labels, 11, seed=0) == places != drawn_places(labels, 11, seed=1)
    assert sorted(drawn_places(labels, 200, seed=0)) == list(range(103))
    many = drawn_places([str(number) for number in range(40)] * 3, 20, seed=0)
    assert len({place % 40 for place in many}) == 20, "of more classes than there is room for, one sample each"


def test_classes_stand_in_their_order(tmp_path: Path) -> None:
    for label in ("10", "2", "1"):
        path = tmp_path / "numbered" / label / "1.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    store = FeatureStore(tmp_path / "store")
    for name, options, expected in (
        ("counted", {}, ["1", "2", "10"]),
        ("chosen", {"classes": ["2", "10", "1"]}, ["2", "10", "1"]),
    ):
        ingest(store, "folder", tmp_path / "numbered", name=name, options=options)
        assert [each.label for each in show(store, name).samples] == expected


def test_samples_are_shown_as_they_are_read(cells: FeatureStore, images: Path) -> None:
    found = show(cells, "cells", where="patient = 'p3'", limit=4)
    assert [each.label for each in found.samples] == ["bright", "bright", "dark", "dark"]
    for each in found.samples:
        np.testing.assert_array_equal(each.pixels, np.asarray(Image.open(images / each.id)))
        assert (each.group, each.size, each.dtype, each.reason) == ("p3", (16, 16, 3), "uint8", None)
    assert found.title == "cells · 4 of 6 samples of 1 patient, drawn class by class (seed 0) · as they are read"
    assert " of 6 samples of 3 values of Patient (No), " in replace(found, group="Patient (No)", groups=3).title
    document = json.loads(json.dumps(found.to_json()))
    assert document["samples"][0]["shown"] == [16, 16, 3]
    contact = shown_sheet(found)
    assert [[each.label for each in row] for row in contact.rows] == [["bright", "bright"], ["dark", "dark"]]
    assert contact.rows[0][0].facts == "p3"
    assert "<td" in found._repr_html_()


@pytest.mark.usefixtures("tiny")
def test_samples_are_shown_as_a_network_sees_them(cells: FeatureStore, images: Path) -> None:
    tall = np.random.default_rng(0).integers(0, 256, (24, 8, 3), dtype=np.uint8)
    Image.fromarray(tall).save(images / "p1" / "dark" / "tall.png")
    ingest(cells, "folder", images, name="cells", options=OPTIONS)
    how = {"backbone": "tiny", "weights": "random", "preprocess": ["size=8", "resize=shortest-crop"]}
    (each,) = show(cells, "cells", where="id LIKE '%tall%'", **how).samples
    assert each.size == (24, 8, 3)
    np.testing.assert_array_equal(each.pixels, tall[8:16])
    found = show(cells, "cells", limit=2, **how)
    assert found.title.endswith("as tiny sees them")
    assert shown_sheet(found).legend.startswith("Below each: class, id, patient. tiny: weights random:0; 8 pixels")
    assert "(shortest-crop)" in shown_sheet(found).legend
    (grey,) = show(cells, "cells", where="id LIKE '%tall%'", **{**how, "channels": "G"}).samples
    np.testing.assert_array_equal(grey.pixels, tall[8:16, :, 1:2])


def test_more_channels_than_colours_are_shown_one_by_one(five: FeatureStore) -> None:
    found = show(five, "five")
    assert found.apart
    first, second = shown_sheet(found).rows
    assert [each.label for each in first] == ["a", *CHANNELS]
    assert first[0].mark == "lead"
    for number, each in enumerate(first[1:]):
        expected = round(800 * number / 4095 * 255)
        assert each.pixels is not None
        assert each.pixels[64, 2].tolist() == [0, 0, 0]
        assert each.pixels[64, -2].tolist() == pytest.approx([expected] * 3, abs=1)
    assert first[0].pixels is not None
    assert first[0].pixels[64, -2].tolist() == pytest.approx([0, 50, 100], abs=1)
    legend = shown_sheet(found).legend
    assert "DNA as red, ER as green, RNA as blue" in legend
    assert "  " not in legend
    assert len(second) == 6


@pytest.mark.usefixtures("tiny")
def test_channels_are_shown_as_they_go_in(five: FeatureStore) -> None:
    how = {"backbone": "tiny", "weights": "random"}
    chosen = show(five, "five", **how, channels="Mito,DNA,AGP")
    assert (chosen.channels, chosen.apart) == (("Mito", "DNA", "AGP"), False)
    assert chosen.samples[0].pixels is not None
    assert chosen.samples[0].pixels[8, -1].tolist() == pytest.approx([3200 / 4095 * 255, 0, 2400 / 4095 * 255], abs=1)
    assert "Mito as red, DNA as green, AGP as blue" in shown_sheet(chosen).legend
    for adapter in ("each", "inflate"):
        found = show(five, "five", **how, channels=adapter)
        assert found.apart
        assert [each.label for each in shown_sheet(found).rows[0][1:]] == list(CHANNELS)
    with pytest.raises(UsageError, match="5 go in"):
        show(five, "five", **how)


@pytest.mark.usefixtures("tiny")
def test_what_could_not_be_used_is_shown_with_its_reason(cells: FeatureStore) -> None:
    extract(cells, "cells", "tiny", weights="random", layers="last", workers=0)
    found = show(cells, "cells", problems=True)
    assert [(each.id, each.pixels) for each in found.samples] == [
        ("p1/dark/broken.png", None),
        ("p2/bright/empty.png", None),
    ]
    (axis,) = draw_contact(shown_sheet(found)).axes
    drawn = [" ".join(text.get_text().split()) for text in axis.texts]
    assert any(text.startswith("broken.png is not an image") for text in drawn)
    assert any(text.startswith("empty.png is empty") for text in drawn)
    assert found.title == "cells · 2 samples of 2 patients that could not be used · as they are read"
    (one,) = show(cells, "cells", problems=True, where="label = 'dark'").samples
    assert "broken.png is not an image" in str(one.reason)
    (sheet,) = found.sheets()
    assert sheet.columns == ["id", "label", "patient", "reason"], "what could not be read has no size"
    (sheet,) = show(cells, "cells", where="patient = 'p3'").sheets()
    assert "reason" not in sheet.columns, "there is nothing to be said of these"
    drawn_too = show(cells, "cells", where="id LIKE '%broken%' OR id = 'p1/dark/0.png'")
    assert sum(each.reason is not None for each in drawn_too.samples) == 1
    with pytest.raises(DataError, match="no sample that could not be used in 'cells' that the filter"):
        show(cells, "cells", problems=True, where="patient = 'p4'")


def test_the_command_draws_and_lists(cells: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["show", "cells", "--where", "patient = 'p3'", "--limit", "3", "--store", str(cells.uri)]
    assert cli.run([*command, "--figure", str(tmp_path / "f.svg")]) == 0
    printed = capsys.readouterr()
    assert "3 of 6 samples of 1 patient" in printed.err
    assert len(printed.out.splitlines()) == 5
    assert "<svg" in (tmp_path / "f.svg").read_text()
    assert cli.run([*command, "--json"]) == 0
    assert [len(each["size"]) for each in json.loads(capsys.readouterr().out)["samples"]] == [3] * 3
    assert cli.run([*command, "--weights", "random"]) == 2
    assert "Add --backbone NAME" in capsys.readouterr().err


def test_of_many_the_first_are_drawn(cells: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.extract.shown_sheet.MOST", 5)
    assert MOST > 5
    contact = shown_sheet(show(cells, "cells", limit=8))
    assert sum(map(len, contact.rows)) == 5
    assert contact.title.endswith("the first 5 of them")


def test_samples_without_images_have_nothing_to_show(tmp_path: Path) -> None:
    samples, X = make_samples(n=6)
    store = make_store(tmp_path / "store", samples, {"last": X}, plugin="import-features")
    with pytest.raises(UsageError, match="has no images"):
        show(store, "toy")
