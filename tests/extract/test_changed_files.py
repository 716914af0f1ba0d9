"""Files that change around an extraction: no pixels are ever kept under the content of others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import StoreError
from histokit.extract.samples import Samples
from histokit.features import FeatureStore
from histokit.store.database import Database
from tests.extract.test_extract import counts, ingest

REASON = "p1/dark/0.png changed since the dataset was ingested: ingest it again"


def repaint(images: Path) -> None:
    """Replace the first image by a grey one."""
    Image.fromarray(np.full((16, 16, 3), 7, dtype=np.uint8)).save(images / "p1" / "dark" / "0.png")


def test_a_file_that_changed_since_ingestion_is_not_stored_under_its_old_content(
    store: FeatureStore, images: Path, tiny: TinyPlugin
) -> None:
    ingest(store, images)
    repaint(images)
    os.utime(images / "p2" / "dark" / "0.png", ns=(0, 0))
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]
    ingest(store, images)
    assert counts(histokit.extract(store, "d", "tiny", layers="last")) == [(23, 0, 1, 0)]
    assert tiny.built == 2


@pytest.mark.usefixtures("tiny")
def test_an_ingestion_that_is_cut_off_leaves_no_new_files_beside_old_samples(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    repaint(images)
    overwrite = Database.overwrite
    written: list[str] = []

    def cut_off(database: Database, name: str, rows: pa.Table) -> None:
        if written:
            raise StoreError("The disk is full.", next="Free some space.")
        written.append(name)
        overwrite(database, name, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "overwrite", cut_off)
        with pytest.raises(StoreError, match="The disk is full"):
            ingest(store, images)
    assert len(written) == 1
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]


@pytest.mark.usefixtures("tiny")
def test_an_ingestion_meanwhile_gives_no_old_content_new_pixels(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, images)
    locate = Samples.locate

    def slow(samples: Samples, ids: Any) -> Any:
        monkeypatch.setattr(Samples, "locate", locate)
        repaint(images)
        ingest(store, images)
        return locate(samples, ids)

    monkeypatch.setattr(Samples, "locate", slow)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [("p1/dark/0.png", REASON)]
    again = histokit.extract(store, "d", "tiny", layers="last")
    assert (counts(again), again.problems) == ([(23, 0, 1, 0)], ())


@pytest.mark.usefixtures("tiny")
def test_of_equal_files_one_that_is_still_there_is_enough(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    first, second = images / "p1" / "dark" / "0.png", images / "p3" / "bright" / "copy.png"
    shutil.copy(first, second)
    ingest(store, images)
    expected = histokit.open_store(tmp_path / "other")
    ingest(expected, images)
    histokit.extract(expected, "d", "tiny", layers="last")
    first.unlink()
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert (counts(extraction), extraction.problems) == ([(0, 0, 25, 0)], ())
    assert np.array_equal(store.features("d", "tiny/last").X, expected.features("d", "tiny/last").X)
    second.unlink()
    gone = histokit.extract(store, "d", "tiny", layers="0")
    assert {p["id"] for p in gone.problems} == {"p1/dark/0.png", "p3/bright/copy.png"}


@pytest.mark.usefixtures("tiny")
def test_an_image_of_a_size_that_the_network_refuses_stops_no_other(store: FeatureStore, images: Path) -> None:
    for number, side in enumerate((3, 16, 20)):
        Image.new("RGB", (side, side), (number, 0, 0)).save(images / "p1" / "dark" / f"new{number}.png")
    ingest(store, images)
    extraction = histokit.extract(store, "d", "tiny", preprocess=["resize=none"])
    (problem,) = {(p["id"], p["reason"].partition(":")[0]) for p in extraction.problems}
    assert problem == ("p1/dark/new0.png", "tiny of tinyplugin 0 cannot run on 16 inputs of 3 × 3 × 3")
    assert counts(extraction) == [(0, 0, 26, 0)] * 3
    with pytest.raises(histokit.errors.UsageError, match="3 × 2 × 2"):
        histokit.extract(store, "d", "tiny", preprocess=["size=2"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("prefix", ["samples", "features"])
def test_a_table_that_lost_its_data_is_named(store: FeatureStore, images: Path, prefix: str) -> None:
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="last")
    for file in store.uri.glob(f"{prefix}.*.lance/data/*"):
        file.unlink()
    with pytest.raises(StoreError, match=rf"The table '{prefix}\.d.* cannot be read") as caught:
        histokit.extract(store, "d", "tiny", layers="all")
    assert "store verify" in caught.value.next


def test_each_of_several_equal_files_is_named_itself(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    equal = [images / patient / "dark" / "equal.png" for patient in ("p1", "p2", "p3")]
    for path in equal:
        path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    ingest(store, images)
    histokit.extract(store, "d", "tiny", layers="last")
    reasons = {row["id"]: row["reason"] for row in store.problems("d").to_pylist()}
    assert len(reasons) == 3
    for sample_id, reason in reasons.items():
        assert str(images / sample_id) in reason, "its own path"
