"""What the shell offers after the tab key."""

import re
import subprocess
import sys
from dataclasses import fields

import pytest

import histokit as library
from histokit.classifiers.table import SOLVERS
from histokit.classifiers.table import names as classifiers
from histokit.errors import ExitCode
from histokit.explain.activation_maximisation import FilterRecipe
from histokit.features.normalisation import METHODS as NORMALISATIONS
from histokit.features.slide_files import LAYOUTS
from histokit.figures import figures_of, table
from histokit.neighbours.neighbours import METRICS as NEIGHBOURS
from histokit.neighbours.scatter import METHODS as SCATTER
from histokit.networks.requests import ENGINES, PRECISIONS
from histokit.select.select_options import METHODS as SELECT
from tests.store.made import count_opened
from tests.toy import make_samples, make_store


@pytest.fixture
def complete(tmp_path, capsys, monkeypatch):
    from histokit import cli

    def run(words):
        monkeypatch.setenv("_HISTOKIT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"histokit {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(f"histokit {words}".split(" ")) - 1))
        capsys.readouterr()
        assert cli.run([]) == 0
        monkeypatch.delenv("_HISTOKIT_COMPLETE")
        return capsys.readouterr().out.split()

    return run


def test_names_are_offered(extracted, complete, monkeypatch):
    run = extracted.ok("train", "cells", "--features", "tiny/last", "--grid", "C=1", "--inner-folds", "2").out.strip()
    assert complete("tra") == ["train"]
    assert complete("train c") == ["cells"]
    assert complete("train cells --features ") == ["tiny/0", "tiny/1", "tiny/3"]
    assert complete("train cells --split h") == ["holdout"]
    assert complete("evaluate ") == [run]
    assert complete(f"predict {run} ") == ["cells"]
    assert complete("ingest fol") == ["folder"]
    assert complete("extract cells --backbone resnet5") == ["resnet50"]
    assert complete("plugins check synth") == ["synthetic"]
    assert complete("list splits c") == ["cells"]
    assert complete("train cells --classifier et") == ["et", "et-fl"]
    for command in ("train cells", "select cells", f"evaluate {run}", "compare"):
        assert complete(f"{command} --metric roc") == ["roc_auc"]


def test_splits_and_features_of_the_dataset_on_the_line_are_offered(histokit, complete, tmp_path, monkeypatch):
    samples, X = make_samples(n=8, slides=4)
    for number in range(16):
        store = make_store(tmp_path / "store", samples, {f"layer{number}": X}, name=f"d{number}")
        library.split(store, f"d{number}", f"mine{number}", folds=2)
    opened = count_opened(monkeypatch)
    assert complete("train d3 --split m") == ["mine3"]
    assert complete("train d3 --classifier knn --features ") == ["net/layer3"]
    assert complete("neighbours d3 --split m") == ["mine3"]
    assert opened.total() <= 12
    assert complete("train --split m") == sorted(f"mine{number}" for number in range(16))
    assert complete("train --features ") == sorted(f"net/layer{number}" for number in range(16))
    assert max(opened.values()) <= 6


def test_nothing_is_offered_where_nothing_is_known(histokit, complete, tmp_path):
    (tmp_path / "store").write_text("this is no store")
    assert complete("train ") == []
    assert complete("evaluate ") == []
    assert complete(f"--store {tmp_path} train ") == []


def test_words_that_an_option_takes_are_offered(histokit, complete):
    assert complete("extract d --engine o") == ["openvino"]
    assert complete("extract d --layers ") == ["all", "last"]
    assert complete("explain 12 --class ") == ["predicted", "true"]
    assert complete("train d --channels ") == []
    # Of what may follow a column, nothing stands in its place.
    assert complete("evaluate 12 --by ") == complete("predictions 12 --by ") == []


def test_suffixes_of_readers_are_offered(histokit, complete):
    assert complete("plugins check .pn") == [".png"]


@pytest.mark.parametrize("command", ["compare", "evaluate 12", "select d"])
def test_a_figure_is_offered_and_told_of_where_it_stands_in_the_table(histokit, complete, monkeypatch, command):
    name = command.split()[0]
    new = (name, "mountains", "scores as heights", "tests.figures.test_table:tell")
    monkeypatch.setattr(table, "FIGURES", (*table.FIGURES, new))
    assert complete(f"{command} --figure moun") == ["mountains:"]
    shown = " ".join(histokit.ok(name, "--help").out.split())
    assert all(f"{each} ({shows})" in shown for each, shows in list(figures_of(name).items())[1:])
    assert "mountains (scores as heights)" in shown
    refused = histokit.fails(*command.split(), "--figure", "mountain:a.png", code=ExitCode.USAGE).err
    assert "Did you mean 'mountains'?" in refused


def test_the_only_figure_of_a_command_is_told_of_and_needs_no_name(histokit, complete):
    assert complete("curves 12 --figure c") == []
    assert "Draw loss and metric by epoch as .png" in " ".join(histokit.ok("curves", "--help").out.split())


#: Command, option, and the words that it takes.
WORDS = [
    ("export", "--layout", LAYOUTS),
    ("extract", "--engine", ENGINES),
    ("extract", "--precision", PRECISIONS),
    ("finetune", "--precision", ["auto", *PRECISIONS]),
    ("neighbours", "--metric", NEIGHBOURS),
    ("scatter", "--method", SCATTER),
    ("select", "--method", SELECT),
    ("train", "--classifier", classifiers()),
    ("train", "--normalise", NORMALISATIONS),
    ("train", "--solver", SOLVERS),
    ("explain filters", "--set", [each.name for each in fields(FilterRecipe)]),
]


@pytest.mark.parametrize(("command", "option", "words"), WORDS)
def test_the_help_tells_all_words_of_an_option(histokit, command, option, words):
    told = histokit.ok(*command.split(), "--help").out.split(f"\n  {option} ")[1].split("\n  -")[0]
    assert not [word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told)]


def test_the_shell_gets_its_script():
    # From a shell, by which it is recognised.
    command = f"{sys.executable} -m histokit --show-completion; exit $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert "_HISTOKIT_COMPLETE=complete_" in done.stdout
