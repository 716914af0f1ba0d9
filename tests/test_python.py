"""The functions in Python: what they tell of themselves, what they take as a store, and what objects look like."""

from __future__ import annotations

import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import histokit
from histokit import cli
from histokit.errors import HistokitError, StoreError, UsageError
from tests.toy import make_samples, make_store

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "lancedb", "lance", "pyarrow", "numpy", "pandas", "typer")
FUNCTIONS = {
    "ingest": ("store", "plugin", "root", "name", "options"),
    "split": ("store", "dataset", "name", "folds", "test", "from_file"),
    "extract": ("store", "dataset", "backbones", "layers", "weights"),
    "select": ("store", "dataset", "features", "tolerance"),
    "train": ("store", "dataset", "features", "classifier", "where", "grid"),
    "finetune.plan_training": ("store", "dataset", "backbone", "repeats", "force", "options"),
    "predict": ("store", "run_id", "dataset", "device"),
    "predictions": ("store", "run_id", "wrong"),
    "evaluate": ("store", "runs", "by", "bootstrap"),
    "explain": ("store", "run_id", "samples", "layer", "target"),
    "neighbours": ("store", "dataset", "features", "query", "split", "k", "metric"),
    "scatter": ("store", "dataset", "features", "by", "method", "where", "seed"),
    "compare": ("store", "runs", "dataset", "where"),
    "export": ("store", "dataset", "features", "out", "where"),
    "import_features": ("store", "dataset", "path", "name", "version"),
    "study": ("path", "store"),
    "study.run": ("path", "store"),
    "study.plan": ("path", "store"),
    "open_store": ("uri",),
}
FAST = {"classifier": "knn", "grid": {"k": 1}, "split": "leave-one-group-out"}


def named(name: str) -> object:
    found: object = histokit
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_tells_its_parameters_types_and_documentation(name: str) -> None:
    function = named(name)
    signature = inspect.signature(function)  # type: ignore[arg-type]
    assert set(FUNCTIONS[name]) <= set(signature.parameters)
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    assert signature.return_annotation is not signature.empty
    text = inspect.getdoc(function)
    assert text is not None
    shown = pydoc.render_doc(function, renderer=pydoc.plaintext)
    for parameter in signature.parameters:
        assert f"{parameter} :" in text or f"{parameter}," in text or f", {parameter}" in text, parameter
        assert f"{parameter}: " in shown, f"help() shows the type of {parameter}"
    assert "Parameters" in shown


@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("import histokit", []),
        ("import histokit; dir(histokit); histokit.train; histokit.study; histokit.study.__name__", []),
        ("from histokit import extract, ingest, train, select, evaluate", []),
        ("import histokit; histokit.open_store", ["pyarrow", "numpy"]),
    ],
)
def test_importing_is_light(code: str, imported: list[str]) -> None:
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= set(imported), done.stdout


def test_everything_public_is_there() -> None:
    assert {name for name in FUNCTIONS if "." not in name} <= set(histokit.__all__) <= set(dir(histokit))
    for name in histokit.__all__:
        assert getattr(histokit, name) is not None
    with pytest.raises(AttributeError):
        _ = histokit.nonsense  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples, X = make_samples(n=40, slides=4)
    make_store(tmp_path / "store", samples, {"last": X}, root="/data")
    return tmp_path / "store"


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("kind", [str, Path, histokit.open_store], ids=["str", "Path", "store"])
def test_a_path_is_taken_in_place_of_a_store(folder: Path, kind: type, tmp_path: Path) -> None:
    store = kind(folder)
    made = histokit.split(store, "toy", "two", folds=2, seed=3)
    assert (made.name, len(made.folds()), made.group) == ("two", 2, "slide")
    assert histokit.open_store(folder).split("toy", "two").digest == made.digest
    selection = histokit.select(store, "toy", "net/last", step=0.7, inner_folds=2)
    (run,) = histokit.train(store, "toy", "net/last", "knn", grid={"k": 1}, split="two")
    (other,) = histokit.train(store, "toy", "net/last", "knn", grid={"k": 3}, split="two")
    (evaluation,) = histokit.evaluate(store, run.id)
    listed = histokit.predictions(store, run.id)
    right = np.array(listed["true"].to_pylist()) == np.array(listed["predicted"].to_pylist())
    assert evaluation.metrics["accuracy"] == right.mean()
    assert len(histokit.predictions(store, run.id, wrong=True)) == (~right).sum()
    assert len(histokit.compare(store, [run.id, other.id], bootstrap=2).rows) == 2
    out = histokit.export(store, "toy", "net/last", tmp_path / "x.parquet", where="slide = 'P1'")
    assert out == tmp_path / "x.parquet"
    imported = histokit.import_features(store, "wells", out, name="again", version="1", create=True)
    assert imported.samples == 10
    assert histokit.select.importance_shares(store, ["toy"], "net/last", trees=5).datasets[0]["dataset"] == "toy"
    with pytest.raises(UsageError, match="two different selections"):
        histokit.select.compare_selections(store, [selection.id])
    ingested = histokit.ingest(store, "synthetic", name="drawn", options={"slides": "2", "per_slide": "2"})
    assert ingested.count == 4
    done = histokit.extract(store, "drawn", "texture", layers="stain")
    assert done.addresses == ("texture/stain",)
    with pytest.raises(StoreError):
        histokit.predict(store, "abcdef", "drawn")


def test_an_open_store_is_returned_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = histokit.open_store(folder)
    assert histokit.open_store(store) is store
    monkeypatch.setenv("HISTOKIT_STORE", str(folder))
    assert histokit.open_store().uri == folder


def test_the_command_split_is_the_function(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = histokit.split(folder, "toy", "f", test=0.25, seed=2)
    assert (
        cli.run(["split", "toy", "--name", "c", "--test", "0.25", "--seed", "2", "--store", str(folder), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["digest"] == made.digest
    with pytest.raises(UsageError, match="'cv' is taken"):
        histokit.split(folder, "toy", "cv", folds=3)


def test_a_study_is_a_function(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'backbones = ["texture"]\nstrategies = ["last layer"]\nclassifiers = ["knn"]\n'
        'split = "leave-one-group-out"\n[datasets.drawn]\nplugin = "synthetic"\n'
        "options = { slides = 3, per_slide = 6, size = 32 }\n[classifier.knn.grid]\nk = 1\n"
    )
    plan = histokit.study.plan(file, store=tmp_path / "store")
    assert [piece.kind for piece in plan.pieces] == ["ingest", "extract", "train"]
    result = histokit.study(file, store=str(tmp_path / "store"))
    assert len(result.runs) == 1
    again = histokit.study.run(file, store=tmp_path / "store")
    assert again.runs == result.runs
    assert {outcome.state for outcome in again.outcomes} == {"cached"}


def test_errors_print_their_next_step(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HistokitError) as caught:
        histokit.train(folder, "tou", "net/last")
    text = str(caught.value)
    assert text.startswith(f"There is no dataset 'tou' in the store {folder}.\nDid you mean 'toy'? ")
    assert "histokit ingest PLUGIN ROOT --name tou" in text
    assert text == f"{caught.value.message}\n{caught.value.next}"
    images = tmp_path / "new images"
    images.mkdir()
    with pytest.raises(HistokitError) as caught:
        histokit.train(folder, str(images), "net/last")
    assert caught.value.next.endswith(f"histokit ingest folder '{images}' --name NAME")


@pytest.mark.usefixtures("few_trees")
def test_objects_are_shown_in_a_line(folder: Path) -> None:
    store = histokit.open_store(folder)
    features = store.features("toy", "net/last")
    (run,) = histokit.train(store, "toy", "net/last", **FAST)
    selection = histokit.select(store, "toy", "net/last", step=0.7, inner_folds=2, split="leave-one-group-out")
    assert selection.kept is not None
    kept = len(selection.kept["columns"])
    (evaluation,) = histokit.evaluate(store, run.id)
    accuracy = evaluation.metrics["accuracy"]
    other = histokit.train(store, "toy", "net/last", "knn", grid={"k": 3}, split="leave-one-group-out")[0]
    shown = [
        (store, f"FeatureStore({str(folder)!r})"),
        (features, "FeatureSet(toy: 40 samples × 8 features of net/last)"),
        (features.where("slide = 'P0'"), "FeatureSet(toy: 10 samples × 8 features of net/last)"),
        (store.dataset("toy"), "DatasetRecord(toy: 40 samples by toy, 2 classes)"),
        (store.split("toy", "leave-one-group-out"), "Split(toy: leave-one-group-out, 4 folds, generated)"),
        (run, f"RunRecord({run.id}: train, knn on net/last of toy, leave-one-group-out)"),
        (selection, f"SelectionRecord({selection.id}: {kept} of 8 columns of net/last of toy, leave-one-group-out)"),
        (evaluation, f"Evaluation({run.id}: accuracy {accuracy:.4f}, 40 predictions of toy)"),
        (histokit.compare(store, [run.id, other.id], bootstrap=2), "Comparison(2 methods, 2 runs on toy)"),
    ]
    for thing, text in shown:
        assert repr(thing) == text


def test_a_long_address_is_shortened(folder: Path) -> None:
    features = histokit.open_store(folder).features("toy", "net/last")
    merged = features
    for _ in range(30):
        merged += features
    assert len(repr(merged)) < 150
    assert repr(merged).endswith("…)")
    assert "40 samples × 248 features" in repr(merged)
