"""A head on a frozen network is trained on the vectors that are stored already, with the numbers of computed ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histokit import cli
from histokit.errors import DataError, StoreError
from histokit.extract.extract import extract
from histokit.features import FeatureStore
from histokit.finetune import training
from histokit.finetune.finetune import finetune
from histokit.ingest.ingest import ingest
from histokit.store import RunRecord
from histokit.store.removal import remove

pytestmark = pytest.mark.usefixtures("tiny")

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}

#: Of images of 16 pixels the inner 12.
PREPROCESS = {"size": 12, "resize_size": 16}


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    ingest(store, "folder", images, name="cells", options=OPTIONS)
    return store


def extracted(store: FeatureStore, weights: str = "random", layers: str = "last", **preprocess: Any) -> None:
    how = {"weights": weights, "preprocess": {**PREPROCESS, **preprocess}, "workers": 0}
    extract(store, "cells", ["tiny"], layers=layers, **how)


def trained(store: FeatureStore, preset: str = "joyce2024-resnet50", **changes: Any) -> RunRecord:
    settings = {"epochs": 2, "patience": 0, "lr": 0.05, **changes.pop("settings", {})}
    known = {"weights": "random", "preprocess": PREPROCESS, "split": "leave-one-group-out", "workers": 0, "force": True}
    (run,) = finetune(store, "cells", "tiny", preset=preset, settings=settings, **{**known, **changes})
    return run


def scores(store: FeatureStore, run: RunRecord) -> np.ndarray:
    return np.array(store.predictions(run.id).column("scores").to_pylist())


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many vectors were asked for, pass by pass."""
    counted: list[int] = []
    original = training.frozen_vectors

    def frozen_vectors(*args: Any) -> Any:
        counted.append(len(args[2]))
        return original(*args)

    monkeypatch.setattr(training, "frozen_vectors", frozen_vectors)
    return counted


def test_no_image_is_read_where_all_vectors_are_stored(data: FeatureStore, images: Path) -> None:
    computed = trained(data)
    assert "vectors" not in computed.found
    expected = scores(data, computed)
    assert np.ptp(expected) > 0.01
    extracted(data)
    shutil.rmtree(images)
    run = trained(data)
    assert run.id == computed.id
    (table,) = data.feature_tables("cells")
    assert run.found["vectors"] == f"tiny/3@{table.fingerprint}"
    np.testing.assert_allclose(scores(data, run), expected, atol=1e-5)
    assert [fold["scores"] for fold in run.folds] == [fold["scores"] for fold in computed.folds]


def test_each_vector_is_computed_once(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = passes(monkeypatch)
    trained(data)
    assert sum(counted) == 24


def test_a_stage_that_trains_all_begins_with_stored_vectors(data: FeatureStore) -> None:
    settings = {"stages.2.warmup_epochs": 0.5, "lr": 0.01}
    expected = scores(data, trained(data, "head-first", settings=settings))
    extracted(data)
    run = trained(data, "head-first", settings=settings)
    assert run.found["vectors"].startswith("tiny/3@")
    np.testing.assert_allclose(scores(data, run), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        ({"weights": "random:1"}, {}),
        ({"mean": [0.4, 0.4, 0.4]}, {}),
        ({"size": 16}, {}),
        ({"layers": "1"}, {}),
        ({"layers": "3:max"}, {}),
        ({}, {"settings": {"head.layer": "last:flatten"}}),
        ({}, {"precision": "bfloat16"}),
        ({}, {"from_scratch": True, "preset": "default", "settings": {"train": "head", "augment": False}}),
    ],
    ids=["weights", "mean", "size", "layer", "pooling", "flatten", "precision", "scratch"],
)
def test_other_vectors_are_not_taken(data: FeatureStore, stored: dict[str, Any], changes: dict[str, Any]) -> None:
    expected = scores(data, trained(data, **changes))
    extracted(data, **stored)
    run = trained(data, **changes)
    assert "vectors" not in run.found
    np.testing.assert_array_equal(scores(data, run), expected)


def test_what_is_missing_is_computed(
    store: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(images / "p4", tmp_path / "p4")
    ingest(store, "folder", images, name="cells", options=OPTIONS)
    extracted(store)
    shutil.move(tmp_path / "p4", images / "p4")
    ingest(store, "folder", images, name="cells", options=OPTIONS, replace=True)
    counted = passes(monkeypatch)
    run = trained(store)
    assert sum(counted) == 6
    whole = scores(store, run)
    extracted(store)
    np.testing.assert_allclose(scores(store, trained(store)), whole, atol=1e-5)
    assert sum(counted) == 6
    # Pixels that changed have other vectors, under the same name.
    shutil.copy(images / "p1" / "dark" / "0.png", images / "p4" / "dark" / "0.png")
    with pytest.raises(DataError, match="changed since"):
        finetune(store, "cells", "tiny", preset="default", settings={"epochs": 1}, weights="random", workers=0)


def test_a_network_that_begins_at_random_has_vectors_of_its_own_in_each_training_set(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = passes(monkeypatch)
    settings = {"train": "head", "augment": False, "initialisation": "keras"}
    trained(data, "default", from_scratch=True, settings=settings)
    # Of four folds of 18 and of all 24.
    assert sum(counted) == 4 * 18 + 24


def test_the_command_line_tells_where_vectors_are_from(data: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    extracted(data)
    options = (
        "--preset joyce2024-resnet50 --weights random --preprocess size=12 --preprocess resize_size=16 --set epochs=1"
    )
    assert (
        cli.run(["finetune", "cells", "--store", str(data.uri), "--backbone", "tiny", "--json", *options.split()]) == 0
    )
    assert '"vectors": "tiny/3@' in capsys.readouterr().out


@pytest.mark.parametrize("stored", [False, True])
def test_a_run_that_was_interrupted_while_it_was_stored_tells_what_the_others_tell(
    data: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    # Of 16 bits, and none above a tenth of what they hold: this is told of where images are read.
    dark = next(images.rglob("*.png"))
    Image.fromarray(np.full((16, 16), 5_000, np.uint16)).save(dark)
    ingest(data, "folder", images, name="cells", options=OPTIONS)
    if stored:
        extracted(data)
    run = trained(data)
    assert ("vectors" in run.found) == stored
    assert any("no value above 5000" in note for note in run.notes) != stored
    remove(data, [run.id])

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("No space left on device.", next="Free some space.")

    with monkeypatch.context() as disk:
        disk.setattr(FeatureStore, "save_run", full)
        with pytest.raises(StoreError):
            trained(data)
    monkeypatch.setattr(training.Training, "run", full)
    again = trained(data, force=False)
    assert again.found.get("vectors") == run.found.get("vectors")
    assert again.notes == run.notes
