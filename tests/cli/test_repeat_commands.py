"""The commands that are told to make something again are whole: they ask the same question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import split as words

import pytest
from tiny_plugin import TinyPlugin

from histokit.features import open_store
from histokit.store.repeat_commands import ingest_command, run_command, selection_command, split_command
from tests.cli.command_line import CommandLine
from tests.cli.conftest import PATTERN

ONE = ["--features", "tiny/1"]
TRAININGS = (
    [*ONE, "--classifier", "knn", "--grid", "k=1,3", "--grid", "metric=cosine,euclidean", "--scale"],
    [*ONE, "--classifier", "logreg", "--class-weight", "balanced", "--where", "patient <> 'p 9'", "--seed", "3"],
    [*ONE, "--classifier", "et", "--rfe", "--metric", "balanced_accuracy", "--split", "two"],
    [*ONE, "--classifier", "svm", "--normalise", "standardise", "--controls", "patient = 'p1'", "--solver", "sklearn"],
    [*ONE, "--features", "tiny/3", "--classifier", "knn", "--choose", "inner", "--inner-folds", "2"],
)
SPLITS = (
    ["--folds", "3", "--repeats", "2", "--seed", "5"],
    ["--test", "0.5", "--train-groups", "2"],
    ["--leave-one-group-out", "--group", "patient"],
    ["--folds", "2", "--ignore-groups"],
    ["--test-where", "patient = 'p1' OR id LIKE 'p2/%'"],
    ["--within", "leave-one-group-out", "--train-per-class", "1", "--repeats", "3", "--seed", "4"],
)


@pytest.mark.parametrize("asked", TRAININGS, ids=lambda asked: " ".join(asked[2:6]))
def test_the_command_of_a_run_is_answered_by_that_run(extracted: CommandLine, tmp_path: Path, asked: list[str]) -> None:
    extracted.ok("split", "cells", "--name", "two", "--folds", "2")
    first = extracted.ok("train", "cells", *asked).out.split()[-1]
    store = open_store(tmp_path / "store")
    there = {run.id for run in store.runs()}
    program, *again = words(run_command(store.run(first)))
    assert program == "histokit"
    assert extracted.ok(*again).out.split()[-1] == first
    assert {run.id for run in open_store(tmp_path / "store").runs()} == there


@pytest.mark.parametrize("asked", SPLITS, ids=lambda asked: asked[0])
def test_the_command_of_a_split_draws_the_same_rows(ingested: CommandLine, tmp_path: Path, asked: list[str]) -> None:
    ingested.ok("split", "cells", "--name", "mine", *asked)
    made = open_store(tmp_path / "store").split("cells", "mine")
    ingested.ok("split", "cells", "--name", "mine", "--test", "0.3", "--seed", "77")
    _, *again = words(split_command(made) or "")
    ingested.ok(*again)
    assert open_store(tmp_path / "store").split("cells", "mine").digest == made.digest


def test_the_command_of_a_selection_is_answered_by_it(extracted: CommandLine, tmp_path: Path) -> None:
    asked = ["--tolerance", "0.02", "--step", "2", "--inner-folds", "2", "--seed", "1", "--metric", "f1_macro"]
    first = extracted.ok("select", "cells", *ONE, *asked).out.strip()
    store = open_store(tmp_path / "store")
    _, *again = words(selection_command(store.selection(first)))
    assert extracted.ok(*again).out.strip() == first
    assert len(store.selections()) == 1


def test_splits_that_ingestion_or_a_training_makes_need_no_command(extracted: CommandLine, tmp_path: Path) -> None:
    extracted.ok("train", "cells", *ONE, "--classifier", "knn")
    assert split_command(open_store(tmp_path / "store").split("cells", "cv")) is None


def test_commands_go_on_without_what_was_left_out(
    ingested: CommandLine, tiny: TinyPlugin, images: Path, tmp_path: Path
) -> None:
    (images / "p1" / "dark" / "0.png").write_bytes(b"no image")
    store = tmp_path / "store"
    for command in (ingest_command(open_store(store).dataset("cells")), "histokit extract cells --backbone tiny"):
        ingested(*words(command)[1:])
    selected = ingested.ok("select", "cells", *ONE, "--inner-folds", "2", "--allow-missing").out.strip()
    trained = ingested.ok("train", "cells", *ONE, "--classifier", "knn", "--allow-missing").out.strip()
    for command, answer in (
        (selection_command(open_store(store).selection(selected)), selected),
        (run_command(open_store(store).run(trained)), trained),
    ):
        assert ingested.ok(*words(command)[1:]).out.strip() == answer


def test_the_command_of_a_dataset_has_the_options_that_were_given(ingested: CommandLine, images: Path) -> None:
    ingested.ok("ingest", "folder", images, "--name", "twice", "-o", PATTERN, "-o", "group=patient", "-o", "scale=full")
    ingested.ok("ingest", "synthetic", images, "--name", "drawn", "-o", "slides=2", "-o", "per_slide=3", "-o", "seed=1")
    store = open_store(images.parent / "store")
    for name in ("cells", "twice"):
        command = f"histokit ingest folder {images} --name {name} -o '{PATTERN}' -o group=patient"
        assert ingest_command(store.dataset(name)) == command
    asked = "-o slides=2 -o per_slide=3 -o seed=1"
    assert ingest_command(store.dataset("drawn")) == f"histokit ingest synthetic {images} --name drawn {asked}"
    gone = replace(store.dataset("drawn"), plugin="gone")
    assert "-o size=" in ingest_command(gone), "what the options of this plugin usually are is not known"
