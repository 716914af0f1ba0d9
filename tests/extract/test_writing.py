"""What comes into the tables of an extraction: copies, each once; problems, each kept; rows, soon and in one piece."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit.extract.writer import Writer
from histokit.features import FeatureStore
from histokit.networks.resolved import ResolvedBackbone
from histokit.store.verify import verify

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def counts(extraction: histokit.Extraction) -> list[tuple[int, int, int, int]]:
    return [(t["cached"], t["copied"], t["computed"], t["missing"]) for t in extraction.tables]


def twin(images: Path) -> tuple[str, str]:
    """Copy an image of the first patient to the last one; return both ids."""
    first, last = "p1/dark/0.png", "p4/bright/copy.png"
    shutil.copy(images / first, images / last)
    return first, last


def test_what_several_datasets_hold_is_copied_once(
    store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tables hold each image, and of one image both hold two rows; they are read a few rows at a time."""
    monkeypatch.setattr("histokit.store.digest_columns._ROWS", 7)
    twin(images)
    for name in ("one", "two"):
        histokit.ingest(store, "folder", images, name=name, options=OPTIONS)
        histokit.extract(store, name, "tiny", layers="last")
    histokit.ingest(store, "folder", images, name="other", options=OPTIONS)
    for dry_run in (True, False):
        copied = histokit.extract(store, "other", "tiny", layers="last", dry_run=dry_run)
        assert counts(copied) == [(0, 25, 0, 0)]
    assert tiny.built == 1
    known, found = (store.features(name, "tiny/last") for name in ("one", "other"))
    assert known.sample_ids == found.sample_ids
    np.testing.assert_array_equal(found.X, known.X)
    assert verify(store).ok


@pytest.mark.usefixtures("tiny")
def test_all_samples_of_an_image_that_gives_no_numbers_are_named(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = twin(images)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    samples = store.samples("d")
    content = dict(zip(samples["id"].to_pylist(), samples["content"].to_pylist(), strict=True))
    large, add = "p2/dark/1.png", Writer.add

    def spoil(writer: Writer, network: Any, contents: Any, vectors: Any) -> None:
        found = vectors["3"].copy()
        found[contents.index(content[pair[0]]), 1] = np.inf
        found[contents.index(content[large]), 1] = 1e6
        add(writer, network, contents, {"3": found})

    monkeypatch.setattr(Writer, "add", spoil)
    extraction = histokit.extract(store, "d", "tiny", layers="last", store_dtype="float16", batch_size=24)
    assert sorted((p["id"], p["reason"].partition(" gave ")[2]) for p in extraction.problems) == [
        (pair[0], "NaN or infinity"),
        (large, "numbers too large for float16"),
        (pair[1], "NaN or infinity"),
    ]
    assert extraction.tables[0]["computed"] == 22


@pytest.mark.usefixtures("tiny")
def test_images_that_were_bad_before_stay_listed_beside_new_ones(store: FeatureStore, images: Path) -> None:
    for bad in ("p1/dark/0.png", "p3/bright/2.png"):
        (images / bad).write_bytes((images / bad).read_bytes()[:60])
        histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
        extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [p["id"] for p in extraction.problems] == ["p1/dark/0.png", "p3/bright/2.png"]
    assert counts(extraction) == [(22, 0, 0, 0)]


@pytest.mark.usefixtures("tiny")
def test_rows_are_written_after_some_seconds_however_few_they_are(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.extract.writer.FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("histokit.reading.chunks.CHUNK", 4)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    stored: list[int] = []

    def look(done: int, total: int, detail: str = "") -> None:
        if done < total:
            deadline = time.monotonic() + 5
            while not (tables := store.feature_tables("d")) and time.monotonic() < deadline:
                time.sleep(0.01)
            stored.extend(store.database.count(table.name) for table in tables)

    histokit.extract(store, "d", "tiny", layers="last", batch_size=4, progress=look)
    assert 4 <= max(stored) < 24, "some are there while others are read"


@pytest.mark.usefixtures("tiny")
def test_rows_that_were_written_in_pieces_end_in_one(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.extract.writer.FLUSH_ROWS", 4)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.extract(store, "d", "tiny", layers=["0", "3"], batch_size=4)
    for table in store.feature_tables("d"):
        version = store.database.table(table.name)
        assert (version.count_rows(), len(version.get_fragments())) == (24, 1)
        assert version.version > 4, "it was written in several pieces"


@pytest.mark.usefixtures("tiny")
def test_tables_that_were_begun_when_cuda_resized_otherwise_are_told_before_they_are_added_to(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(device: str, **how: Any) -> list[str]:
        planned = histokit.extract(store, "d", "tiny", device=device, dry_run=True, **how)
        return [note.partition(", whose")[0] for note in planned.notes if "--force" in note]

    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    info, nearest = ResolvedBackbone.info, ["interpolation=nearest"]
    with monkeypatch.context() as patch:
        # As an earlier version made tables.
        patch.setattr(
            ResolvedBackbone, "info", lambda *of: {k: v for k, v in info(*of).items() if k != "cuda_resizing"}
        )
        for how in ({"layers": ["0", "3"]}, {"layers": "3", "preprocess": nearest}):
            histokit.extract(store, "d", "tiny", **how)
    histokit.extract(store, "d", "tiny", layers="1")
    assert told("cuda", layers=["0", "3"]) == [], "nothing is added"
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(images / "p4" / "bright" / "new.png")
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    begun = "begun by an earlier version"
    assert told("cuda", layers=["1", "0"]) == [f"tiny/0: {begun}"]
    assert told("cuda:0", layers="all")[0].startswith("tiny/0, tiny/3")
    assert told("cpu", layers="all") == []
    assert told("cuda", layers="0", force=True) == []
    assert told("cuda", layers="3", preprocess=nearest) == [], "nearest pixels are the same ones"


@pytest.mark.usefixtures("tiny")
def test_an_image_that_a_network_cannot_take_is_put_aside_for_each_of_its_layers(
    store: FeatureStore, images: Path
) -> None:
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(images / "p1" / "dark" / "small.png")
    shutil.copy(images / "p1" / "dark" / "small.png", images / "p2" / "dark" / "twin.png")
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    for computed in (24, 0):
        extraction = histokit.extract(store, "d", "tiny", layers=["0", "3"], preprocess=["resize=none"])
        assert [t["computed"] for t in extraction.tables] == [computed] * 2
        assert [(t["unusable"], t["missing"]) for t in extraction.tables] == [(2, 0)] * 2
        stages = sorted((p["stage"], p["id"]) for p in extraction.problems)
        names = sorted(t["table"] for t in extraction.tables)
        assert stages == [(name, i) for name in names for i in ("p1/dark/small.png", "p2/dark/twin.png")]
