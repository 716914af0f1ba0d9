"""What a training would do is told before it is done, and is what it does then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import histokit
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.finetune import network_trainer, training
from histokit.finetune.inputs import ImageInputs
from tests.cli.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny")

#: Of the network up to its second convolution, and of a head on its 6 maps.
TINY, HEAD = (4 * 3 * 9 + 4) + (6 * 4 * 9 + 6), 6 * 2 + 2
ASKED: dict[str, Any] = {"weights": "random", "split": "half", "workers": 0}
FEW = {"head.layer": "3", "batch_size": 5, "stages.1.epochs": 2, "stages.2.epochs": 3, "patience": 0}
PLAIN = {"augment.flip": "none", "augment.rotate": False}


@pytest.fixture
def data(store: FeatureStore, images: Path) -> FeatureStore:
    histokit.ingest(
        store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"}
    )
    histokit.split(store, "cells", "half", test=0.25, seed=1)
    return store


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Images that went into a network, forward; those that only fill up a batch are not counted."""
    found: Counter[str] = Counter()

    def count(name: str) -> None:
        usual = getattr(ImageInputs, name)

        def counted(inputs: ImageInputs, *args: Any) -> Iterator[Any]:
            for rows, batch in usual(inputs, *args):
                found["images"] += len(rows)
                yield rows, batch

        monkeypatch.setattr(ImageInputs, name, counted)

    count("training")
    count("prediction")
    return found


def files(store: FeatureStore) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("*")}


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "head-first", "settings": FEW},
        {"preset": "head-first", "settings": {**FEW, **PLAIN}},
        {"preset": "head-first", "settings": {**FEW, **PLAIN}, "split": "cv"},
        {"preset": "head-first", "settings": {**FEW, **PLAIN}, "split": "cv", "test_curve": True},
        {"preset": "default", "settings": {"head.layer": "3", "train": "head", "epochs": 3, **PLAIN}, "split": "cv"},
        {"preset": "default", "settings": {"head.layer": "3", "epochs": 2, "choose_epoch": "last"}},
        {"preset": "default", "settings": {"head.layer": "3", "epochs": 2, "choose_epoch": "test"}},
        {"preset": "default", "settings": {"head.layer": "3", "epochs": 2}, "from_scratch": True},
    ],
    ids=["augmented", "vectors first", "shared vectors", "test curve", "frozen", "last", "test", "from scratch"],
)
def test_the_images_foreseen_are_those_that_pass(data: FeatureStore, passed: Counter[str], changes: Any) -> None:
    asked = {**ASKED, **changes}
    (plan,) = histokit.finetune.plan_training(data, "cells", "tiny", **asked)
    assert not passed["images"]
    (run,) = histokit.finetune(data, "cells", "tiny", **asked)
    assert (plan.run, plan.images) == (run.id, passed["images"])
    assert [each["train"] + each["validation"] for each in plan.sets if each["test"]] == [f["train"] for f in run.folds]
    assert [each["validation"] for each in plan.sets if each["test"]] == [f["validation"] for f in run.folds]
    (again,) = histokit.finetune.plan_training(data, "cells", "tiny", **asked)
    assert (again.stored, again.images, {each["state"] for each in again.sets}) == (True, 0, {"done"})
    assert again.seconds == 0


def test_a_plan_tells_stages_parameters_and_classes_and_writes_nothing(data: FeatureStore) -> None:
    before = files(data)
    (plan,) = histokit.finetune.plan_training(
        data, "cells", "tiny", **{**ASKED, "split": "cv"}, preset="head-first", settings=FEW
    )
    assert files(data) == before, "the split cv is not stored, either"
    assert plan.parameters == TINY + HEAD
    assert [(s["train"], s["epochs"], s["parameters"]) for s in plan.stages] == [
        ("head", 2, HEAD),
        ("all", 3, TINY + HEAD),
    ]
    # Four patients of 3 dark and 3 bright images: one is tested, one chooses the epoch.
    assert [each["part"] for each in plan.sets] == ["0.0", "0.1", "0.2", "0.3", "final"]
    each = {"train": 6, "validation": 3, "test": 3}
    assert all(part["classes"] == {"bright": each, "dark": each} for part in plan.sets[:-1])
    assert plan.sets[-1]["classes"]["dark"] == {"train": 9, "validation": 3, "test": 0}
    assert "4 folds instead of 10" in " ".join(plan.notes)
    assert not data.has_run(plan.run)


class Killed(BaseException):
    """In the place of a signal that ends the process."""


def test_what_an_interrupted_training_has_done_is_told(
    data: FeatureStore, passed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {**ASKED, "split": "cv", "preset": "head-first", "settings": FEW}
    usual, at = training.Training._judge, Counter[str]()

    def judged_until(self: training.Training, *args: Any) -> None:
        usual(self, *args)
        at["epochs"] += 1
        if at["epochs"] == 5 + 4:  # of the second set: its first stage, and two epochs of its second one
            raise Killed

    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    with monkeypatch.context() as killing:
        killing.setattr(training.Training, "_judge", judged_until)
        with pytest.raises(Killed):
            histokit.finetune(data, "cells", "tiny", **asked)
    (plan,) = histokit.finetune.plan_training(data, "cells", "tiny", **asked)
    assert [each["state"] for each in plan.sets] == ["done", "begun", "missing", "missing", "missing"]
    assert [each["epochs"] for each in plan.sets] == [None, 3, None, None, None], "kept after its third epoch"
    passed.clear()
    (run,) = histokit.finetune(data, "cells", "tiny", **asked)
    # It was killed behind the steps of an epoch, which are kept within it.
    assert plan.run == run.id
    assert 0 <= plan.images - passed["images"] <= 12


def test_vectors_that_are_stored_need_no_image(data: FeatureStore, passed: Counter[str]) -> None:
    histokit.extract(data, "cells", "tiny", layers=["3"], weights="random:0")
    settings = {"head.layer": "3", "train": "head", "epochs": 3, **PLAIN}
    (plan,) = histokit.finetune.plan_training(data, "cells", "tiny", **{**ASKED, "settings": settings})
    assert plan.images == 0
    assert all(each["state"] == "missing" for each in plan.sets)


def test_a_pace_is_told_where_such_a_network_was_trained(data: FeatureStore) -> None:
    asked = {**ASKED, "settings": {"head.layer": "3", "epochs": 2}}
    (plan,) = histokit.finetune.plan_training(data, "cells", "tiny", **asked)
    assert plan.seconds is None
    assert "is known once" in plan.expectation
    (run,) = histokit.finetune(data, "cells", "tiny", **asked)
    (other,) = histokit.finetune.plan_training(data, "cells", "tiny", seed=1, **asked)
    assert other.seconds == pytest.approx(run.seconds, abs=0.06)
    assert "as fast as before" in other.expectation


@pytest.fixture
def command(data: FeatureStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("HISTOKIT_STORE", str(data.uri))
    return CommandLine(capsys)


def test_the_command_says_what_would_be_trained(command: CommandLine) -> None:
    asked = [
        "finetune",
        "cells",
        "--backbone",
        "tiny",
        "--weights",
        "random",
        "--set",
        "head.layer=3",
        "--workers",
        "0",
    ]
    asked += ["--split", "leave-one-group-out", "--set", "epochs=1"]
    dry = command.ok(*asked, "--dry-run")
    assert "5 of 5 training sets are not done" in dry.err
    assert max(map(len, dry.err.partition(" stage")[2].split("of 5 training")[0].splitlines())) <= 80
    assert "bright" in dry.err
    assert "final" in dry.err
    assert json.loads(command.ok("list", "runs", "--json").out)["runs"] == []
    document = json.loads(command.ok(*asked, "--dry-run", "--repeats", "2", "--json").out)
    assert len({plan["run"] for plan in document["runs"]}) == 2
    assert dry.out == command.ok(*asked).out, "the id is that of the run"
    assert "is stored: nothing is to be done" in command.ok(*asked, "--dry-run").err
    assert "5 of 5 training sets are not done" in command.ok(*asked, "--dry-run", "--force").err


def test_mistakes_are_told_by_a_plan_too(command: CommandLine, tmp_path: Path) -> None:
    asked = ["finetune", "cells", "--backbone", "tiny", "--weights", "random", "--dry-run"]
    assert "has no module 'nonsense'" in command.fails(*asked, "--set", "train=nonsense", code=2).err
    assert "There is no store" in command.fails(*asked, "--store", tmp_path / "none", code=5).err
    with pytest.raises(UsageError, match="--repeats 0 is not"):
        histokit.finetune.plan_training(tmp_path / "none", "cells", "tiny", repeats=0)


def test_a_run_that_is_stored_needs_no_network(data: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**ASKED, "settings": {"head.layer": "3", "epochs": 1}}
    (run,) = histokit.finetune(data, "cells", "tiny", **asked)
    monkeypatch.setattr(network_trainer, "build_trainable", lambda *_, **__: pytest.fail("a network is built"))
    (plan,) = histokit.finetune.plan_training(data, "cells", "tiny", **asked)
    assert (plan.run, plan.stored, plan.parameters, plan.images) == (run.id, True, None, 0)
    assert [each["train"] + each["validation"] for each in plan.sets] == [fold["train"] for fold in run.folds]
    assert "parameters" not in plan.described
