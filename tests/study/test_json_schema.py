"""The JSON Schema of study files takes what the reader takes, and refuses what it refuses by its form."""

from __future__ import annotations

import tomllib

import pytest
from jsonschema import Draft202012Validator

from histokit.study.json_schema import study_schema
from histokit.study.strategies import STRATEGIES
from tests.cli.command_line import CommandLine
from tests.study.small_study import FILE
from tests.study.test_networks_trained import TRAINED

VALIDATOR = Draft202012Validator(study_schema())


def wrong(text: str) -> list[str]:
    """The places of what is wrong."""
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_it_is_a_schema_and_studies_fit_it() -> None:
    Draft202012Validator.check_schema(study_schema())
    assert wrong(FILE) == []
    assert wrong(TRAINED.replace("{{", "{").replace("}}", "}")) == []
    assert wrong('datasets = ["a"]\nbackbones = ["resnet50"]\nsplit = "cv"\nstrategies = ["Last_layer"]\n') == []
    assert VALIDATOR.schema["properties"]["strategies"]["items"]["anyOf"][0] == {"enum": list(STRATEGIES)}


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("inner_folds = 2", "inner_folds = 1", "inner_folds"),
        ("inner_folds = 2", "inner_fold = 2", ""),
        ("split = { test = 0.25 }", "split = { test = 1.5 }", "split"),
        ('weights = "random:5"', "weights = 5", "backbones"),
        ("step = 5", 'step = "five"', "strategy.feature selection.step"),
        ("bootstrap = 20", "bootstrap = 0", "compare.bootstrap"),
        ("step = 5", "step = 0", "strategy.feature selection.step"),
        ("split = { test = 0.25 }", "split = {}", "split"),
        ('plugin = "folder"', "plugin = true", "datasets"),
        ('["svm", "knn"]', '["svn"]', "classifiers.0"),
        ('["svm", "knn"]', '["et-fl"]', "classifiers.0"),
        ("[classifier.knn.grid]", "[classifier.nkk.grid]", "classifier"),
        ("inner_folds = 2", 'precision = "float8"', "precision"),
        ("inner_folds = 2", 'engine = "torhc"', "engine"),
        ("inner_folds = 2", 'device = "gpu"', "device"),
        ("inner_folds = 2", 'metric = "acuracy"', "metric"),
        ("[compare]", '[strategy."inner layers"]\nchoose = "outer"\n[compare]', "strategy.inner layers.choose"),
    ],
)
def test_what_cannot_be_meant_is_told_at_its_place(before: str, after: str, place: str) -> None:
    assert before in FILE
    assert wrong(FILE.replace(before, after, 1)) == [place]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    line = CommandLine(capsys)
    assert line.ok("study", "schema").document == study_schema() == line.ok("study", "schema", "--json").document
