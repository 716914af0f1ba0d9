"""A classifier is one row: whatever needs to know something of it reads it there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sklearn.naive_bayes import GaussianNB

from histokit.classifiers.row import Classifier, Cost, Parameter, positive
from histokit.classifiers.table import CLASSIFIERS, REGRESSORS
from histokit.errors import ExitCode
from histokit.named_objects import named_object
from histokit.plugin.testing import added_plugin
from tests.cli.command_line import CommandLine
from tests.durability.forks import TwoNetworks
from tests.study.small_study import write_study
from tests.toy import make_samples, make_store

STUDY = """\
strategies = ["last layer"]
classifiers = ["svm", "bayes"]
inner_folds = 2
split = { test = 0.25 }
[datasets.cells]
plugin = "folder"
root = "cells"
options = { pattern = "{patient}/{label}/*.png", group = "patient" }
[backbones.tiny]
"""

ROW = Classifier(
    "normal distributions of independent columns",
    "sklearn.naive_bayes:GaussianNB",
    {},
    {"smoothing": Parameter("var_smoothing", positive, (1e-1, 1e-9), complex="small")},
    Cost(4000.0, rows=0.0, columns=0.0, classes=0.0, of_setting=lambda setting: 2.0),
    weighted=False,
    seeded=False,
    colour="#123456",
)


class Strange(GaussianNB):  # type: ignore[misc]
    """What skops does not know, and does not load by itself."""

    rows: ClassVar[list[int]] = []

    def fit(self, X: Any, y: Any) -> Any:
        """Fit it, and note of how many samples."""
        self.rows.append(len(X))
        return super().fit(X, y)


@pytest.fixture
def histokit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    monkeypatch.setitem(CLASSIFIERS, "bayes", ROW)
    with added_plugin(TwoNetworks(), "twonetworks"):
        yield CommandLine(capsys)


@pytest.mark.parametrize(
    "row",
    [*CLASSIFIERS.values(), *REGRESSORS.values(), ROW],
    ids=[*CLASSIFIERS, *(f"{name} of numbers" for name in REGRESSORS), "bayes"],
)
def test_a_row_says_of_its_estimator_what_is_so(row: Classifier) -> None:
    estimator = named_object(row.estimator)
    takes = set(inspect.signature(estimator).parameters)
    given = {*row.fixed, *(parameter.name for parameter in row.parameters.values()), *row.limits}
    assert not given - takes, f"{row.estimator} takes no such arguments"
    assert not row.seeded or "random_state" in takes, "it cannot be given a seed"
    assert row.weighted == ("class_weight" in takes), "whether it takes class weights"
    assert set(row.limits.values()) <= {"rows", "columns"}
    methods = {"probability": "predict_proba", "decision": "decision_function", "value": "predict"}
    assert hasattr(estimator, methods[row.kind]), f"it gives no scores of the kind {row.kind}"
    assert not row.solver or find_spec(f"histokit.classifiers.solvers.{row.solver}"), "there is no such solver"
    for name in row.stored_types:
        assert named_object(":".join(name.rsplit(".", 1))), "what is stored can be read back"
    for search in row.searches.values():
        assert set(search) <= set(row.parameters), "a search goes through parameters"
    for name, parameter in row.parameters.items():
        assert parameter.default, f"nothing is tried of {name}"
        assert parameter.complex in ("", "large", "small")
        if parameter.complex:
            assert list(parameter.default) == sorted(parameter.default, reverse=parameter.complex == "small")


def test_one_row_is_enough_for_every_command(histokit: CommandLine, tmp_path: Path) -> None:
    file, store = write_study(tmp_path, STUDY), ("--store", tmp_path / "store")

    def planned() -> dict[str, tuple[float, str]]:
        pieces = histokit.ok(*store, "study", "plan", file, "--json").document["pieces"]
        return {p["classifier"]: (p["seconds"], p["estimate"]) for p in pieces if p["kind"] == "train"}

    # One outer fold of two settings in two inner folds: five fits, where five inner folds are eleven.
    assert planned()["bayes"] == (pytest.approx(0.3 + 4000 * 5 / 11), "typical")
    histokit.ok(*store, "study", "run", file)
    assert planned() == {"svm": (0.0, None), "bayes": (0.0, None)}
    runs = {row["classifier"]: row["run"] for row in histokit.ok(*store, "list", "runs", "--json").document["runs"]}
    assert set(runs) == {"svm", "bayes"}

    (found,) = histokit.ok(*store, "evaluate", runs["bayes"], "--json").document["runs"]
    assert found["classifier"] == "bayes"
    assert histokit.ok(*store, "predict", runs["bayes"], "cells").out.strip()
    compared = histokit.ok(*store, "compare", *runs.values(), "--bootstrap", 5, "--json").document
    assert {method["method"] for method in compared["methods"]} == {"svm", "bayes"}

    # What its first run took corrects what the next one will take.
    file.write_text(STUDY.replace("classifiers", "seed = 1\nclassifiers"))
    seconds, estimate = planned()["bayes"]
    assert estimate == "measured"
    assert seconds < 100
    ask = (*store, "train", "cells", "--features", "tiny/last", "--split", "cv", "--classifier", "bayes")
    assert histokit.ok(*ask, "--grid", "smoothing=1e-9,1e-1").out == histokit.ok(*ask).out, "simple ones come first"


def test_types_that_its_row_does_not_name_are_told_before_the_training(
    histokit: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = f"{Strange.__module__}:Strange"
    monkeypatch.setitem(CLASSIFIERS, "bayes", replace(ROW, estimator=made))
    samples, X = make_samples(n=24, slides=6)
    store = make_store(tmp_path / "store", samples, {"last": X})
    ask = ("--store", store.uri, "train", "toy", "--features", "net/last", "--classifier", "bayes")
    Strange.rows.clear()
    told = histokit(*ask)
    assert told.code == ExitCode.BUG
    assert "Strange, which the row of its classifier is to name in stored_types" in told.err
    assert Strange.rows == [8]
    monkeypatch.setitem(CLASSIFIERS, "bayes", replace(ROW, estimator=made, stored_types=(made.replace(":", "."),)))
    histokit.ok(*ask, "--inner-folds", 2)
    assert histokit.ok(*ask, "--inner-folds", 2).out.strip()


def test_its_name_is_in_the_help_and_its_parameters_in_messages(histokit: CommandLine, tmp_path: Path) -> None:
    assert "|bayes" in "".join(histokit.ok("train", "--help").out.split())
    ask = ("--store", tmp_path / "store", "train", "d", "--features", "net/last", "--classifier")
    assert "Did you mean 'bayes'" in histokit.fails(*ask, "bays", code=2).err
    assert "Its parameters are: smoothing" in histokit.fails(*ask, "bayes", "--grid", "smooth=1", code=2).err
    assert "takes no class weights" in histokit.fails(*ask, "bayes", "--class-weight", "balanced", code=2).err
    assert "cannot be '0'" in histokit.fails(*ask, "bayes", "--grid", "smoothing=0", code=2).err


def test_a_row_on_images_is_told_in_the_help(histokit: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "bayes", replace(ROW, pixels=True))
    assert "et-fl, bayes: on images" in " ".join(histokit.ok("train", "--help").out.split())


def test_classifiers_are_listed_with_what_is_tried(histokit: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Parameter("kernel", str, ("linear", "poly", None, 2.0, "cosine"))
    monkeypatch.setitem(CLASSIFIERS, "kernels", replace(ROW, parameters={"kernel": kernels}))
    listed = histokit.ok("list", "classifiers", "--json").document["classifiers"]
    rows = {(row["name"], row["predicts"]): row for row in listed}
    assert rows["bayes", "classes"]["grid"] == {"smoothing": [0.1, 1e-9]}
    assert rows["svm", "classes"]["grid"]["C"] == pytest.approx([10.0**k for k in range(-10, 2)])
    assert {name for name, predicts in rows if predicts == "numbers"} == {"ridge", "svr", "et", "knn"}
    assert [name for (name, _), row in rows.items() if row["trained_on"] == "images"] == ["et-fl"]
    shown = histokit.ok("list", "classifiers").out
    assert "smoothing=0.1,1e-09" in shown
    assert "C=1e-10..10 (12)" in shown
    assert "kernel=linear..cosine (5)" in shown
