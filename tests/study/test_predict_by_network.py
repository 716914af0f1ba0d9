"""Other data are predicted by trained networks as they are by classifiers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit import cli
from histokit.errors import DataError, ExitCode, StoreError
from histokit.features import FeatureStore
from histokit.networks import trainable
from histokit.store import RunRecord

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
SETTINGS = {"head.layer": "3", "stages.1.epochs": 2, "stages.2.epochs": 3, "batch_size": 5, "lr": 1e-2, "patience": 0}


@pytest.fixture
def run(store: FeatureStore, images: Path, tiny: TinyPlugin) -> RunRecord:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.split(store, "d", name="half", test=0.25, seed=1)
    asked = {
        "split": "half",
        "preset": "head-first",
        "weights": "random",
        "settings": SETTINGS,
        "workers": 0,
        "device": "cpu",
    }
    (found,) = histokit.finetune(store, "d", "tiny", **asked)
    return found


def new_images(images: Path) -> Path:
    new = images.parent / "new"
    new.mkdir()
    for name, level in (("a night", 50), ("b day", 190), ("c dusk", 70)):
        Image.new("RGB", (16, 16), (level,) * 3).save(new / f"{name}.png")
    return new


def scores(store: FeatureStore, run: RunRecord) -> dict[str, list[float]]:
    return {row["id"]: row["scores"] for row in store.predictions(run.id).to_pylist()}


def test_the_network_says_what_it_said_of_the_test_samples(store: FeatureStore, run: RunRecord) -> None:
    done = histokit.predict(store, run.id, "d", device="cpu")
    assert (done.kind, done.source_run, done.classifier) == ("predict", run.id, "fine-tuning")
    assert (done.address, done.classes) == (run.address, run.classes)
    own, again = scores(store, run), scores(store, done)
    assert len(again) == 24
    assert np.ptp([value[0] for value in own.values()]) > 0.01
    np.testing.assert_allclose([again[i] for i in own], list(own.values()), rtol=0, atol=1e-5)
    assert any(
        note.startswith(f"18 of 24 samples were in the training of the network run:{run.id}") for note in done.notes
    )
    (evaluation,) = histokit.evaluate(store, done.id)
    assert evaluation.n == 24


def test_other_images_of_groups_that_were_trained_on_are_told(
    store: FeatureStore, run: RunRecord, images: Path
) -> None:
    trained = sorted({row["id"][:2] for row in store.samples("d").to_pylist()} - {i[:2] for i in scores(store, run)})
    for level, patient in enumerate(["p9", *trained]):
        (folder := images.parent / "later" / patient / "dark").mkdir(parents=True)
        Image.new("RGB", (16, 16), (40 + level,) * 3).save(folder / "new.png")
    histokit.ingest(store, "folder", images.parent / "later", name="later", options=OPTIONS)
    told = (
        f"3 of 4 samples are of 3 patients that the model was trained on, too ({', '.join(trained)}): where these are "
        "the same, scores may be too good"
    )
    folder = histokit.export_model(store, run.id, images.parent / "model")
    for model in (run.id, str(folder)):
        assert told in histokit.predict(store, model, "later", device="cpu", force=True).notes


def test_images_without_labels_are_predicted_once(
    store: FeatureStore, run: RunRecord, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    histokit.ingest(store, "folder", new_images(images), name="new", options={"pattern": "*.png"})
    at = ["--store", str(store.uri), "--device", "cpu"]
    assert cli.run(["predict", run.id, "new", "--batch-size", "2", "--workers", "0", *at]) == 0
    (first,) = capsys.readouterr().out.split()
    rows = store.predictions(first).to_pylist()
    assert {r["id"]: r["predicted"] for r in rows} == {
        "a night.png": "dark",
        "b day.png": "bright",
        "c dusk.png": "dark",
    }
    assert {(r["true"], r["kind"]) for r in rows} == {(None, "probability")}
    created = store.run(first).created
    # A folder without any file is told as a drive that is not mounted.
    for file in (images.parent / "new").glob("*.png"):
        file.rename(file.with_suffix(".gone"))
    assert histokit.predict(store, run.id, "new").id == first
    assert store.run(first).created == created
    assert not store.run(first).notes
    assert cli.run(["predictions", first, "--store", str(store.uri)]) == 0
    assert "dusk" in capsys.readouterr().out
    with pytest.raises(DataError, match="3 of 3 images cannot be read"):
        histokit.predict(store, run.id, "new", force=True)
    shutil.rmtree(images.parent / "new")
    with pytest.raises(DataError, match=r"The root .* cannot be reached"):
        histokit.predict(store, run.id, "new", force=True)


def test_an_image_in_the_middle_that_cannot_be_read_is_named_or_left_out(
    store: FeatureStore, run: RunRecord, images: Path
) -> None:
    new = new_images(images)
    histokit.ingest(store, "folder", new, name="new", options={"pattern": "*.png"})
    whole = scores(store, histokit.predict(store, run.id, "new", device="cpu"))
    (new / "b day.png").write_bytes(b"no image")
    (new / "c dusk.png").unlink()
    with pytest.raises(DataError, match=r"2 of 3 images cannot be read: b day\.png, c dusk\.png"):
        histokit.predict(store, run.id, "new", force=True)
    listed = store.problems("new").to_pylist()
    assert [row["id"] for row in listed] == ["b day.png", "c dusk.png"]
    done = histokit.predict(store, run.id, "new", allow_missing=True, device="cpu")
    left = scores(store, done)
    assert list(left) == ["a night.png"]
    assert "2 of 3 samples have no prediction: their images cannot be read" in done.notes
    assert left["a night.png"] == pytest.approx(whole["a night.png"], abs=1e-5)
    assert [row["id"] for row in store.problems("new").to_pylist()] == ["b day.png", "c dusk.png"]
    (new / "a night.png").unlink()
    assert histokit.predict(store, run.id, "new", allow_missing=True).id == done.id


def test_labels_that_the_network_does_not_know_are_told(store: FeatureStore, run: RunRecord, images: Path) -> None:
    (images / "p1" / "dark").rename(images / "p1" / "night")
    (images / "p1" / "bright").rename(images / "p1" / "day")
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    done = histokit.predict(store, run.id, "p1")
    assert "the model does not know the labels day, night" in done.notes
    with pytest.raises(DataError, match="predicts bright, dark; the labels of 'p1' are day, night"):
        histokit.evaluate(store, done.id)


def test_images_that_are_read_otherwise_are_told(store: FeatureStore, run: RunRecord, images: Path) -> None:
    options = {"pattern": "*.png", "scale": "percentile:1,99"}
    histokit.ingest(store, "folder", new_images(images), name="new", options=options)
    notes = histokit.predict(store, run.id, "new", device="cpu").notes
    assert any("'new' is read with scale=percentile:1,99" in note for note in notes)


def test_images_of_other_channels_are_refused(
    store: FeatureStore, run: RunRecord, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images.parent / "wells"
    folder.mkdir()
    for channel in ("DNA", "ER"):
        Image.new("L", (16, 16), 90).save(folder / f"w1_{channel}.png")
    options = {"pattern": "{well}_{channel}.png", "channels": "DNA,ER"}
    histokit.ingest(store, "folder", folder, name="wells", options=options)
    assert cli.run(["predict", run.id, "wells", "--store", str(store.uri)]) == ExitCode.STORE
    assert "trained on the channels R, G, B; the images have DNA, ER" in capsys.readouterr().err


def test_a_network_that_is_gone_is_told(store: FeatureStore, run: RunRecord) -> None:
    (path,) = store.networks.folder.rglob("*.safetensors")
    path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        histokit.predict(store, run.id, "d")


def test_what_was_predicted_predicts_nothing(store: FeatureStore, run: RunRecord) -> None:
    done = histokit.predict(store, run.id, "d")
    with pytest.raises(StoreError, match="a run of the kind 'predict'"):
        histokit.predict(store, done.id, "d")
    assert "networks" not in store.run(done.id).parameters
    compared = histokit.compare(store, [run.id, done.id])
    assert compared.to_json()


def test_what_a_network_gives_wrongly_is_no_prediction(
    store: FeatureStore,
    run: RunRecord,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    histokit.ingest(store, "folder", new_images(images), name="new", options={"pattern": "*.png"})
    real = trainable.pool

    def spoilt(*given: Any) -> Any:
        found = real(*given).clone()
        found[0] = np.nan
        return found

    monkeypatch.setattr(trainable, "pool", spoilt)
    asked = [
        "predict",
        run.id,
        "new",
        "--batch-size",
        "2",
        "--workers",
        "0",
        "--device",
        "cpu",
        "--store",
        str(store.uri),
    ]
    assert cli.run(asked) == ExitCode.DATA
    assert "a night.png (the network gave NaN or infinity)" in capsys.readouterr().err
    assert cli.run([*asked, "--allow-missing"]) == 0
    (found,) = capsys.readouterr().out.split()
    assert [row["id"] for row in store.predictions(found).to_pylist()] == ["b day.png"]
    # One vector of two images would be taken for that of both.
    monkeypatch.setattr(trainable, "pool", lambda *given: real(*given)[:1])
    assert cli.run([*asked, "--force"]) in (ExitCode.USAGE, ExitCode.PLUGIN)
    assert "1 vectors for 2 images" in capsys.readouterr().err
