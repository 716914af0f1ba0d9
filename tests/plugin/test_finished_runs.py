"""Plugins hear of each run once, when it is stored, and none of them can lose it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

import histokit
from histokit import cli
from histokit.errors import DataError
from histokit.features import FeatureStore
from histokit.plugin import FinishedRun, hookimpl
from histokit.plugin.testing import added_plugin
from histokit.store import RunRecord
from histokit.store.records import CURVE_SCHEMA
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.toy import make_samples, make_store


class Tracker:
    """Keeps what it hears."""

    def __init__(self, then: Callable[[FinishedRun], None] = lambda run: None):
        self.heard: list[FinishedRun] = []
        self.then = then

    @hookimpl
    def on_run_finished(self, run: FinishedRun) -> None:
        """Keep it."""
        self.heard.append(run)
        self.then(run)


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    samples, X = make_samples(n=24)
    return make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})


def trained(store: FeatureStore, **changes: Any) -> list[RunRecord]:
    return train(store, "toy", changes.pop("features", "net/last"), "knn", grid={"k": 3}, **changes)


def test_a_run_is_told_when_it_is_stored_and_again_when_it_is_done_anew(toy: FeatureStore) -> None:
    tracker = Tracker()
    with added_plugin(tracker, "tracker"):
        (run,) = trained(toy, seed=3)
        trained(toy, seed=3)
        assert [told.id for told in tracker.heard] == [run.id]
        trained(toy, seed=3, force=True)
        assert [told.id for told in tracker.heard] == [run.id, run.id]
        chosen = trained(toy, features=["net/first", "net/last"], split="holdout", choose="inner")
        predicted = predict_features(toy, chosen[-1], toy.features("toy", chosen[-1].found["final"]["address"]))
    assert [told.id for told in tracker.heard[2:]] == [*(run.id for run in chosen), predicted.id]
    assert [told.kind for told in tracker.heard[2:]] == ["train"] * 3 + ["predict"]
    assert tracker.heard[-1].scores == {}
    told = tracker.heard[0]
    assert (told.dataset, told.address, told.classifier, told.split) == ("toy", "net/last", "knn", "cv")
    assert (told.asked["seed"], told.metric, told.curves) == (3, "accuracy", ())
    scores = [fold["scores"]["accuracy"] for fold in told.folds]
    assert len(scores) == 6
    assert told.scores == {"accuracy": pytest.approx(sum(scores) / 6)}
    assert histokit.open_store(told.store).run(told.id).mean_over_folds == told.scores["accuracy"]
    (evaluation,) = histokit.evaluate(told.store, told.id)
    assert evaluation.run == told.id


def test_a_plugin_that_fails_loses_no_run_and_keeps_it_from_no_other(
    toy: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(run: FinishedRun) -> None:
        print("half way")
        raise RuntimeError("the server is gone")

    def refuse(run: FinishedRun) -> None:
        raise DataError("There is no experiment 'e'.", next="Make it first.")

    last = Tracker()
    command = ["train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=3", "--split", "holdout"]
    with added_plugin(Tracker(fail), "one"), added_plugin(Tracker(refuse), "two"), added_plugin(last, "three"):
        assert cli.run([*command, "--store", str(toy.uri)]) == 0
    printed = capsys.readouterr()
    (run,) = toy.runs()
    assert printed.out.split() == [run.id]
    where = f"failed in on_run_finished() for the run {run.id}"
    place = f"test_finished_runs.py, line {fail.__code__.co_firstlineno + 2}"
    assert f"warning: Plugin 'one' of one 0 {where}: RuntimeError: the server is gone ({place}). The run" in printed.err
    assert f"warning: Plugin 'two' of two 0 {where}: There is no experiment 'e'. The run is stored." in printed.err
    assert "Make it first." in printed.err
    assert [told.id for told in last.heard] == [run.id]


def test_what_a_plugin_does_to_what_it_hears_changes_nothing(toy: FeatureStore) -> None:
    def spoil(run: FinishedRun) -> None:
        run.asked.clear()
        run.folds[0]["scores"]["accuracy"] = "spoilt"

    second = Tracker()
    with added_plugin(Tracker(spoil), "one"), added_plugin(second, "two"):
        (run,) = trained(toy, split="holdout")
    assert run.asked == toy.run(run.id).asked == second.heard[0].asked
    assert run.mean_over_folds == toy.run(run.id).mean_over_folds == second.heard[0].scores["accuracy"]


def test_the_network_of_all_training_samples_is_of_no_fold(toy: FeatureStore) -> None:
    (run,) = trained(toy, split="holdout")
    place = {"run": "r", "repeat": 0, "series": "train", "stage": 1, "epoch": 1.0, "iteration": 5, "lr": 0.1}
    points = [{**place, "fold": fold, "loss": 0.5, "metric": None, "seconds": 2.0} for fold in (0, -1)]
    tracker = Tracker()
    with added_plugin(tracker, "tracker"):
        curves = pa.Table.from_pylist(points, schema=CURVE_SCHEMA)
        toy.save_run(replace(run, id="r", kind="finetune"), toy.predictions(run.id), None, curves=curves)
    del place["run"]
    heard = tracker.heard[0].curves
    assert list(heard) == [{**place, "fold": fold, "loss": 0.5, "metric": None, "seconds": 2.0} for fold in (0, None)]


def test_who_hears_of_runs_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with added_plugin(Tracker(), "tracker"):
        assert cli.run(["list", "plugins"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "tracker 0" in line]
    assert line.split()[:3] == ["hook", "on_run_finished", "tracker"]


def test_the_plugin_of_the_documentation_works_as_it_stands(
    toy: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    pages = [path.read_text() for path in (root / "README.md", *root.glob("docs/**/*.md"))]
    code = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
    plugin = ModuleType("runs_in_a_file")
    exec(next(block for block in code if "def on_run_finished" in block), plugin.__dict__)
    monkeypatch.chdir(tmp_path)
    with added_plugin(plugin, "documented"):
        (run,) = trained(toy, split="holdout")
    assert Path("runs.csv").read_text() == f"{run.id},toy,net/last,{run.mean_over_folds}\n"
