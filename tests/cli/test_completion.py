"""What the shell offers after the tab key."""

import subprocess
import sys

import pytest

import histokit as library
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


def test_the_shell_gets_its_script():
    # From a shell, by which it is recognised.
    command = f"{sys.executable} -m histokit --show-completion; exit $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert "_HISTOKIT_COMPLETE=complete_" in done.stdout
