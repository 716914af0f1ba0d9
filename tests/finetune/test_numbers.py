"""Networks that predict numbers: standardised by what they are trained on, and scored in the units of the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from histokit import compare, evaluate, predict
from histokit.errors import DataError, UsageError
from histokit.extract.extract import extract
from histokit.features import FeatureStore
from histokit.finetune.finetune import finetune
from histokit.ingest.ingest import ingest
from histokit.networks.number_scale import NumberScale
from histokit.networks.trainable import NetworkDescription, rebuild
from histokit.plugin.manager import registry
from histokit.reading.ingested_files import open_files
from histokit.reading.reader import rebuild_sample
from histokit.store import RunRecord
from histokit.train.train import train
from tests.trained_runs import network_scores

pytestmark = pytest.mark.usefixtures("tiny")

SETTINGS = {"head.layer": "3", "stages.1.epochs": 5, "stages.2.epochs": 15, "batch_size": 6, "lr": 0.02, "patience": 0}


def days_of(path: str) -> float:
    """A target far from 0: bright images live longer, and so do later patients."""
    return 1000.25 + 400 * ("bright" in path) + 10 * int(path[1])


def ingested(store: FeatureStore, images: Path, days: Any = days_of, name: str = "cells") -> FeatureStore:
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    rows = "".join(f"{path},{days(path)},{number % 4},{path.split('/')[0]}\n" for number, path in enumerate(paths))
    (images / f"{name}.csv").write_text("image,days,grade,patient\n" + rows)
    ingest(store, "table", images, name=name, options={"table": f"{name}.csv", "group": "patient"})
    return store


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    return ingested(store, images)


def trained(store: FeatureStore, **changes: Any) -> RunRecord:
    settings = {**SETTINGS, **changes.pop("settings", {})}
    known = {"weights": "random", "settings": settings, "workers": 0, "target": "days", "split": "leave-one-group-out"}
    known["preset"] = "head-first"
    (run,) = finetune(store, "cells", "tiny", **{**known, **changes})
    return run


def test_numbers_are_predicted_in_their_units(data: FeatureStore) -> None:
    run = trained(data)
    assert (run.metric, run.classes, run.numbers, run.kind) == ("r2", (), True, "finetune")
    assert run.parameters["recipe"]["loss"] == "squared"
    table = data.predictions(run.id).to_pandas()
    assert table.true_value.tolist() == [days_of(i) for i in table.id]
    assert set(table.kind) == {"value"}
    for fold in run.folds:
        here = table[table.fold == fold["fold"]]
        assert fold["scores"]["r2"] == pytest.approx(r2_score(here.true_value, here.predicted_value))
        assert fold["scores"]["mae"] == pytest.approx(mean_absolute_error(here.true_value, here.predicted_value))
    assert run.mean_over_folds is not None
    assert run.mean_over_folds > 0.5
    curve = data.curves(run.id).to_pandas()
    first = curve[(curve.series == "val") & (curve.fold == 0)]
    assert first.loss.max() < 10
    assert (
        run.folds[0]["parameters"]["epoch"]
        == first.sort_values(["metric", "loss"], ascending=[False, True]).epoch.iloc[0]
    )
    (found,) = evaluate(data, run.id, bootstrap=50)
    assert found.metrics["r2"] == pytest.approx(r2_score(table.true_value, table.predicted_value))
    assert trained(data).created == run.created


def test_the_scale_is_that_of_the_training_samples_and_kept(data: FeatureStore) -> None:
    run = trained(data, settings={"choose_epoch": "last", "stages.1.epochs": 1, "stages.2.epochs": 2})
    rows = {row["id"]: row["days"] for row in data.samples("cells").to_pylist()}
    for outer, fold in zip(data.split("cells", run.split).folds(), run.folds, strict=True):
        values = np.array([rows[i] for i in outer.train])
        assert fold["target"] == {"mean": pytest.approx(values.mean()), "std": pytest.approx(values.std())}
    entry = run.found["networks"][0]
    stored = data.networks.read(run, entry)
    described = NetworkDescription.from_json(stored.document)
    assert described.scale == NumberScale(**run.folds[0]["target"])
    network = rebuild(described, registry().backbone("tiny", "random"), stored.tensors)
    files = open_files(data, data.dataset("cells"))
    samples = [rebuild_sample(row) for row in data.samples("cells").to_pylist()]
    found = network_scores(network, described, files, samples, 5)[:, 0]
    by_id = dict(zip((sample.id for sample in samples), found, strict=True))
    table = data.predictions(run.id).to_pandas()
    part = table[table.fold == 0]
    np.testing.assert_allclose([by_id[i] for i in part.id], part.predicted_value, rtol=1e-5)
    again = NetworkDescription.from_json(described.to_json())
    assert again == described


def test_the_unit_of_the_target_does_not_matter(data: FeatureStore, images: Path) -> None:
    ingested(data, images, lambda path: days_of(path) / 365.25, "years")
    known = {"weights": "random", "preset": "head-first", "settings": {**SETTINGS, "epochs": 4}, "workers": 0}
    run, other = (
        finetune(data, name, "tiny", split="holdout", target="days", **known)[0] for name in ("cells", "years")
    )
    days, years = (data.predictions(r.id)["predicted_value"].to_numpy() for r in (run, other))
    np.testing.assert_allclose(days, years * 365.25, rtol=1e-4)


def test_the_parameter_of_a_loss_matters(data: FeatureStore) -> None:
    few = {"stages.1.epochs": 2, "stages.2.epochs": 1, "loss": "huber"}
    wide, narrow = (trained(data, split="holdout", settings={**few, "huber_delta": delta}) for delta in (1, 0.1))
    assert wide.id != narrow.id
    losses = [data.curves(run.id).to_pandas().query("series == 'val'").loss.iloc[0] for run in (wide, narrow)]
    assert losses[1] < losses[0] / 3


@pytest.mark.parametrize(
    ("preset", "left_out"),
    [("default", ""), ("modern", "label_smoothing=0.1, mixup=0.2"), ("kensert2018-resnet50", "class_weight=balanced")],
)
def test_presets_of_classes_have_the_squared_loss(data: FeatureStore, preset: str, left_out: str) -> None:
    settings = {"epochs": 1, "head.layer": "3", "preprocess.size": 16, "patience": 0, "batch_size": 6}
    settings |= {} if preset.startswith("kensert") else {"warmup_epochs": 0}
    known = {"weights": "random", "settings": settings, "workers": 0, "target": "days", "split": "holdout"}
    (run,) = finetune(data, "cells", "tiny", preset=preset, **known)
    recipe = run.parameters["recipe"]
    rest = {"loss": "squared", "mixup": 0.0, "label_smoothing": 0.0, "class_weight": "none"}
    assert {name: recipe[name] for name in rest} == rest
    said = [note for note in run.notes if "made for classes" in note]
    assert len(said) == bool(left_out)
    assert not left_out or said[0].endswith(f"numbers have the squared loss, and no {left_out}")
    assert np.isfinite(data.predictions(run.id)["predicted_value"].to_numpy()).all()


def test_other_data_are_predicted_in_these_units(data: FeatureStore, images: Path) -> None:
    run = trained(data)
    ingested(data, images, lambda path: days_of(path) if "dark" in path else "", "new")
    done = predict(data, run.id, "new", workers=0)
    table = data.predictions(done.id).to_pandas()
    assert table.true_value.isna().sum() == 12
    assert r2_score([days_of(i) for i in table.id], table.predicted_value) > 0.5
    (found,) = evaluate(data, done.id, bootstrap=20)
    assert found.n == 12


def test_it_compares_with_a_ridge_on_features(data: FeatureStore) -> None:
    run = trained(data)
    extract(data, "cells", [f"run:{run.id}.0", "tiny"], weights={"tiny": "random"}, layers="last", workers=0)
    (ridge,) = train(
        data, "cells", "tiny/last", "ridge", split="leave-one-group-out", target="days", grid={"alpha": 1.0}
    )
    found = compare(data, [run.id, ridge.id], bootstrap=20)
    assert len(found.methods) == 2
    assert len(found.pairs) == 1


def test_missing_values_are_left_out(store: FeatureStore, images: Path) -> None:
    ingested(store, images, lambda path: "" if path.endswith("dark/0.png") else days_of(path))
    run = trained(store, settings={"stages.1.epochs": 1, "stages.2.epochs": 1})
    assert len(store.predictions(run.id)) == 20
    assert "4 samples without a value of 'days' are left out" in run.notes


def test_one_value_is_told(store: FeatureStore, images: Path) -> None:
    ingested(store, images, lambda _: 7.5)
    with pytest.raises(DataError, match=r"All values of 'days' are 7\.5"):
        trained(store)


def test_a_training_set_of_one_value_predicts_it(store: FeatureStore, images: Path) -> None:
    ingested(store, images, lambda path: 7.5 if path.startswith("p1") else 3.5)
    settings = {"stages.1.epochs": 1, "stages.2.epochs": 1, "choose_epoch": "last"}
    run = trained(store, settings=settings, where="patient IN ('p1', 'p2')")
    assert "all training values are 3.5: nothing is to be learned of them (1 of 3 training sets)" in run.notes
    assert run.folds[0]["target"] == {"mean": 3.5, "std": 1.0}
    assert run.folds[0]["scores"]["r2"] is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": {"loss": "cross-entropy"}}, "loss=cross-entropy is for classes, and the target is a number"),
        (
            {"settings": {"class_weight": "balanced"}},
            "class_weight=balanced is for classes, and the target is a number",
        ),
        ({"settings": {"label_smoothing": 0.1}}, r"label_smoothing=0\.1 is for classes"),
        ({"settings": {"mixup": 0.2}}, r"mixup=0\.2 is for classes"),
        ({"settings": {"huber_delta": 2}}, r"huber_delta=2\.0 is of no use with loss=squared"),
        ({"settings": {"loss": "huber", "huber_delta": 0}}, "huber_delta=0.* is not a number above 0"),
        ({"settings": {"loss": "huber"}, "target": "grade"}, "loss=huber is for numbers, and the target is a class"),
        ({"metric": "accuracy"}, "The metric accuracy is for classes"),
        ({"target": "patient", "target_type": "number"}, "patient holds texts, not numbers"),
        ({"target_type": "float"}, "no type of target 'float'"),
    ],
)
def test_what_does_not_fit_is_refused(data: FeatureStore, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        trained(data, **changes)
    assert caught.value.next
    assert not data.runs()


def test_whole_numbers_are_numbers_where_asked(data: FeatureStore) -> None:
    few = {"stages.1.epochs": 1, "stages.2.epochs": 1}
    run = trained(data, target="grade", target_type="number", split="cv", settings=few)
    assert run.numbers
    classes = trained(data, target="grade", split="cv", settings=few)
    assert classes.classes == ("0", "1", "2", "3")
    assert any("grade holds whole numbers" in note for note in classes.notes)
    assert "huber_delta" not in classes.parameters["recipe"]
