"""Exported models predict what their runs predict, without the store that they were trained in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tiny_plugin import TinyBackbone, TinyPlugin

import histokit
from histokit import cli
from histokit.errors import DataError, ExitCode, PluginError, StoreError, UsageError
from histokit.features import FeatureStore, open_store
from histokit.models.loaded import LoadedModel
from histokit.models.model_folder import signed
from histokit.plugin.deep_colours import to_8_bits
from histokit.plugin.images import read_image
from histokit.store import RunRecord

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
SETTINGS = {"head.layer": "3", "stages.1.epochs": 2, "stages.2.epochs": 3, "batch_size": 5, "lr": 1e-2, "patience": 0}

FEW_TREES = {"windows": "240", "min_leaf": "10", "trees": "4", "k": "4"}


@pytest.fixture
def data(store: FeatureStore, images: Path, tiny: TinyPlugin) -> FeatureStore:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    histokit.split(store, "d", name="half", test=0.25, seed=1)
    return store


def a_network(store: FeatureStore, backbone: str = "tiny", **changes: Any) -> RunRecord:
    asked = {"split": "half", "weights": "random", "preset": "head-first", "settings": SETTINGS, "workers": 0}
    asked |= {"device": "cpu", **changes}
    (found,) = histokit.finetune(store, "d", backbone, **asked)
    return found


def a_classifier(
    store: FeatureStore, features: str = "tiny/0+tiny/3", name: str = "et", grid: dict[str, str] | None = None
) -> RunRecord:
    if features != "images":
        histokit.extract(store, "d", "tiny", preprocess=["size=12"])
        histokit.extract(store, "d", "texture", layers="last")
    (found,) = histokit.train(store, "d", features, name, split="half", grid=grid or {})
    return found


RUNS = {
    "network": a_network,
    "features": a_classifier,
    "several": lambda store: a_classifier(store, "tiny/3+texture/joined+tiny/0", "svm"),
    "texture": lambda store: a_classifier(store, "texture/joined", "et"),
    "pixels": lambda store: a_classifier(store, "images", "et-fl", FEW_TREES),
}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def elsewhere(store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Lose the store and all but the images, and ingest these into another one."""
    shutil.rmtree(store.uri)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    other = open_store(images.parent / "other")
    histokit.ingest(other, "folder", images, name="e", options=OPTIONS)
    return other


def by_id(store: FeatureStore, run: RunRecord) -> dict[str, list[float]]:
    return {row["id"]: row["scores"] for row in store.predictions(run.id).to_pylist()}


@pytest.mark.parametrize("kind", RUNS)
def test_a_folder_predicts_what_its_run_predicts(
    kind: str, data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RUNS[kind](data)
    expected = by_id(data, histokit.predict(data, run.id, "d", device="cpu"))
    folder = histokit.export_model(data, run.id, tmp_path / "model")
    assert histokit.export_model(data, run.id, tmp_path / "again") == tmp_path / "again"
    again = {name: text.replace(b"again", b"model") for name, text in files(tmp_path / "again").items()}
    assert files(folder) == again
    shutil.rmtree(tmp_path / "again")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    other = elsewhere(data, images, monkeypatch)

    done = histokit.predict(other, f"{folder}", "e", device="cpu")
    found = by_id(other, done)
    assert found.keys() == expected.keys()
    assert np.ptp([row[0] for row in expected.values()]) > 0.01
    np.testing.assert_allclose([found[i] for i in expected], list(expected.values()), rtol=0, atol=1e-5)
    assert any("were in the training" in note for note in done.notes)
    (evaluation,) = histokit.evaluate(other, done.id)
    assert evaluation.n == 24
    assert cli.run(["store", "verify", "--store", str(other.uri)]) == 0
    assert cli.run(["compare", done.id, done.id, "--store", str(other.uri)]) in (0, 2)

    shutil.rmtree(other.uri)
    model = histokit.load_model(folder, device="cpu")
    assert set(model.classes) == {"dark", "bright"}
    paths = [images / i for i in expected]
    np.testing.assert_allclose(model.scores(paths), list(expected.values()), rtol=0, atol=1e-5)
    assert np.mean([a == path.parent.name for a, path in zip(model.predict(paths), paths, strict=True)]) > 0.9


def test_weights_that_modules_share_are_exported(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TinyBackbone.build

    def tied(self: TinyBackbone) -> Any:
        network = build(self)
        network[1].tied = network[0].bias
        return network

    monkeypatch.setattr(TinyBackbone, "build", tied)
    histokit.extract(data, "d", "tiny", layers="last", workers=0)
    (run,) = histokit.train(data, "d", "tiny/last", "knn", split="half", grid={"k": "1"})
    expected = by_id(data, run)
    model = histokit.load_model(histokit.export_model(data, run.id, tmp_path / "m"), device="cpu")
    assert model.scores([images / i for i in expected]).shape == (len(expected), 2)


def test_paths_pictures_and_arrays_are_the_same(data: FeatureStore, images: Path, tmp_path: Path) -> None:
    model = histokit.load_model(histokit.export_model(data, a_network(data).id, tmp_path / "m"), device="cpu")
    paths = [images / "p1" / "dark" / "0.png", images / "p3" / "bright" / "1.png"]
    by_path = model.predict_proba(paths)
    assert by_path.shape == (2, 2)
    np.testing.assert_allclose(by_path.sum(1), 1)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    np.testing.assert_array_equal(model.predict_proba([Image.open(path) for path in paths]), by_path)
    np.testing.assert_array_equal(model.predict_proba(np.stack(arrays)), by_path)
    np.testing.assert_array_equal(model.predict_proba(arrays[1]), model.predict_proba([arrays[1]]))
    np.testing.assert_allclose(model.predict_proba([a.astype(np.uint16) * 257 for a in arrays]), by_path, atol=1e-5)
    grey = np.full((16, 16), 40, np.uint8)
    np.testing.assert_array_equal(model.predict_proba(grey), model.predict_proba([np.stack([grey] * 3, axis=-1)]))
    assert model.predict(paths).tolist() == ["dark", "bright"]
    assert model.predict([]).shape == (0,)
    for wrong, said in ((np.zeros((16, 16, 4), np.uint8), "4 channels"), (np.zeros((4, 4, 3)), "floating-point")):
        with pytest.raises(DataError, match=said):
            model.predict([wrong])
    with pytest.raises(DataError, match=r"does not exist\.\nCheck the path\.$"):
        model.predict(["nothing.png"])


def test_decision_values_are_no_probabilities(data: FeatureStore, images: Path, tmp_path: Path) -> None:
    folder = histokit.export_model(data, a_classifier(data, name="svm").id, tmp_path / "m")
    model = histokit.load_model(folder, device="cpu")
    image = images / "p1" / "dark" / "0.png"
    assert model.scores(image).shape == (1, 2)
    with pytest.raises(UsageError, match="svm gives no probabilities"):
        model.predict_proba(image)


def test_a_network_and_features_of_a_trained_network_need_no_run(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = a_network(data)
    second = a_network(data, backbone=f"run:{first.id}", weights="pretrained", seed=3)
    assert second.address.startswith("run:")
    histokit.extract(data, "d", f"run:{first.id}", layers="last")
    (third,) = histokit.train(data, "d", f"run:{first.id}/last", "et", split="half")
    folders = {run.id: histokit.export_model(data, run.id, tmp_path / run.id) for run in (second, third)}
    expected = {i: by_id(data, histokit.predict(data, i, "d", device="cpu")) for i in folders}
    other = elsewhere(data, images, monkeypatch)
    for run_id, folder in folders.items():
        done = histokit.predict(other, str(folder), "e", device="cpu")
        found = by_id(other, done)
        wanted = expected[run_id]
        np.testing.assert_allclose([found[i] for i in wanted], list(wanted.values()), rtol=0, atol=1e-5)
        assert any("were in the training of the network run:" in note for note in done.notes)
    bad = next(iter(wanted))
    (images / bad).write_bytes(b"no image")
    for run_id, folder in folders.items():
        done = histokit.predict(other, str(folder), "e", device="cpu", allow_missing=True, force=True)
        found, wanted = by_id(other, done), {i: row for i, row in expected[run_id].items() if i != bad}
        assert found.keys() == wanted.keys()
        np.testing.assert_allclose([found[i] for i in wanted], list(wanted.values()), rtol=0, atol=1e-5)


def test_a_network_of_a_folder_needs_no_folder(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file as save_torch

    built = {"num_classes": 0, "global_pool": "avg"}  # by which the last normalisation has another place
    source = tmp_path / "of mine"
    source.mkdir()
    save_torch(timm.create_model("test_vit", **built).state_dict(), source / "model.safetensors")
    shown = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3}
    (source / "config.json").write_text(json.dumps({"architecture": "test_vit", **built, "pretrained_cfg": shown}))
    name = f"timm:{source}"
    own = {"preset": "default", "weights": "pretrained", "settings": {"epochs": 1, "warmup_epochs": 0, "train": "head"}}
    first = a_network(data, name, preprocess=["size=32"], **own)
    histokit.extract(data, "d", name, layers="last", preprocess=["size=32"], workers=0)
    (second,) = histokit.train(data, "d", f"{name}/last", "svm", split="half")
    expected = {run.id: by_id(data, run) for run in (first, second)}
    folders = {run_id: histokit.export_model(data, run_id, tmp_path / run_id) for run_id in expected}
    shutil.rmtree(source)
    again = by_id(data, histokit.predict(data, first.id, "d", device="cpu"))  # nor does the store need it
    np.testing.assert_allclose([again[i] for i in expected[first.id]], list(expected[first.id].values()), atol=1e-5)
    elsewhere(data, images, monkeypatch)
    for run_id, wanted in expected.items():
        model = histokit.load_model(folders[run_id], device="cpu")
        found = model.scores([images / sample for sample in wanted])
        np.testing.assert_allclose(found, list(wanted.values()), rtol=0, atol=1e-5)


def test_features_that_are_the_same_here_are_kept(
    data: FeatureStore, images: Path, tmp_path: Path, tiny: TinyPlugin
) -> None:
    run = a_classifier(data)
    folder = histokit.export_model(data, run.id, tmp_path / "m")
    other = open_store(tmp_path / "other")
    histokit.ingest(other, "folder", images / "p1", name="e", options={"pattern": "{label}/*.png"})
    histokit.predict(other, str(folder), "e")
    assert {table.fingerprint for table in other.feature_tables("e")} >= {part["fingerprint"] for part in run.features}
    built = tiny.built
    histokit.predict(other, str(folder), "e", force=True)
    assert tiny.built == built


def test_stored_features_of_a_weights_file_are_not_computed_again(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file as save_torch

    file, name = tmp_path / "mine.safetensors", "timm:test_vit"
    save_torch(timm.create_model("test_vit").state_dict(), file)
    values = ["mean=0.5,0.5,0.5", "std=0.5,0.5,0.5"]
    histokit.extract(data, "d", name, layers="last", weights=str(file), preprocess=values, workers=0)
    (run,) = histokit.train(data, "d", f"{name}/last", "knn", split="half", grid={"k": "1"})
    folder = str(histokit.export_model(data, run.id, tmp_path / "m"))
    for dataset in ("e", "f"):
        options = {"pattern": "{label}/*.png"}
        histokit.ingest(data, "folder", images / f"p{1 + (dataset == 'f')}", name=dataset, options=options)
    monkeypatch.setattr("histokit.study.predict_by_folder._direct", lambda *_: 1 / 0)
    done = histokit.predict(data, folder, "e", device="cpu")  # extracted by the file of the store, and kept
    assert {table.dataset for table in data.feature_tables()} == {"d", "e"}
    assert histokit.predict(data, run.id, "e", device="cpu").id == done.id
    file.unlink()
    again = histokit.predict(data, folder, "e", device="cpu", force=True)
    assert (again.id, by_id(data, again)) == (done.id, by_id(data, done))
    with pytest.raises(ZeroDivisionError):
        histokit.predict(data, folder, "f", device="cpu")


def test_weights_that_have_a_name_are_sought_by_it_whatever_else_the_store_holds(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file as save_torch

    name = "timm:test_vit"
    weights = tmp_path / "weights" / "timm.test_vit.safetensors"
    weights.parent.mkdir()
    save_torch(timm.create_model("test_vit").state_dict(), weights)
    file = shutil.copy(weights, tmp_path / "mine.safetensors")
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(weights.parent))
    histokit.extract(data, "d", name, layers="last", workers=0)
    (run,) = histokit.train(data, "d", f"{name}/last", "knn", split="half", grid={"k": "1"})
    folder = str(histokit.export_model(data, run.id, tmp_path / "m"))
    other = open_store(tmp_path / "other")
    for dataset in ("e", "f"):
        options = {"pattern": "{label}/*.png"}
        histokit.ingest(other, "folder", images / f"p{1 + (dataset == 'f')}", name=dataset, options=options)
    histokit.extract(other, "f", name, layers="last", weights=str(file), workers=0)
    assert {table.fingerprint for table in other.feature_tables()} == {run.features[0]["fingerprint"]}
    Path(file).unlink()
    vectors = tmp_path / "vectors.csv"
    rows = [f"{sample},1" for sample in other.samples("e", ["id"])["id"].to_pylist()]
    vectors.write_text("\n".join(["id,x", *rows]))
    histokit.import_features(other, "e", vectors, name="mine", version="1")
    monkeypatch.setattr("histokit.study.predict_by_folder._direct", lambda *_: 1 / 0)
    histokit.predict(other, folder, "e", device="cpu")


def test_the_description_and_the_card_tell_what_it_is(data: FeatureStore, tmp_path: Path) -> None:
    run = a_classifier(data)
    folder = histokit.export_model(data, run.id, tmp_path / "model")
    told = json.loads((folder / "histokit.json").read_text())
    assert told["classes"] == list(run.classes)
    assert told["channels"] == ["R", "G", "B"]
    assert told["networks"][0]["preprocess"]["size"] == 12
    assert [layer["pool"] for layer in told["networks"][0]["layers"]] == ["avg", "avg"]
    (evaluation,) = histokit.evaluate(data, run.id, bootstrap=1000)
    assert told["scores"]["metrics"] == evaluation.metrics
    assert told["scores"]["intervals"]["metrics"] == pytest.approx(evaluation.intervals["metrics"])
    text = (folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "histokit"
    assert header["license"] == "other"
    values = {m["type"]: m["value"] for m in header["model-index"][0]["results"][0]["metrics"]}
    assert values["accuracy"] == pytest.approx(evaluation.metrics["accuracy"], abs=1e-6)
    assert "histokit.load_model" in text
    assert str(tmp_path) not in text + (folder / "histokit.json").read_text()


def test_a_folder_is_whole_or_not_there(
    data: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = a_network(data), tmp_path / "model"
    command = ["export-model", run.id, "--out", str(out), "--store", str(data.uri)]
    with monkeypatch.context() as context:
        context.setattr("histokit.models.export.model_card", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            histokit.export_model(data, run.id, out)
    assert not [path for path in tmp_path.iterdir() if "model" in path.name]
    assert cli.run(command) == 0
    assert capsys.readouterr().out == f"{out}\n"
    before = files(out)
    assert cli.run(command) == ExitCode.USAGE
    assert "holds a model already" in capsys.readouterr().err
    with monkeypatch.context() as context:
        context.setattr("histokit.models.export.model_card", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            histokit.export_model(data, run.id, out, force=True)
    assert files(out) == before
    assert cli.run([*command, "--force"]) == 0
    assert files(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(UsageError):
            histokit.export_model(data, run.id, path, force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_damaged_folder_says_what_is_wrong(
    data: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = histokit.export_model(data, a_classifier(data).id, tmp_path / "whole")

    def broken(name: str, change: Any) -> Path:
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        change(folder / name)
        return folder

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    def described(**changes: Any) -> Any:
        return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    network = "backbone-1.safetensors"
    for name, change, kind, said in (
        (network, Path.unlink, DataError, f"{network} is gone"),
        (network, flip, DataError, f"{network} is not what was written"),
        ("model.skops", lambda p: p.write_bytes(b"x"), DataError, "model.skops has 1 bytes"),
        ("histokit.json", lambda p: p.write_text("{"), DataError, "no description of a model"),
        ("histokit.json", described(format=99), StoreError, "newer version of histokit .*\nUpdate histokit\\."),
        ("histokit.json", described(scores=float("inf")), DataError, "histokit.json is not what was written"),
        ("histokit.json", described(classes=None, files=None), DataError, "lacks classes, files"),
        ("histokit.json", Path.unlink, UsageError, "holds no histokit.json"),
    ):
        with pytest.raises(kind, match=said):
            histokit.load_model(broken(name, change))
    folder = broken(network, flip)
    assert cli.run(["predict", str(folder), "d", "--store", str(data.uri)]) == ExitCode.DATA
    assert "is damaged" in capsys.readouterr().err
    for name, code, said in (("no/folder", ExitCode.USAGE, "is no folder"), ("nothing", ExitCode.STORE, "no run")):
        assert cli.run(["predict", name, "d", "--store", str(data.uri)]) == code
        assert said in capsys.readouterr().err


def other_weights(folder: Path, name: str, change: Any) -> LoadedModel:
    """Write other tensors, and a description that knows them."""
    from histokit.models.model_folder import file_facts

    save_file(change(load_file(folder / name)), folder / name)
    document = json.loads((folder / "histokit.json").read_text())
    document["files"][name] = file_facts(folder)[name]
    (folder / "histokit.json").write_text(json.dumps(signed(document)))
    return histokit.load_model(folder, device="cpu")


@pytest.mark.parametrize("kind", ["network", "features"])
def test_weights_of_another_network_are_refused(kind: str, data: FeatureStore, images: Path, tmp_path: Path) -> None:
    folder = histokit.export_model(data, RUNS[kind](data).id, tmp_path / "m")
    name = "model.safetensors" if kind == "network" else "backbone-1.safetensors"
    model = other_weights(folder, name, lambda held: {k: v[..., :2] for k, v in held.items()})
    with pytest.raises(StoreError, match="tiny is another"):
        model.predict(images / "p1" / "dark" / "0.png")


def test_a_plugin_that_is_missing_is_named(
    store: FeatureStore, images: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from histokit.plugin.testing import added_plugin

    with added_plugin(TinyPlugin(), "tinyplugin"):
        histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
        histokit.split(store, "d", name="half", test=0.25, seed=1)
        folder = histokit.export_model(store, a_network(store).id, tmp_path / "m")
    with pytest.raises(PluginError, match="tinyplugin"):
        histokit.load_model(folder).predict(images / "p1" / "dark" / "0.png")


def test_what_has_no_model_is_told(data: FeatureStore, tmp_path: Path) -> None:
    run = a_network(data)
    done = histokit.predict(data, run.id, "d")
    with pytest.raises(UsageError, match="kind 'predict'") as caught:
        histokit.export_model(data, done.id, tmp_path / "m")
    assert run.id in caught.value.next


@pytest.mark.parametrize("without_images", [True, False])
def test_vectors_of_elsewhere_are_not_exported_and_told(
    data: FeatureStore, tmp_path: Path, without_images: bool
) -> None:
    ids = data.samples("d", ["id", "label"]).to_pylist()
    (tmp_path / "v.csv").write_text("\n".join(["id,class,x", *(f"{i['id']},{i['label']},1" for i in ids)]))
    name, more = ("v", {"create": True, "label": "class"}) if without_images else ("d", {"metadata": ["class"]})
    histokit.import_features(data, name, tmp_path / "v.csv", name="mine", version="1", **more)
    histokit.split(data, name, name="other", test=0.25, seed=1)
    (run,) = histokit.train(data, name, "mine/imported", "knn", split="other", grid={"k": "1"})
    with pytest.raises(UsageError, match="mine/imported was computed elsewhere"):
        histokit.export_model(data, run.id, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_models_of_units_want_a_dataset(data: FeatureStore, images: Path, tmp_path: Path) -> None:
    run = a_classifier(data)
    folder = histokit.export_model(data, run.id, tmp_path / "my model")
    document = json.loads((folder / "histokit.json").read_text())
    document["run"]["parameters"]["aggregate"] = "patient:mean"
    (folder / "histokit.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"histokit\.json is not what was written"):
        histokit.load_model(folder)
    (folder / "histokit.json").write_text(json.dumps(signed(document)))
    with pytest.raises(UsageError, match=r"units of several images \(patient:mean\)") as caught:
        histokit.load_model(folder).predict(images / "p1" / "dark" / "0.png")
    assert f"histokit predict '{folder}' DATASET" in caught.value.next


def write_deep(folder: Path) -> None:
    """Write images of 16 bits, grey and in colours, as TIFF and PNG, that differ in what 8 bits would not keep."""
    rng = np.random.default_rng(3)
    for number in range(16):
        label, patient = ("dim", "dimmer")[number % 2], f"p{number // 4}"
        values = rng.integers(0, 900, (16, 16, 3)).astype(np.uint16) + np.uint16(400 * (number % 2))
        target = folder / patient / label / f"{number}.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, values if number % 3 else values[..., 0])


@pytest.mark.filterwarnings("ignore::histokit.plugin.remarks.ImageWarning")
@pytest.mark.parametrize("bits", [None, 12])
def test_files_of_16_bits_are_read_as_the_dataset_reads_them(
    store: FeatureStore, tiny: TinyPlugin, tmp_path: Path, bits: int | None
) -> None:
    images = tmp_path / "deep"
    write_deep(images)
    options = {"pattern": "{patient}/{label}/*.tif", "group": "patient", **({"bits": bits} if bits else {})}
    histokit.ingest(store, "folder", images, name="d", options=options)
    histokit.split(store, "d", name="half", test=0.25, seed=1)
    run = a_network(store)
    expected = by_id(store, histokit.predict(store, run.id, "d", device="cpu"))
    model = histokit.load_model(histokit.export_model(store, run.id, tmp_path / "model"), device="cpu")
    found = model.scores([images / i for i in expected])
    np.testing.assert_allclose(found, list(expected.values()), rtol=0, atol=2e-6)
    shallow = [to_8_bits(read_image(images / i, bits, deep=True)) for i in expected]
    assert np.abs(model.scores(shallow) - found).max() > 1e-5, "8 bits would have been told from 16"


@pytest.mark.filterwarnings("ignore::histokit.plugin.remarks.ImageWarning")
def test_images_of_pillow_are_what_their_files_are(data: FeatureStore, images: Path, tmp_path: Path) -> None:
    model = histokit.load_model(histokit.export_model(data, a_network(data).id, tmp_path / "model"), device="cpu")
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (16, 16, 4), dtype=np.uint8), "RGBA")
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {
        "clear.png": (colours, {}),
        "palette.png": (colours.convert("RGB").quantize(8), {"transparency": 2}),
        "grey.png": (colours.convert("LA"), {}),
        "turned.png": (colours.convert("RGB"), {"exif": turned}),
    }
    for name, (image, how) in made.items():
        image.save(tmp_path / name, **how)
    deep = Image.fromarray(rng.integers(0, 65536, (16, 16)).astype(np.uint16))
    deep.save(tmp_path / "deep.png")
    names = [*made, "deep.png"]
    opened = []
    for name in names:
        with Image.open(tmp_path / name) as image:
            image.load()
            opened.append(image)
    np.testing.assert_allclose(model.scores(opened), model.scores([tmp_path / name for name in names]), atol=1e-7)
    for mode, said in (("I", "32 bits"), ("F", "floating-point")):
        with pytest.raises(DataError, match=said):
            model.predict([Image.new(mode, (16, 16))])


def test_what_is_answered_or_refused_is_told_before_any_network_runs(
    store: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in images.glob("*/*"):
        shutil.copytree(folder, tmp_path / "wells" / folder.name / f"{folder.parent.name}{folder.name}")
    other = open_store(tmp_path / "other")
    for place, name, pattern in (
        (store, "d", "{label}/{well}/*"),
        (other, "e", "{label}/{well}/*"),
        (other, "f", "{label}/**"),
    ):
        histokit.ingest(place, "folder", tmp_path / "wells", name=name, options={"pattern": pattern})
    histokit.split(store, "d", name="half", test=0.25, seed=1, group="well")
    histokit.extract(store, "d", "texture", layers="last")
    folders = []
    for units in (None, "well:mean"):
        (run,) = histokit.train(store, "d", "texture/last", "knn", split="half", aggregate=units, grid={"k": "1"})
        folders.append(str(histokit.export_model(store, run.id, tmp_path / run.id)))
    monkeypatch.setattr("histokit.study.predict_by_folder._made_here", lambda *_: False)
    done = [histokit.predict(other, folder, "e", device="cpu").id for folder in folders]
    monkeypatch.setattr("histokit.study.predict_by_folder.score_images", lambda *_: 1 / 0)
    assert [histokit.predict(other, folder, "e", device="cpu").id for folder in folders] == done
    with pytest.raises(ZeroDivisionError):
        histokit.predict(other, folders[0], "e", device="cpu", force=True)
    with pytest.raises(UsageError, match="'well'"):
        histokit.predict(other, folders[1], "f", device="cpu")


def test_a_full_disk_is_told_and_leaves_nothing(
    data: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_network(data)

    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StoreError, match=r"cannot be written to .*: No space left on device") as caught:
        histokit.export_model(data, run.id, tmp_path / "model")
    assert "Free some space" in caught.value.next
    assert not [path for path in tmp_path.iterdir() if "model" in path.name]


def test_the_card_shows_what_people_are_shown_and_says_whose_scores_they_are(
    data: FeatureStore, tmp_path: Path
) -> None:
    folder = histokit.export_model(data, a_classifier(data, "texture/joined", "knn", {"k": "1"}).id, tmp_path / "model")
    card = (folder / "README.md").read_text()
    assert "eta_" not in card
    assert "1 fold," in card
    assert "models of the folds" not in card
    (run,) = histokit.train(data, "d", "texture/joined", "knn", grid={"k": "1"})
    card = (histokit.export_model(data, run.id, tmp_path / "other") / "README.md").read_text()
    assert "4 folds" in card
    assert "They are of the models of the folds" in card


def test_the_card_says_on_what_of_the_data_a_model_was_trained(data: FeatureStore, tmp_path: Path) -> None:
    histokit.extract(data, "d", "texture")
    where = "patient in ('p1', 'p2', 'p3')"
    (run,) = histokit.train(data, "d", "texture/joined", "knn", grid={"k": "1"}, where=where)
    card = (histokit.export_model(data, run.id, tmp_path / "model") / "README.md").read_text()
    assert "data: d, 24 samples" in card
    assert f"- of these samples only those with {where}\n- trained on 18 samples\n" in card
    (run,) = histokit.train(data, "d", "texture/joined", "knn", grid={"k": "1"})
    card = (histokit.export_model(data, run.id, tmp_path / "whole") / "README.md").read_text()
    assert "only those" not in card
    assert "- trained on 24 samples\n" in card


def test_a_model_and_a_store_are_those_of_the_working_folder_in_which_they_were_opened(
    data: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.full((16, 16, 3), 200, np.uint8)
    monkeypatch.chdir(tmp_path)
    for name, run in (("network", a_network(data)), ("classifier", a_classifier(data, "tiny/last", "svm", {"C": "1"}))):
        histokit.export_model(data, run.id, name)
    networks = [histokit.load_model(name, device="cpu") for name in ("network", "classifier")]
    known = [histokit.load_model(tmp_path / name, device="cpu").scores([picture]) for name in ("network", "classifier")]
    opened = open_store(data.uri.relative_to(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for model, scores in zip(networks, known, strict=True):
        np.testing.assert_allclose(model.scores([picture]), scores, rtol=1e-5)
    assert [each.name for each in opened.datasets()] == ["d"]
    histokit.split(opened, "d", name="later", test=0.5)
    assert "later" in {each.name for each in data.splits("d")}
    assert not list(Path().iterdir())
