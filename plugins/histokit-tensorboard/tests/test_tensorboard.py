from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from histokit_tensorboard import FOLDER, on_run_finished
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import histokit
from histokit import cli
from histokit.plugin import FinishedRun
from histokit.plugin.manager import registry

SMALL = ["-o", "size=16", "-o", "slides=4", "-o", "per_slide=4"]
SHARED = {"repeat": 0, "stage": 1, "lr": 0.01}


def point(fold: int | None, series: str, epoch: int, loss: float | None, metric: float | None) -> dict:
    where = {"fold": fold, "series": series, "epoch": float(epoch), "iteration": 5 * epoch, "seconds": 2.0 * epoch}
    return {**SHARED, **where, "loss": loss, "metric": metric}


RUN = FinishedRun(
    id="fe0123456789",
    dataset="cells",
    kind="finetune",
    address="tiny/last",
    classifier="fine-tuning",
    split="cv",
    metric="accuracy",
    classes=("bright", "dark"),
    asked={"seed": 3, "target": None, "recipe": {"lr": 0.01, "flip": True, "stages": [1, 2]}},
    folds=(
        {"repeat": 0, "fold": 0, "scores": {"accuracy": 0.5, "auc": None}},
        {"repeat": 0, "fold": 1, "scores": {"accuracy": 1.0, "auc": 0.75}},
    ),
    curves=(
        point(0, "train", 1, 0.5, 0.75),
        point(0, "val", 1, 0.625, None),
        point(0, "train", 2, 0.25, 0.875),
        point(1, "train", 1, 0.375, 1.0),
        point(None, "train", 1, 0.125, 1.0),
    ),
    notes=("two folds only",),
    versions={"histokit": "0.1.0"},
    seconds=8.0,
    created="2026-01-01T00:00:00+00:00",
    store=Path("store"),
)


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = read(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path / "board"))
    on_run_finished(RUN)
    return tmp_path / "board" / "cells" / "fe0123456789"


def test_curves_of_folds_and_of_all_training_samples_stand_apart(written):
    first = {
        "test/accuracy": [(0, 0.5)],
        "loss/train": [(5, 0.5), (10, 0.25)],
        "accuracy/train": [(5, 0.75), (10, 0.875)],
        "loss/val": [(5, 0.625)],
        "learning rate": [(5, pytest.approx(0.01)), (10, pytest.approx(0.01))],
        "epoch": [(5, 1.0), (10, 2.0)],
    }
    assert scalars(written / "repeat 0 fold 0") == first
    assert scalars(written / "repeat 0 fold 1")["loss/train"] == [(5, 0.375)]
    assert scalars(written / "repeat 0 fold 1")["test/auc"] == [(0, 0.75)]
    assert scalars(written / "all training samples")["loss/train"] == [(5, 0.125)]
    began = 1767225600 - 8
    events = read(written / "repeat 0 fold 0").Scalars("loss/train")
    assert [event.wall_time for event in events] == [began + 2, began + 4]


def test_parameters_stand_beside_mean_scores(written):
    assert scalars(written) == {"mean over folds/accuracy": [(0, 0.75)], "mean over folds/auc": [(0, 0.75)]}
    contents = read(written).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    known = HParamsPluginData.FromString(contents).session_start_info.hparams
    assert known["recipe.lr"].number_value == 0.01
    assert known["recipe.flip"].number_value == 1
    assert json.loads(known["recipe.stages"].string_value) == [1, 2]
    assert (known["seed"].number_value, known["dataset"].string_value) == (3, "cells")
    assert "target" not in known


def notes(folder: Path) -> str:
    (event,) = read(folder).Tensors("notes/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_notes_stand_beside_scores_also_where_there_are_none(written):
    assert notes(written) == "two folds only"
    on_run_finished(replace(RUN, notes=("two folds only", "a column is constant")))
    assert notes(written) == "two folds only\n\na column is constant"
    on_run_finished(replace(RUN, notes=()))
    assert notes(written) == "none"


def test_a_run_that_is_done_anew_takes_the_place_of_the_earlier_one(written):
    on_run_finished(replace(RUN, folds=({"repeat": 0, "fold": 0, "scores": {"accuracy": 0.25}},), curves=()))
    assert scalars(written) == {"mean over folds/accuracy": [(0, 0.25)]}
    assert scalars(written / "repeat 0 fold 0") == {"test/accuracy": [(0, 0.25)]}
    assert scalars(written / "repeat 0 fold 1") == {}


def test_nothing_is_written_unless_asked_and_for_predictions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER, raising=False)
    on_run_finished(RUN)
    monkeypatch.setenv(FOLDER, "board")
    on_run_finished(replace(RUN, kind="predict", folds=()))
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_the_command_line_is_written_and_a_folder_that_cannot_be_made_loses_none(
    tmp_path, monkeypatch, capsys
):
    assert "histokit_tensorboard" in [listener.module for listener in registry().listeners]
    store = ["--store", str(tmp_path / "store")]
    assert cli.run(["ingest", "synthetic", str(tmp_path), "--name", "drawn", *SMALL, *store]) == 0
    assert cli.run(["extract", "drawn", "--backbone", "texture", *store]) == 0
    command = ["train", "drawn", "--features", "texture/last", "--classifier", "knn", "--grid", "k=1"]
    command += ["--split", "holdout", *store]
    monkeypatch.setenv(FOLDER, str(tmp_path / "board"))
    capsys.readouterr()
    assert cli.run(command) == 0
    (run,) = capsys.readouterr().out.split()
    (record,) = [run_ for run_ in histokit.open_store(tmp_path / "store").runs() if run_.id == run]
    ((_, value),) = scalars(tmp_path / "board" / "drawn" / run)["mean over folds/accuracy"]
    assert value == pytest.approx(record.mean_over_folds)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "board"))
    assert cli.run([*command, "--seed", "1"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.split()) == 1
    assert "'histokit_tensorboard' of histokit-tensorboard 0.1.0 failed in on_run_finished()" in printed.err
    assert "The run is stored." in printed.err
