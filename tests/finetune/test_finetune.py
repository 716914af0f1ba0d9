"""Networks trained on the folds of a split: what comes out, and what an interruption changes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from tiny_plugin import TinyBackbone, TinyPlugin
from torch import nn

from histokit.compare.compare import compare
from histokit.errors import BusyError, DataError, LeakageError, PluginError, StoreError, UsageError
from histokit.extract.extract import extract
from histokit.features import FeatureStore
from histokit.finetune import pixels, steps, training
from histokit.finetune.checkpoint import Checkpoint, trained_alone
from histokit.finetune.finetune import finetune
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.finetune.network_question import ask_for_network, identify
from histokit.finetune.network_trainer import NetworkTrainer
from histokit.finetune.presets import load_preset
from histokit.finetune.training_plan import plan_training
from histokit.ingest.ingest import ingest
from histokit.networks.trained_runs import network_of
from histokit.plugin import Backbone, FinishedRun, hookimpl
from histokit.plugin.testing import added_plugin
from histokit.protocol.named_split import split
from histokit.store import RunRecord
from histokit.store.care import collect_garbage
from histokit.store.repeat_commands import run_command
from histokit.store.verify import verify
from histokit.train.question import identify as identify_run
from histokit.train.train import train

pytestmark = pytest.mark.usefixtures("tiny")

#: A head first, then all, of which one layer has no gradient in between.
SETTINGS = {"head.layer": "3", "stages.1.epochs": 2, "stages.2.epochs": 3, "batch_size": 5, "lr": 1e-2, "patience": 0}


class Killed(BaseException):
    """In the place of a signal that ends the process."""


@contextmanager
def killed_before_the_third_fold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill the training that runs within, once two folds are done."""
    outcome = NetworkTrainer.outcome

    def killed(self: NetworkTrainer, part: Any, *more: Any) -> Any:
        if part.name == "0.2":
            raise Killed
        return outcome(self, part, *more)

    with monkeypatch.context() as patch:
        patch.setattr(NetworkTrainer, "outcome", killed)
        with pytest.raises(Killed):
            yield


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    split(store, "cells", name="half", test=0.25, seed=1)
    return store


def trained(store: FeatureStore, **changes: Any) -> RunRecord:
    settings = {**SETTINGS, **changes.pop("settings", {})}
    known = {
        "split": "half",
        "weights": "random",
        "preset": "head-first",
        "settings": settings,
        "workers": 0,
        **changes,
    }
    (run,) = finetune(store, "cells", **{"backbone": "tiny", **known})
    return run


def scores(store: FeatureStore, run: RunRecord) -> np.ndarray:
    return np.array(store.predictions(run.id).column("scores").to_pylist())


def tensors(store: FeatureStore, run: RunRecord, part: int = -1) -> dict[str, torch.Tensor]:
    return dict(store.networks.read(run, run.found["networks"][part]).tensors)


def test_a_run_has_predictions_curves_and_a_network(data: FeatureStore) -> None:
    heard: list[FinishedRun] = []
    with added_plugin(SimpleNamespace(on_run_finished=hookimpl(lambda run: heard.append(run))), "tracker"):
        run = trained(data)
    table = data.predictions(run.id).to_pylist()
    assert {row["id"] for row in table} == set(data.split("cells", "half").folds()[0].test)
    assert all(row["true"] == ("bright" if "bright" in row["id"] else "dark") for row in table)
    right = np.mean([row["true"] == row["predicted"] for row in table])
    assert run.folds[0]["scores"]["accuracy"] == pytest.approx(right)
    assert right == 1.0
    np.testing.assert_allclose(scores(data, run).sum(1), 1)
    points = data.curves(run.id).drop_columns("run").to_pylist()
    assert [told.id for told in heard] == [run.id]
    assert list(heard[0].curves) == points
    curve = data.curves(run.id).to_pandas()
    val = curve[curve.series == "val"]
    assert val.epoch.tolist() == [1, 2, 3, 4, 5]
    assert val.stage.tolist() == [1, 1, 2, 2, 2]
    assert not (curve.series == "test").any()
    best = val.sort_values(["metric", "loss"], ascending=[False, True]).epoch.iloc[0]
    assert run.folds[0]["parameters"]["epoch"] == best
    assert (run.kind, run.classifier) == ("finetune", "fine-tuning")


def test_a_repeat_is_answered_and_another_seed_is_another_run(data: FeatureStore) -> None:
    known = {"split": "half", "weights": "random", "preset": "head-first", "settings": SETTINGS, "workers": 0}
    first, second = finetune(data, "cells", "tiny", repeats=2, **known)
    assert first.id != second.id
    assert not np.array_equal(scores(data, first), scores(data, second))
    again = trained(data)
    assert again.created == first.created
    forced = trained(data, force=True)
    assert np.array_equal(scores(data, forced), scores(data, first))


def interrupted(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, after: int, **changes: Any) -> None:
    """Train until so many steps are done, with a checkpoint after each."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", -1.0)
    calls = 0

    def report(done: int, total: int, detail: str = "") -> None:
        nonlocal calls
        calls += "epoch" in detail
        if calls == after:
            raise Killed

    with pytest.raises(Killed):
        trained(store, progress=report, **changes)


@pytest.mark.parametrize("after", [2, 7, 9, 12])
@pytest.mark.parametrize(
    "settings",
    [{"optimiser": "momentum"}, {"optimiser": "adan", "ema": 0.9, "head.dropout": 0.5, "augment.noise": 50}],
    ids=["sgd", "adan-ema"],
)
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, after: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    expected = trained(data, settings=settings)
    whole, curve = tensors(data, expected), data.curves(expected.id).to_pandas()
    interrupted(data, monkeypatch, after, settings=settings, force=True)
    steps_done = 0

    def report(done: int, total: int, detail: str = "") -> None:
        nonlocal steps_done
        steps_done += "epoch" in detail

    run = trained(data, settings=settings, force=True, progress=report)
    assert run.id == expected.id
    assert 0 < steps_done <= 3 * 5 - after + 1
    found = tensors(data, run)
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    again = data.curves(run.id).to_pandas()
    assert again.drop(columns=["run", "seconds"]).equals(curve.drop(columns=["run", "seconds"]))
    assert not list((Path(data.uri) / "networks" / "unfinished").glob("*/"))


def test_a_damaged_checkpoint_is_no_checkpoint(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(data)
    whole = scores(data, expected)
    interrupted(data, monkeypatch, 7, force=True)
    (file,) = (Path(data.uri) / "networks" / "unfinished").glob("*/*/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    run = trained(data, force=True)
    assert any("damaged: it began anew" in note for note in run.notes)
    assert np.array_equal(scores(data, run), whole)


def test_a_checkpoint_of_another_training_is_no_checkpoint(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scores(data, trained(data))
    other = trained(data, seed=1).id
    interrupted(data, monkeypatch, 7, force=True, seed=1)
    unfinished = Path(data.uri) / "networks" / "unfinished"
    (unfinished / other).rename(unfinished / trained(data).id)
    run = trained(data, force=True)
    assert any("it began anew" in note for note in run.notes)
    assert np.array_equal(scores(data, run), whole)


def test_curves_have_the_base_rate_whatever_groups_have_of_it(data: FeatureStore) -> None:
    settings = {"head_lr": 5.0, "layer_decay": 0.5, "bias_lr": 2.0, "stages.2.warmup_epochs": 0}
    settings |= {"stages.2.schedule": "inv", "stages.2.gamma": 1.0, "stages.2.power": 1.0}
    curve = data.curves(trained(data, settings=settings).id).to_pandas()
    assert set(curve[curve.stage == 1].lr.round(12)) == {0.01}
    # Three batches of five an epoch: 0.01 / (1 + step), of the last step.
    ends = curve[(curve.stage == 2) & (curve.epoch == curve.epoch.round())].drop_duplicates("epoch")
    assert ends.lr.tolist() == pytest.approx([0.01 / (3 * n) for n in (1, 2, 3)])


def test_folds_that_are_done_are_not_done_again(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(data, split="leave-one-group-out")
    whole = scores(data, expected)
    assert [entry["part"] for entry in expected.found["networks"]] == ["0.0", "0.1", "0.2", "0.3", "final"]
    assert (expected.found["final"]["part"], expected.found["final"]["train"]) == ("final", 24)
    interrupted(data, monkeypatch, 16, split="leave-one-group-out", force=True)
    asked: list[str] = []
    original = training.Training.run

    def run(self: training.Training) -> Any:
        asked.append(str(self.given.place[1]))
        return original(self)

    monkeypatch.setattr(training.Training, "run", run)
    again = trained(data, split="leave-one-group-out", force=True)
    assert asked == ["0.1", "0.2", "0.3", "final"]
    assert np.array_equal(scores(data, again), whole)
    only = trained(data, split="leave-one-group-out", force=True, keep="final")
    assert [entry["part"] for entry in only.found["networks"]] == ["final"]


def test_networks_that_an_interrupted_training_did_not_keep_are_trained_again_where_they_are_asked_for(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"split": "leave-one-group-out", "settings": {"stages.1.epochs": 1, "stages.2.epochs": 1}}
    whole = trained(data, keep="final", **asked)
    with pytest.raises(StoreError, match="has not kept the network of fold 1 of repeat 0") as caught:
        network_of(whole, "0.1")
    assert caught.value.next == f"{run_command(whole)} --keep all --force"
    with killed_before_the_third_fold(monkeypatch):
        trained(data, keep="final", force=True, **asked)
    again = trained(data, keep="all", force=True, **asked)
    assert [entry["part"] for entry in again.found["networks"]] == ["0.0", "0.1", "0.2", "0.3", "final"]
    assert np.array_equal(scores(data, again), scores(data, whole))


def aged(store: FeatureStore) -> None:
    """Make all files of networks two hours older."""
    for path in (Path(store.uri) / "networks").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 7200,) * 2)


@pytest.mark.parametrize("lost", [False, True])
def test_networks_of_a_training_that_was_killed_between_two_folds_outlive_gc(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    asked = {"split": "leave-one-group-out", "settings": {"stages.1.epochs": 1, "stages.2.epochs": 1}}
    with killed_before_the_third_fold(monkeypatch):
        trained(data, **asked)
    aged(data)
    there = sorted((Path(data.uri) / "networks").rglob("*.safetensors"))
    assert len(there) == 2
    collect_garbage(data)
    assert all(path.exists() for path in there)
    if lost:
        there[0].unlink()
    run = trained(data, **asked)
    assert [data.networks.damage(entry) for entry in run.found["networks"]] == [None] * 5
    assert verify(data).findings == ()


def test_gc_gives_no_training_a_second_one_beside_it(data: FeatureStore) -> None:
    folder = data.networks.unfinished("abc")
    with trained_alone(folder, "abc"):
        aged(data)
        collect_garbage(data)

        def other() -> None:
            with trained_alone(folder, "abc"):
                raise AssertionError

        with ThreadPoolExecutor(1) as pool, pytest.raises(BusyError, match="is training the run abc"):
            pool.submit(other).result()


def test_networks_that_a_stored_run_did_not_keep_are_told_where_they_are_asked_for(data: FeatureStore) -> None:
    asked: dict[str, Any] = {
        "split": "leave-one-group-out",
        "settings": {"stages.1.epochs": 1, "stages.2.epochs": 1},
    }
    final = trained(data, keep="final", **asked)
    again = f"4 networks of folds were not kept then; to train and keep all: {run_command(final)} --keep all --force"
    assert not any("not kept" in note for note in (*final.notes, *trained(data, keep="final", **asked).notes))
    (note,) = [note for note in trained(data, **asked).notes if "not kept" in note]
    assert note == f"the run {final.id} is stored, but {again}"
    options = {**asked, "settings": {**SETTINGS, **asked["settings"]}, "weights": "random", "preset": "head-first"}
    (planned,) = plan_training(data, "cells", "tiny", **options)
    assert planned.stored
    assert note in planned.notes
    trained(data, keep="all", force=True, **asked)
    assert not any("not kept" in note for note in trained(data, **asked).notes)


@pytest.mark.parametrize("fewer", [False, True])
def test_the_network_that_is_kept_is_that_of_all_training_samples_whichever_fold_trains_on_them(
    data: FeatureStore, tmp_path: Path, fewer: bool
) -> None:
    # Two folds test a patient each; both train on all the others, or the second one on a part of them.
    samples = data.samples("cells", ["id", "patient"]).to_pylist()
    tested = sorted({row["patient"] for row in samples})[:2]
    others = [row for row in samples if row["patient"] not in tested]
    rows = [f"{row['id']},test,{tested.index(row['patient'])}" for row in samples if row["patient"] in tested]
    rows += [f"{row['id']},train,0" for row in others]
    rows += [f"{row['id']},train,1" for row in others if not fewer or row["patient"] == others[0]["patient"]]
    file = tmp_path / "two.csv"
    file.write_text("\n".join(["id,role,fold", *rows]))
    split(data, "cells", "two", from_file=file)
    run = trained(data, split="two", keep="final", settings={"choose_epoch": "last"})
    assert [entry["part"] for entry in run.found["networks"]] == [run.found["final"]["part"]] == ["0.0"]
    extract(data, "cells", f"run:{run.id}", layers=["last"])


class Crowded(nn.Module):
    """Gives other numbers where more images go through at once, as some convolutions do in their last bits."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps * (1 + len(maps) / 16)


def test_what_is_frozen_is_the_same_whatever_folds_are_done(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TinyBackbone.build
    monkeypatch.setattr(TinyBackbone, "build", lambda self: build(self).append(Crowded()))
    # Three images are in the last pass of a fold, one where all folds have been.
    settings = {"head.layer": "4", "batch_size": 5, "stages.1.epochs": 3, "stages.2.epochs": 1}
    asked = {"split": "leave-one-group-out", "settings": settings, "force": True}
    whole = scores(data, trained(data, **asked))
    interrupted(data, monkeypatch, 25, **asked)
    assert np.array_equal(scores(data, trained(data, **asked)), whole)


def test_a_diverging_training_stops_and_keeps_what_was_before(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", -1.0)
    with pytest.raises(DataError, match="diverged at a learning rate of 1e\\+30") as caught:
        trained(data, settings={"optimiser": "momentum", "stages.2.lr": 1e30})
    assert "--set lr=" in str(caught.value.next)
    (state,) = (Path(data.uri) / "networks" / "unfinished").glob("*/*/state.json")
    assert "NaN" not in state.read_text()


@pytest.mark.parametrize(
    ("rate", "epochs", "match"), [("1e6", 1, "no longer finite"), ("1e5", 3, "The loss is|no longer finite")]
)
def test_a_last_step_that_diverges_is_told_and_nothing_is_stored(
    data: FeatureStore, rate: str, epochs: int, match: str
) -> None:
    steps = {"lr": rate, "optimiser": "sgd", "batch_size": 64, "stages.1.epochs": epochs, "stages.2.epochs": 1}
    settings = {**steps, "stages.1.train": "all", "weight_decay": 1e6, "momentum": 0, "choose_epoch": "last"}
    with pytest.raises(DataError, match=match) as caught:
        trained(data, settings=settings)
    told = caught.value.next.partition("The network of before is in ")[2].removesuffix(".")
    assert not told or Path(told).is_dir()
    assert data.runs() == []


def test_gradients_are_clipped(data: FeatureStore) -> None:
    still = {"optimiser": "sgd", "momentum": 0, "weight_decay": 0, "choose_epoch": "last", "stages.2.epochs": 1}
    clipped, begun = (trained(data, settings={**still, **how}) for how in ({"clip": 1e-9}, {"lr": 1e-12}))
    for one, other in zip(tensors(data, clipped).values(), tensors(data, begun).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_gradients_of_small_passes_add_up(data: FeatureStore) -> None:
    whole = trained(data, settings={"optimiser": "momentum"})
    parts = trained(data, settings={"optimiser": "momentum"}, micro_batch=2)
    assert whole.id != parts.id
    np.testing.assert_allclose(scores(data, whole), scores(data, parts), atol=1e-5)


def test_short_memory_says_how_many_images_fit(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = steps.GradientSteps.outputs

    def outputs(self: steps.GradientSteps, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 3 and batch.ndim == 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, module, batch)

    monkeypatch.setattr(steps.GradientSteps, "outputs", outputs)
    with pytest.raises(UsageError) as caught:
        trained(data)
    assert "--micro-batch 2 accumulates" in str(caught.value.next)
    assert trained(data, micro_batch=2).folds


@pytest.mark.parametrize("most", [3, 0])
def test_memory_that_is_short_for_an_optimiser_is_told_likewise(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    original, rows = steps.GradientSteps.outputs, []

    def outputs(self: steps.GradientSteps, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            rows.append(len(batch))
        return original(self, module, batch)

    def step(self: torch.optim.Optimizer, closure: object = None) -> None:
        parameter = self.param_groups[0]["params"][0]
        assert not self.state, "what is left of a step that failed is forgotten"
        # As far as the first of what it keeps.
        self.state[parameter]["step"] = torch.zeros(())
        if rows[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(steps.GradientSteps, "outputs", outputs)
    monkeypatch.setattr(steps, "free_memory", lambda device: None)
    for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD):
        monkeypatch.setattr(kind, "step", step)
    with pytest.raises(UsageError, match="too little memory to run the training") as caught:
        trained(data)
    wanted = f"--micro-batch {most - 1} accumulates" if most else "No smaller pass fits"
    assert wanted in str(caught.value.next)
    assert data.runs() == []


def test_the_head_learns_from_vectors_what_it_learns_from_images(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = {
        "stages.2.epochs": 1,
        "stages.2.warmup_epochs": 0,
        "stages.2.lr": 1e-12,
        "choose_epoch": "last",
        "optimiser": "momentum",
    }
    passes = 0
    original = training.frozen_vectors

    def counted(*args: Any) -> Any:
        nonlocal passes
        passes += len(args[2])
        return original(*args)

    monkeypatch.setattr(training, "frozen_vectors", counted)
    cached = trained(data, settings=only)
    assert passes == len(data.split("cells", "half").folds()[0].train)
    by_images = trained(data, settings={**only, "stages.1.frozen_statistics": "train"})
    assert passes == len(data.split("cells", "half").folds()[0].train)
    np.testing.assert_allclose(scores(data, cached), scores(data, by_images), atol=1e-5)


def test_an_image_that_cannot_be_read_is_told_before_training(data: FeatureStore, images: Path) -> None:
    bad = images / "p1" / "dark" / "0.png" if (images / "p1").exists() else next(images.glob("*/dark/0.png"))
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 24 images cannot be read"):
        trained(data)
    run = trained(data, allow_missing=True)
    assert any("1 of 24 samples is left out" in note for note in run.notes)
    assert len(data.problems("cells"))


@pytest.mark.parametrize("allowed", [False, True])
def test_an_image_that_is_lost_while_networks_are_trained_is_told(
    data: FeatureStore, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(pixels, "_SHARE", 1 << 60)  # none stays in memory
    train, bad = data.split("cells", "half").folds()[0].train, list[str]()

    def lose(_done: float, _total: float, detail: str = "") -> None:
        if "epoch" in detail and not bad:
            bad.append(next(sample for sample in train if "dark" in sample))
            shutil.copy2(images / bad[0], tmp_path / "kept.png")
            (images / bad[0]).write_bytes(b"no image")

    if not allowed:
        with pytest.raises(DataError, match="1 of 24 images cannot be read") as caught:
            trained(data, progress=lose)
        assert caught.value.details["samples"] == bad
        assert data.problems("cells").column("id").to_pylist() == bad
        assert not data.runs()
        return
    last = {"choose_epoch": "last"}
    run = trained(data, progress=lose, allow_missing=True, settings=last)
    assert any("1 training sample was left out" in note for note in run.notes)
    # Once the image is back, a run without it is no answer to what is asked for all of them.
    shutil.copy2(tmp_path / "kept.png", images / bad[0])
    again = trained(data, settings=last)
    assert again.id == run.id
    assert not again.notes
    whole = trained(data, settings=last, force=True)
    np.testing.assert_allclose(scores(data, again), scores(data, whole), atol=1e-6)
    assert trained(data, settings=last).created == whole.created


def test_mistakes_in_names_are_told_before_images_are_read(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels.TrainingImages, "hold", lambda *_: pytest.fail("images were read"))
    with pytest.raises(UsageError, match="no module 'nothing', which a stage is to train"):
        trained(data, settings={"stages.2.train": "nothing"})
    settings = {"initialisation": "nothing", "head.layer": "3"}
    with pytest.raises(UsageError, match="no initialisation 'nothing'"):
        finetune(data, "cells", "tiny", split="half", from_scratch=True, settings=settings)


def test_batches_of_one_and_a_class_without_samples(data: FeatureStore) -> None:
    assert trained(data, settings={"batch_size": 1}).folds
    lone = "label = 'bright' OR patient = '" + data.split("cells", "half").folds()[0].test[0].split("/")[0] + "'"
    run = trained(data, where=lone)
    assert run.folds[0]["classes_without_training"] == ["dark"]
    assert any("class 'dark' has no training sample" in note for note in run.notes)


def test_from_scratch_differs_and_the_test_curve_is_recorded(data: FeatureStore) -> None:
    tuned = trained(data)
    options = {"split": "half", "workers": 0, "settings": {"head.layer": "3", "epochs": 2, "batch_size": 5}}
    (fresh,) = finetune(data, "cells", "tiny", from_scratch=True, test_curve=True, **options)
    assert fresh.classifier == "from-scratch"
    assert fresh.id != tuned.id
    curve = data.curves(fresh.id).to_pandas()
    last = curve[curve.series == "test"]
    assert last.epoch.tolist() == list(range(1, len(last) + 1))
    optimistic = trained(data, settings={"choose_epoch": "test"})
    assert any("chosen by the test samples" in note for note in optimistic.notes)


@pytest.mark.parametrize(("chosen", "epoch", "trained_for"), [("validation", 2, 4), ("validation-loss", 3, 5)])
def test_the_epoch_is_chosen_by_the_metric_or_by_the_loss(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, chosen: str, epoch: int, trained_for: int
) -> None:
    """The accuracy is best in the second epoch, the loss in the third; patience ends both two epochs later."""
    found = iter([(0.5, 3.0), (0.9, 2.0), (0.7, 1.0), (0.8, 1.5), (0.6, 1.2), (1.0, 0.5)])
    judged = training.judge_rows

    def given(*args: Any) -> Any:
        metric, loss = next(found)
        return replace(judged(*args), metric=metric, loss=loss)

    monkeypatch.setattr(training, "judge_rows", given)
    settings = {"head.layer": "3", "stages.1.epochs": 6, "patience": 2, "batch_size": 5, "choose_epoch": chosen}
    asked = {"split": "half", "weights": "random", "preset": "default", "settings": settings, "workers": 0}
    (run,) = finetune(data, "cells", "tiny", keep="final", **asked)
    curve = data.curves(run.id).to_pandas()
    assert run.folds[0]["parameters"]["epoch"] == epoch
    assert curve[(curve.series == "val") & (curve.fold == 0)].epoch.tolist() == list(range(1, trained_for + 1))


@pytest.mark.parametrize("chosen", ["last", "test"])
def test_no_training_sample_is_kept_back_where_none_chooses_the_epoch(data: FeatureStore, chosen: str) -> None:
    kept = ("patience", "stages.1.epochs", "stages.2.epochs")
    settings = {key: value for key, value in SETTINGS.items() if key not in kept} | {"epochs": 2}
    asked = {"split": "half", "weights": "random", "preset": "head-first", "workers": 0}
    (run,) = finetune(data, "cells", "tiny", settings={**settings, "choose_epoch": chosen}, **asked)
    assert run.folds[0]["validation"] == 0
    assert run.folds[0]["train"] == len(data.split("cells", "half").folds()[0].train)
    assert run.parameters["recipe"]["patience"] == {"last": 0, "test": 5}[chosen]


def test_the_network_is_a_backbone_whose_test_set_stays_unseen(data: FeatureStore) -> None:
    run = trained(data)
    extract(data, "cells", [f"run:{run.id}"], layers="last", workers=0)
    (of_network,) = train(data, "cells", f"run:{run.id}/last", "knn", split="half", grid={"k": [1]}, inner_folds=2)
    assert of_network.folds[0]["scores"]["accuracy"] == 1.0
    with pytest.raises(LeakageError):
        train(data, "cells", f"run:{run.id}/last", "knn", split="leave-one-group-out", grid={"k": [1]}, inner_folds=2)
    with pytest.raises(LeakageError):
        finetune(
            data, "cells", f"run:{run.id}", split="leave-one-group-out", settings={"epochs": 1, "head.layer": "last"}
        )


def test_each_fold_may_take_the_features_of_its_own_network(data: FeatureStore) -> None:
    quick = {"stages.1.epochs": 1, "stages.2.epochs": 1}
    run = trained(data, split="leave-one-group-out", settings=quick)
    folds = data.split("cells", "leave-one-group-out").folds()
    networks = [f"run:{run.id}.{fold.fold}" for fold in folds]
    asked: dict[str, Any] = {"split": "leave-one-group-out", "grid": {"C": 0.1}, "inner_folds": 2}
    question = (data, "cells", f"run:{run.id}/last", "svm")
    extract(data, "cells", [f"run:{run.id}"], layers="last", workers=0)
    with pytest.raises(StoreError, match=f"{len(folds)} networks of folds have no features of 'cells'") as caught:
        train(*question, **asked, fold_networks=True)
    assert f"histokit extract cells --backbone {networks[0]} --backbone {networks[1]}" in str(caught.value.next)
    extract(data, "cells", networks, layers="last", workers=0)
    (found,) = train(*question, **asked, fold_networks=True)
    listed = data.predictions(found.id).to_pylist()
    assert len(listed) == len(data.samples("cells"))
    for fold, network in zip(folds, networks, strict=True):
        # A split of this fold alone, on features of its network alone.
        whole = data.split("cells", "leave-one-group-out")
        data.save_split(replace(whole.only(0, fold.fold), name=f"only-{fold.fold}", params={}))
        (alone,) = train(data, "cells", f"{network}/last", "svm", **{**asked, "split": f"only-{fold.fold}"})
        of_fold = {row["id"]: row["scores"] for row in listed if row["fold"] == fold.fold}
        by_itself = {row["id"]: row["scores"] for row in data.predictions(alone.id).to_pylist()}
        assert of_fold == {i: pytest.approx(score, abs=1e-6) for i, score in by_itself.items()}
    tables = [[part["address"] for part in parts] for parts in found.found["fold_features"]]
    assert [address.rpartition("/")[0] for (address,) in tables] == networks
    assert found.features[0]["backbone"] == f"run:{run.id}"
    assert any("each fold has features of its own networks" in note for note in found.notes)
    # The same question is answered by the run, and its command asks it.
    assert identify_run(*question, **asked, fold_networks=True) == [found.id]
    assert " --fold-networks" in run_command(found)
    with pytest.raises(LeakageError) as leak:
        train(*question, **asked)
    assert "train --fold-networks takes it there" in str(leak.value.next)
    with pytest.raises(UsageError, match="were trained on the folds of 'leave-one-group-out', not on those of 'half'"):
        train(*question, **{**asked, "split": "half"}, fold_networks=True)
    with pytest.raises(UsageError, match="A stored selection is of the columns of one network"):
        train(*question, **asked, fold_networks=True, selection="abcd")


def test_groups_that_train_and_validate_are_told(data: FeatureStore, tmp_path: Path) -> None:
    patients = data.samples("cells").select(["id", "patient"]).to_pylist()
    roles = {"p1": ("train", "val"), "p2": ("train", "train"), "p3": ("val", "val"), "p4": ("test", "test")}
    for name, of in (("mixed", roles), ("apart", roles | {"p1": ("train", "train")})):
        lines = (f"{row['id']},{of[row['patient']][place % 2]}" for place, row in enumerate(patients))
        (tmp_path / "roles.csv").write_text("\n".join(["id,role", *lines]))
        split(data, "cells", name, from_file=tmp_path / "roles.csv")
    asked: dict[str, Any] = {"weights": "random", "settings": {"epochs": 1}, "workers": 0}
    told = "1 patient trains and validates (p1): the epoch is chosen by images like those that are trained on"
    (run,) = finetune(data, "cells", "tiny", split="mixed", **asked)
    assert f"{told} (1 of 1 training sets)" in run.notes
    assert not any(told in note for note in finetune(data, "cells", "tiny", split="apart", **asked)[0].notes)
    # The last epoch needs no validation: all of these are trained on.
    (last,) = finetune(data, "cells", "tiny", split="mixed", **{**asked, "settings": {"choose_epoch": "last"}})
    assert not any(told in note for note in last.notes)


def test_only_networks_of_all_training_samples_are_replaced_by_those_of_folds(data: FeatureStore) -> None:
    quick = {"stages.1.epochs": 1, "stages.2.epochs": 1}
    split(data, "cells", name="two", folds=2)
    whole, half = trained(data, split="two", settings=quick), trained(data, settings=quick)
    extract(data, "cells", [f"run:{whole.id}{place}" for place in ("", ".0", ".1")], layers="last", workers=0)
    extract(data, "cells", [f"run:{half.id}", "tiny"], weights={"tiny": "random"}, layers="last", workers=0)
    asked: dict[str, Any] = {"grid": {"k": 1}, "inner_folds": 2, "fold_networks": True}
    right = f"run:{whole.id}/3"
    for address, told in (
        (f"run:{whole.id}.0/last", right),
        (f"run:{whole.id[:5]}.1/last", right),
        (f"{right}+run:{whole.id}.0/last", right),
        (f"run:{whole.id}.1/last+run:{whole.id}.0/last", right),
        (f"tiny/last+run:{whole.id}.1/last", f"tiny/3+{right}"),
    ):
        with pytest.raises(UsageError, match=rf"run:{whole.id}\.[01] is the network of one fold") as caught:
            train(data, "cells", address, "knn", split="two", **asked)
        assert f"Use --features {told} --fold-networks, or leave out --fold-networks." in str(caught.value.next)
    with pytest.raises(UsageError, match="were trained on the folds of 'half', not on those of 'two'") as other:
        train(data, "cells", f"{right}+run:{half.id}/last", "knn", split="two", **asked)
    # The folds of 'half' would not do for the other one.
    assert f"Train networks on these folds: {run_command(replace(half, split='two'))}" in str(other.value.next)
    # The only fold's network is that of all training samples, however it is called.
    (by_name,) = train(data, "cells", f"run:{half.id}.0/last", "knn", split="half", **asked)
    (by_fold,) = train(data, "cells", f"run:{half.id}/last", "knn", split="half", **asked)
    assert by_name.id == by_fold.id


def test_networks_of_folds_have_features_that_were_made_as_those_of_all_samples(data: FeatureStore) -> None:
    split(data, "cells", name="two", folds=2)
    run = trained(data, split="two", settings={"stages.1.epochs": 1, "stages.2.epochs": 1})
    name, folds = f"run:{run.id}", [f"run:{run.id}.{fold}" for fold in range(2)]
    smaller: dict[str, Any] = {"layers": "last", "workers": 0, "preprocess": ["size=12"]}
    extract(data, "cells", [name, *folds], layers="last", workers=0)
    asked: dict[str, Any] = {"split": "two", "grid": {"k": 1}, "inner_folds": 2, "fold_networks": True}
    (before,) = train(data, "cells", f"{name}/last", "knn", **asked)
    extract(data, "cells", [name], **smaller)
    usual, small = (
        next(t for t in data.feature_tables("cells") if t.backbone == name and t.spec["preprocess"]["size"] == size)
        for size in (16, 12)
    )
    with pytest.raises(
        StoreError, match="2 networks of folds have no features of 'cells' that were made as"
    ) as lacking:
        train(data, "cells", f"{name}/last@{small.fingerprint}", "knn", **asked)
    again = f"histokit extract cells --backbone {folds[0]} --backbone {folds[1]} --layers 3 --preprocess size=12"
    assert str(lacking.value.next) == again
    extract(data, "cells", folds, **smaller)
    (found,) = train(data, "cells", f"{name}/last@{small.fingerprint}", "knn", **asked)
    sizes = {t.fingerprint: (t.backbone, t.spec["preprocess"]["size"]) for t in data.feature_tables("cells")}
    of_folds = [[sizes[part["fingerprint"]] for part in parts] for parts in found.found["fold_features"]]
    assert of_folds == [[(fold, 12)] for fold in folds]
    (again,) = train(data, "cells", f"{name}/last@{usual.fingerprint}", "knn", **asked)
    assert again.id == before.id


def test_what_makes_networks_of_folds_is_told_where_they_are_not_there(data: FeatureStore) -> None:
    quick = {"stages.1.epochs": 1, "stages.2.epochs": 1}
    by_patient: dict[str, Any] = {"split": "leave-one-group-out", "settings": quick}
    asked: dict[str, Any] = {"split": "leave-one-group-out", "grid": {"k": 1}, "fold_networks": True}
    where = f"patient <> '{data.samples('cells').column('patient').to_pylist()[0]}'"
    kept, fewer = trained(data, **by_patient, keep="final"), trained(data, **by_patient, where=where)
    extract(data, "cells", [f"run:{run.id}" for run in (kept, fewer)], layers="last", workers=0)
    with pytest.raises(StoreError, match="has not kept the network of fold 0 of repeat 0") as caught:
        train(data, "cells", f"run:{kept.id}/last", "knn", **asked)
    assert str(caught.value.next) == f"{run_command(kept)} --keep all --force"
    with pytest.raises(StoreError, match="has trained no network in fold 0 of repeat 0") as caught:
        train(data, "cells", f"run:{fewer.id}/last", "knn", **asked)
    assert f"--where {quote(where)}" in str(caught.value.next)


def turned(images: Path, folder: Path) -> Path:
    """Images turned by a quarter, which make another dataset of the same classes."""
    for path in images.rglob("*.png"):
        there = folder / "turned" / path.relative_to(images)
        there.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(there)
    return folder / "turned"


def test_features_of_own_networks_are_one_method_whatever_the_number_of_folds(
    data: FeatureStore, images: Path, tmp_path: Path
) -> None:
    pattern = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    ingest(data, "folder", turned(images, tmp_path), name="turned", options=pattern)
    split(data, "turned", name="two", folds=2)
    asked: dict[str, Any] = {"grid": {"k": 1}, "inner_folds": 2}
    runs = []
    for dataset, of, folds in (("cells", "half", [""]), ("turned", "two", ["", ".0", ".1"])):
        (tuned,) = finetune(
            data, dataset, "tiny", split=of, weights="random", settings={"head.layer": "3", "epochs": 1}, workers=0
        )
        extract(data, dataset, [f"run:{tuned.id}{fold}" for fold in folds], layers="last", workers=0)
        more = {"fold_networks": True} if len(folds) > 1 else {}
        runs += train(data, dataset, f"run:{tuned.id}/last", "knn", split=of, **asked, **more)
    found, name = compare(data, [run.id for run in runs], bootstrap=20), "fine-tuned tiny/last knn"
    assert [(method["method"], [*method["cells"]]) for method in found.methods] == [(name, ["cells", "turned"])]


def test_layers_of_own_networks_that_are_chosen_from_are_one_method_on_all_datasets(
    data: FeatureStore, images: Path, tmp_path: Path
) -> None:
    ingest(data, "folder", turned(images, tmp_path), name="turned", options={"pattern": "{patient}/{label}/*.png"})
    split(data, "turned", name="half", test=0.25, seed=1)
    settings = {"head.layer": "3", "epochs": 1}
    runs = []
    for dataset in ("cells", "turned"):
        how: dict[str, Any] = {"split": "half", "weights": "random", "settings": settings, "workers": 0}
        (tuned,) = finetune(data, dataset, "tiny", **how)
        extract(data, dataset, f"run:{tuned.id}", layers="all", workers=0)
        asked: dict[str, Any] = {"split": "half", "grid": {"k": 1}, "inner_folds": 2, "choose": "inner"}
        runs.append(train(data, dataset, f"run:{tuned.id}/each", "knn", **asked)[-1])
        (other,) = finetune(data, dataset, "tiny", **how, from_scratch=True)
        extract(data, dataset, f"run:{other.id}", layers="last", workers=0)
        runs.append(train(data, dataset, [f"run:{each.id}/last" for each in (tuned, other)], "knn", **asked)[-1])
    found = compare(data, [run.id for run in runs], bootstrap=20)
    named = [(method["method"], [*method["cells"]]) for method in found.methods]
    names = ("fine-tuned tiny/3|from-scratch tiny/3", "fine-tuned tiny/each")
    assert sorted(named) == [(name, ["cells", "turned"]) for name in names]


def test_a_network_that_knows_more_labels_than_a_fold_says_so(data: FeatureStore) -> None:
    split(data, "cells", "few", within="half", train_per_class=1, repeats=4)
    run = trained(data, split="half")
    extract(data, "cells", [f"run:{run.id}", "tiny"], weights={"tiny": "random"}, layers="last", workers=0)
    asked: dict[str, Any] = {"split": "few", "grid": {"k": 1}, "inner_folds": 2}
    (found,) = train(data, "cells", f"run:{run.id}/last", "knn", **asked)
    assert any(f"in 4 of 4 folds, the network run:{run.id} has learned from samples" in text for text in found.notes)
    (whole,) = train(data, "cells", f"run:{run.id}/last", "knn", **{**asked, "split": "half"})
    assert not any("has learned from samples" in text for text in whole.notes)
    with pytest.raises(UsageError, match="No network of tiny/3 was trained here"):
        train(data, "cells", "tiny/last", "knn", **asked, fold_networks=True)


def test_an_average_predicts_as_it_was_after_the_chosen_epoch(data: FeatureStore) -> None:
    settings = {"ema": 0.9, "choose_epoch": "test", "optimiser": "adamw", "lr": 0.3, "weight_decay": 3}
    run = trained(data, settings={**settings, "stages.2.lr": 0.5})
    curve = data.curves(run.id).to_pandas()
    losses = curve[curve.series == "test"].set_index("epoch").loss
    chosen = run.folds[0]["parameters"]["epoch"]
    assert chosen < losses.index.max()
    true = [run.classes.index(row["true"]) for row in data.predictions(run.id).to_pylist()]
    found = -np.log(scores(data, run)[range(len(true)), true]).mean()
    assert found == pytest.approx(losses[chosen], rel=1e-4)
    assert found != pytest.approx(losses[losses.index.max()], rel=1e-2)


def test_an_average_is_judged_as_it_is_kept_where_the_head_is_trained_last(data: FeatureStore) -> None:
    order = {"stages.1.train": "all", "lr": 1e-3, "stages.2.train": "head", "stages.2.augment": False}
    run = trained(data, settings={**order, "ema": 0.9, "choose_epoch": "last"}, test_curve=True)
    curve = data.curves(run.id).to_pandas()
    losses = curve[curve.series == "test"].set_index("epoch").loss
    true = [run.classes.index(row["true"]) for row in data.predictions(run.id).to_pylist()]
    found = -np.log(scores(data, run)[range(len(true)), true]).mean()
    assert losses[losses.index.max()] == pytest.approx(found, rel=1e-4)


def test_a_network_whose_epoch_the_test_samples_chose_has_seen_them(data: FeatureStore) -> None:
    run = trained(data, settings={"choose_epoch": "test"})
    extract(data, "cells", [f"run:{run.id}"], layers="last", workers=0)
    with pytest.raises(LeakageError, match="has seen 6 of the 6 test samples"):
        train(data, "cells", f"run:{run.id}/last", "knn", split="half", grid={"k": [1]}, inner_folds=2)


def test_a_value_is_the_same_however_it_is_written(data: FeatureStore) -> None:
    known = {"batch_size": "5", "head.hidden": "4,3", "augment.rotate": "true"}
    ways = [{"lr": lr, "stages.2.lr": lr, **known} for lr in (0.01, "0.01", "1e-2", ".01")]
    ways += [{"lr": 0.01, "stages.2.lr": 0.01, "batch_size": 5, "head.hidden": (4, 3), "augment.rotate": True}]
    asked = {"preset": "head-first", "split": "half", "weights": "random"}
    assert len({identify(data, "cells", "tiny", settings=way, **asked) for way in ways}) == 1
    same = {
        "settings": [{}, None],
        "preprocess": [["size=24", "std=0.5,0.5,0.4"], {"size": 24, "std": (0.5, 0.5, 0.4)}],
        "channels": ["", (), []],
    }
    for name, given in same.items():
        assert len({identify(data, "cells", "tiny", **asked, **{name: way}) for way in given}) == 1, name
    chosen = [identify(data, "cells", "tiny", **asked, channels=way) for way in ("R,G,B", ["R", "G", "B"], " R, G,B,")]
    assert len(set(chosen)) == 1
    assert identify(data, "cells", "tiny", settings={**ways[0], "lr": 0.02}, **asked) != identify(
        data, "cells", "tiny", settings=ways[0], **asked
    )


def test_one_question_is_one_run_however_it_is_written(
    data: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(preset: str | Path = "default", weights: str = "random", **settings: Any) -> str:
        return identify(data, "cells", "tiny", split="half", preset=str(preset), weights=weights, settings=settings)

    mine = tmp_path / "mine.toml"
    mine.write_text(load_preset("default").text)
    assert len({asked(), asked(mine), asked(batch_size=32), asked(weights="random:0"), asked(patience=5)}) == 1
    rates = [{"lr": 0.5}, {"stages.lr": 0.5}, {"stages.1.lr": "5e-1"}, {"lr": 9, "stages.1.lr": 0.5, "clip": 0}]
    assert len({asked(**rate) for rate in rates}) == 1
    assert len({asked("head-first", **rate) for rate in rates}) == 3, "of two stages"
    mine.write_text(f"ema = 0.5\n{load_preset('default').text}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deeper").mkdir()
    assert asked(mine) == asked("mine.toml") == asked("deeper/../mine.toml") != asked()
    assert asked(lr=0.5) != asked() != asked(weights="random:1")


def test_what_a_preset_sets_is_taken_back_as_the_error_says(data: FeatureStore) -> None:
    def asked(**settings: Any) -> str:
        return identify(data, "cells", "tiny", split="half", weights="random", settings=settings)

    # The preset has a warm-up, which cannot be left out.
    with pytest.raises(UsageError, match="is of no use with schedule=constant") as caught:
        asked(schedule="constant")
    key, _, value = caught.value.next.removeprefix("Set ").partition(",")[0].partition(" to ")
    assert asked(**{"schedule": "constant", key: value}) == asked(schedule="constant", warmup_epochs=0)


def test_a_value_of_a_stage_counts_before_one_of_all_in_whatever_order_they_are_given(data: FeatureStore) -> None:
    asked = FinetuneOptions(backbone="tiny", split="half", weights="random", settings={"lr": 0.5, "stages.1.lr": 0.25})
    turned = replace(asked, settings={"stages.1.lr": 0.25, "lr": 0.5})
    one, other = (ask_for_network(data, "cells", each) for each in (asked, turned))
    # The preset has one stage, so that both are of the same value.
    assert {stage.lr for stage in one.recipe.stages} == {stage.lr for stage in other.recipe.stages} == {0.25}
    assert [float(question.changes["lr"]) for question in (one, other)] == [0.25, 0.25]
    assert one.changes.keys() == other.changes.keys() == {"lr"}


def test_what_was_stored_under_an_id_of_before_keeps_it(data: FeatureStore) -> None:
    run = trained(data, settings={"huber_delta": 1})
    plain = trained(data, settings={})
    assert run.id == plain.id
    question = ask_for_network(data, "cells", FinetuneOptions(backbone="tiny", split="half", weights="random",
                               preset="head-first", settings={**SETTINGS, "clip": 0}))  # fmt: skip
    experiment = question.prepare(data)
    before = experiment.id_of(
        {"parameters": question.parameters(experiment), "version": 1, "kind": "finetune"}, lambda _: None
    )
    assert question.run_id(data, experiment) == run.id != before
    data.save_run(replace(run, id=before), data.predictions(run.id), None)
    assert question.run_id(data, experiment) == before


class OneValue(TinyPlugin):
    """Registers ``normed``, whose batch normalisation has one value of an image for each channel."""

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        register("normed", self.load)

    def load(self, request: Any) -> Backbone:
        backbone = super().load(request)
        build = backbone.build
        backbone.build = lambda: nn.Sequential(
            *list(build())[:3], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6))
        )  # type: ignore[method-assign]
        return backbone


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"micro_batch": 2}, {"short": True}])
def test_a_pass_of_one_image_has_no_variance(
    data: FeatureStore, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"epochs": 1, "head.layer": "3", "batch_size": changes.get("batch_size", 3), "optimiser": "momentum"}
    said = "A pass has a single image"
    if "short" in changes:
        original = steps.GradientSteps.outputs

        def outputs(self: steps.GradientSteps, module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return original(self, module, batch)

        monkeypatch.setattr(steps.GradientSteps, "outputs", outputs)
        said = "No smaller pass fits"
    known = {"split": "half", "weights": "random", "settings": {"warmup_epochs": 0, **settings}, "workers": 0}
    with added_plugin(OneValue(), "normed"), pytest.raises(UsageError) as caught:
        finetune(data, "cells", "normed", micro_batch=changes.get("micro_batch"), **known)
    assert said in f"{caught.value.message} {caught.value.next}"


class Keeping(nn.ReLU):
    """Keeps what is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"seen": 3}


def test_a_network_that_keeps_more_than_tensors_is_told_before_it_is_trained(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TinyBackbone.build
    monkeypatch.setattr(TinyBackbone, "build", lambda self: nn.Sequential(*build(self), Keeping()))
    with pytest.raises(PluginError, match=r"in place of a Tensor in state_dict\(\).*4._extra_state"):
        trained(data)


class Turned(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1)


def test_a_map_whose_channels_come_last_undeclared_is_told_before_it_is_trained_on(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TinyBackbone.build
    monkeypatch.setattr(TinyBackbone, "build", lambda self: nn.Sequential(*build(self), Turned()))
    with pytest.raises(UsageError, match=r"gives shape \(2, .*\), whose channels come last"):
        trained(data, settings={**SETTINGS, "head.layer": "4"})


def test_rows_of_channels_are_told_before_they_are_trained_on(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TinyBackbone.build
    added = nn.Flatten(2), nn.AvgPool1d(2)
    monkeypatch.setattr(TinyBackbone, "build", lambda self: nn.Sequential(*list(build(self))[:4], *added))
    with pytest.raises(UsageError, match="whose channels come first"):
        trained(data, settings={**SETTINGS, "head.layer": "5"})


class WithNormalisation(TinyPlugin):
    """Registers ``normed``, of weights whose batch normalisation was folded into the convolution, and ``random``."""

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        register("normed", self.load)

    def load(self, request: Any) -> Backbone:
        backbone = super().load(request)
        build, backbone.weights = backbone.build, request.weights

        def normed() -> nn.Module:
            convolution, *rest = build()
            norm = nn.BatchNorm2d(4)
            nn.init.constant_(norm.bias, 0.25)
            return nn.Sequential(convolution, norm, *rest)

        backbone.build = normed  # type: ignore[method-assign]
        return backbone


@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_folded_batch_normalisation_stays_and_a_fresh_one_follows_the_images(data: FeatureStore, weights: str) -> None:
    folded = weights == "pretrained"
    with added_plugin(WithNormalisation(), "normed"):
        settings = {**SETTINGS, "head.layer": "1"}
        alone = {"split": "half", "settings": {"head.layer": "1", "epochs": 1, "stages.1.train": "head"}, "workers": 0}
        (head,) = finetune(data, "cells", "normed", weights=weights, **alone)
        assert bool((tensors(data, head)["base.1.running_mean"] == 0).all())
        for backbone, begun in (("normed", weights), (f"run:{head.id}", "pretrained")):
            run = trained(data, backbone=backbone, weights=begun, settings=settings)
            found = tensors(data, run)
            assert bool((found["base.1.running_mean"] == 0).all()) is folded
            assert any("folded" in note for note in run.notes) is folded
            assert not (found["base.1.bias"] == 0.25).any(), "what it adds is learned"


def test_one_process_at_a_time_trains_a_run(data: FeatureStore) -> None:
    run = trained(data)
    with trained_alone(data.networks.unfinished(run.id), run.id), pytest.raises(StoreError, match="Another process"):
        trained(data, force=True)
    assert trained(data, force=True).id == run.id


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"settings": {"lr": "fast"}}, "lr"),
        ({"settings": {"rate": 1}}, "rate"),
        ({"precision": "int8"}, "int8"),
        ({"from_scratch": True, "settings": {"stages.1.epochs": 2}, "weights": "net.safetensors"}, "one stage|random"),
        ({"channels": "each"}, "each channel on its own"),
        ({"preset": "defalt"}, "defalt"),
        ({"keep": "none"}, "none"),
        (
            {"backbone": "texture", "weights": "pretrained", "preprocess": ["resize=squash", "size=16"]},
            "no weights that could be trained",
        ),
    ],
)
def test_mistakes_are_told(data: FeatureStore, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(Exception, match=match) as caught:
        trained(data, **changes)
    assert getattr(caught.value, "next", "")


def test_a_full_disk_is_told_and_the_state_before_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "state")
    weight = torch.ones(2)
    kept.save({"weight": weight, "shared": weight}, {"epoch": 1})

    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        kept.save({"weight": torch.zeros(2)}, {"epoch": 2})
    assert "Free some space" in str(caught.value.next)
    found = kept.load()
    assert found is not None
    assert found[1] == {"epoch": 1}
    assert found[0]["weight"].tolist() == found[0]["shared"].tolist() == [1, 1]
    assert len(list((tmp_path / "state").iterdir())) == 2


def test_a_network_of_the_nuclei_paper_is_trained_from_scratch(data: FeatureStore) -> None:
    options: dict[str, Any] = {"settings": {"stages.1.epochs": 1}, "where": "id like '%/0.png'", "workers": 0}
    (run,) = finetune(data, "cells", preset="bayramoglu2016-gendernet", from_scratch=True, split="half", **options)
    assert (run.address, run.classifier) == ("gendernet/drop7", "from-scratch")
