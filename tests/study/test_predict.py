from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_plugin import TinyPlugin

import histokit
from histokit import cli
from histokit.errors import DataError, StoreError
from histokit.features import FeatureStore
from histokit.models.model_folder import signed
from histokit.plugin.reader_marks import READER_REVISION
from histokit.store.repeat_commands import run_command

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


@pytest.fixture
def run_id(store: FeatureStore, images: Path, tiny: TinyPlugin) -> str:
    assert tiny.built == 0
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.extract(store, "d", "tiny", preprocess=["size=12"])
    return histokit.train(store, "d", "tiny/0+tiny/3", "knn", split="cv", grid={"k": "1"})[0].id


def test_new_images_are_extracted_and_predicted(store: FeatureStore, run_id: str, images: Path) -> None:
    new = images.parent / "new"
    new.mkdir()
    shutil.copy(images / "p1" / "dark" / "0.png", new / "old.png")
    for name, level in (("night", 50), ("day", 190)):
        Image.new("RGB", (16, 16), (level,) * 3).save(new / f"{name}.png")
    histokit.ingest(store, "folder", new, name="new", options={"pattern": "*.png"})
    done = histokit.predict(store, run_id, "new")
    assert (done.kind, done.source_run, done.dataset) == ("predict", run_id, "new")
    rows = {r["id"]: r for r in store.predictions(done.id).to_pylist()}
    assert {i: r["predicted"] for i, r in rows.items()} == {"night.png": "dark", "day.png": "bright", "old.png": "dark"}
    assert all(r["true"] is None for r in rows.values())
    assert any("1 of 3 samples were in the training" in note for note in done.notes)
    assert {t.spec["preprocess"]["size"] for t in store.feature_tables("new")} == {12}
    assert histokit.predict(store, run_id, "new").id == done.id


def test_labelled_data_are_scored_like_any_run(store: FeatureStore, run_id: str, images: Path) -> None:
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    done = histokit.predict(store, run_id, "p1")
    (evaluation,) = histokit.evaluate(store, done.id)
    assert (evaluation.n, evaluation.metrics["accuracy"]) == (6, 1.0)


def test_other_images_of_groups_that_were_trained_on_are_told(
    store: FeatureStore, run_id: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = images.parent / "later"
    for patient, label, level in (("p1", "dark", 51), ("p1", "bright", 191), ("p9", "dark", 52), ("p9", "bright", 192)):
        (later / patient / label).mkdir(parents=True)
        Image.new("RGB", (16, 16), (level,) * 3).save(later / patient / label / "new.png")
    shutil.copy(images / "p2" / "dark" / "0.png", later / "p9" / "dark" / "old.png")
    histokit.ingest(store, "folder", later, name="later", options=OPTIONS)
    told = (
        "2 of 5 samples are of 1 patient that the model was trained on, too (p1): where these are the same, scores "
        "may be too good"
    )
    folder = histokit.export_model(store, run_id, images.parent / "model")
    for model in (run_id, str(folder)):
        done = histokit.predict(store, model, "later", force=True)
        assert told in done.notes
    assert cli.run(["evaluate", done.id, "--store", str(store.uri)]) == 0
    assert told in " ".join(capsys.readouterr().err.split())
    for name, options in (
        ("others", {"pattern": "{slide}/{label}/*.png"}),
        ("unlabelled", {"pattern": "{patient}/**"}),
    ):
        histokit.ingest(store, "folder", later, name=name, options=options)
        assert not any("are of" in note for note in histokit.predict(store, run_id, name).notes)


def test_features_that_cannot_be_made_again_are_an_error(
    store: FeatureStore, run_id: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    monkeypatch.setattr("histokit.networks.resolved.RESIZE_ENGINE", "another")
    changed = "resize_engine: torch-uint8-antialias-1 → another"
    with pytest.raises(StoreError, match=changed) as caught:
        histokit.predict(store, run_id, "p1")
    assert caught.value.next == "Train again on the new features."
    with pytest.raises(StoreError, match=f"not made any more as when the model was trained: {changed}"):
        histokit.export_model(store, run_id, images.parent / "model")
    for table in store.feature_tables("d"):
        store.database.drop(table.name)
    with pytest.raises(StoreError, match="is gone"):
        histokit.predict(store, run_id, "p1")


def test_a_network_that_cannot_be_compiled_here_is_no_other_weights_file(
    store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.extract(store, "d", "tiny", layers="last", compile=True)
    (run,) = histokit.train(store, "d", "tiny/3", "knn", split="cv", grid={"k": "1"})
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    assert histokit.predict(store, run.id, "p1").notes
    assert [table.spec["engine"] for table in store.feature_tables("p1")] == ["inductor"]

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    Image.new("RGB", (16, 16), (9, 99, 9)).save(images / "p2" / "dark" / "new.png")
    histokit.ingest(store, "folder", images / "p2", name="p2", options={"pattern": "{label}/*.png"})
    with pytest.raises(StoreError, match="engine: inductor → default") as caught:
        histokit.predict(store, run.id, "p2")
    assert caught.value.next.startswith("Predict where that is possible (tiny cannot be compiled here: No working C++")


def test_labels_that_the_model_does_not_know_are_not_scored(store: FeatureStore, run_id: str, images: Path) -> None:
    (images / "p1" / "dark").rename(images / "p1" / "night")
    (images / "p1" / "bright").rename(images / "p1" / "day")
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    done = histokit.predict(store, run_id, "p1")
    with pytest.raises(DataError, match="predicts bright, dark; the labels of 'p1' are day, night"):
        histokit.evaluate(store, done.id)


def test_a_filter_that_keeps_nothing_is_named(store: FeatureStore, run_id: str) -> None:
    assert store.has_run(run_id)
    with pytest.raises(DataError, match="keeps no sample of 'd'"):
        histokit.train(store, "d", "tiny/3", "knn", where="patient = 'none'")


def test_what_is_to_be_known_of_new_images_is_among_the_notes(store: FeatureStore, run_id: str, images: Path) -> None:
    new = images.parent / "dark"
    new.mkdir()
    Image.fromarray(np.full((16, 16), 4095, np.uint16)).save(new / "camera.png")
    histokit.ingest(store, "folder", new, name="new", options={"pattern": "*.png"})
    notes = histokit.predict(store, run_id, "new").notes
    assert len([note for note in notes if "camera.png (no value above 4095 of 65535)" in note]) == 1


def test_samples_without_a_prediction_are_told(store: FeatureStore, run_id: str, images: Path, tmp_path: Path) -> None:
    new, folder, run = tmp_path / "new", tmp_path / "model", store.run(run_id)
    shutil.copytree(images / "p1" / "dark", new)
    (new / "1.png").write_bytes(b"no image")
    histokit.export_model(store, run_id, out=folder)
    histokit.ingest(store, "folder", new, name="new", options={"pattern": "*.png"})
    said = "1 of 3 samples has no prediction: their features are missing"
    for model in (run_id, f"{folder}/"):
        with pytest.raises((DataError, StoreError)):
            histokit.predict(store, model, "new", force=True)
        done = histokit.predict(store, model, "new", allow_missing=True, force=True)
        assert {row["id"] for row in store.predictions(done.id).to_pylist()} == {"0.png", "2.png"}
        assert done.notes.count(said) == 1
    assert run_command(done) == f"histokit predict {run.id} new --allow-missing"
    (new / "1.png").unlink()
    histokit.ingest(store, "folder", new, name="new", options={"pattern": "*.png"})
    assert said not in histokit.predict(store, run_id, "new", force=True).notes


def test_data_that_are_read_otherwise_are_told(
    store: FeatureStore, run_id: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, options in (("same", {"scale": "range:0,200"}), ("scaled", {"scale": "minmax"})):
        histokit.ingest(store, "folder", images, name=name, options={**OPTIONS, **options})
    monkeypatch.setattr("histokit.ingest.ingest.READER_REVISION", READER_REVISION - 1)
    histokit.ingest(store, "folder", images, name="before", options={**OPTIONS, "scale": "range:0,200"})
    folder = tmp_path / "model"
    histokit.export_model(store, run_id, out=folder)
    for model in (run_id, f"{folder}/"):
        told = {name: histokit.predict(store, model, name).notes for name in ("same", "scaled", "before")}
        revised = {name: [note for note in notes if "otherwise (revision" in note] for name, notes in told.items()}
        assert [revised["same"], revised["scaled"]] == [[], []]
        (note,) = revised["before"]
        assert f"(revision {READER_REVISION}, 'before': {READER_REVISION - 1}), maybe such as p1/" in note
        wrong = {name: [note for note in notes if "is read with" in note] for name, notes in told.items()}
        assert wrong["same"] == []
        (note,) = wrong["scaled"]
        assert "'scaled' is read with scale=minmax, the images that the model was trained on with scale=full:" in note
    document = json.loads((folder / "histokit.json").read_text())
    assert document["pixels"]["revision"] == READER_REVISION
    assert f"revision {READER_REVISION} of histokit's readers" in (folder / "README.md").read_text()
    # Folders of earlier versions do not tell it.
    del document["pixels"]["revision"]
    (folder / "histokit.json").write_text(json.dumps(signed(document)))
    assert not [
        note for note in histokit.predict(store, f"{folder}/", "before", force=True).notes if "otherwise (rev" in note
    ]


def test_how_networks_run_is_handed_on(
    store: FeatureStore, run_id: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histokit.ingest(store, "folder", images / "p1", name="p1", options={"pattern": "{label}/*.png"})
    asked: list[dict[str, Any]] = []

    def seen(*args: Any, **options: Any) -> Any:
        asked.append(options)
        return histokit.extract(*args, **options)

    monkeypatch.setattr("histokit.study.run_features.extract", seen)
    command = ["predict", run_id, "p1", "--device", "cpu", "--batch-size", "3", "--workers", "0"]
    assert cli.run([*command, "--store", str(store.uri)]) == 0
    (options,) = asked
    assert (options["device"], options["batch_size"], options["workers"]) == ("cpu", 3, 0)
