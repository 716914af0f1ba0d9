import signal
from dataclasses import replace

import pytest

from histokit.errors import StoreError, UsageError
from histokit.features import open_store
from histokit.figures import curve_figure
from histokit.protocol import elimination_paths
from histokit.select import kept_by_layer
from histokit.select.select import select
from histokit.store.unfinished import Unfinished
from tests.cli.command_line import run_process
from tests.toy import make_samples, make_store

pytestmark = pytest.mark.usefixtures("few_trees")

FAST = {"step": 0.5, "inner_folds": 2}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})


def test_one_selection_for_each_fold_and_one_for_all(toy):
    calls = []
    found = select(toy, "toy", "net/first+net/last", **FAST, progress=lambda *a: calls.append(a))
    assert [f["fold"] for f in found.folds] == [0, 1, 2, 3, 4, 5]
    assert found.kept["fold"] is None
    # Column 2 of each layer is the informative one.
    assert any(column in found.kept["columns"] for column in (2, 6))
    names = [f"net/first[{c}]" for c in range(4)] + [f"net/last[{c}]" for c in range(8)]
    assert found.provenance == [names[c] for c in found.kept["columns"]]
    assert len(found.kept["ranking"]) == len(found.kept["importances"]) == 12
    assert [len(line) for line in found.kept["scores"]] == [2] * len(found.kept["curve"])
    assert calls[-1][0] == calls[-1][1]
    assert toy.selection(found.id) == found


def test_training_sets_that_are_the_same_count_once(toy):
    calls = []
    select(toy, "toy", "net/last", **{**FAST, "split": "holdout"}, progress=lambda *a: calls.append(a))
    # Two inner folds and one path for all, each in hundredths.
    assert {total for _, total, _ in calls} == {300}
    assert calls[-1][0] == calls[-1][1]


def test_kept_columns_are_counted_by_layer(toy):
    found = select(toy, "toy", "net/first+net/last", **FAST)
    first, last = kept_by_layer(found)
    assert (first["network"], first["layer"], first["columns"]) == ("net", "first", 4)
    assert (last["network"], last["layer"], last["columns"]) == ("net", "last", 8)
    assert first["names"] + last["names"] == found.provenance
    assert first["kept"] == sum(column < 4 for column in found.kept["columns"])
    assert first["kept"] + last["kept"] == found.kept["k_min"]
    # The first and the last column of each layer are that layer's.
    edges = replace(found, kept={"columns": [0, 3, 4, 11]}, provenance=["a", "b", "c", "d"])
    assert [(part["kept"], part["names"]) for part in kept_by_layer(edges)] == [(2, ["a", "b"]), (2, ["c", "d"])]
    inner = replace(found, kept=None, provenance=[])
    assert [part["kept"] for part in kept_by_layer(inner)] == [0, 0]


def test_test_samples_are_never_used(toy):
    found = select(toy, "toy", "net/last", **FAST)
    used = {(u["repeat"], u["fold"]): set(u["ids"]) for u in found.fitted_on}
    for fold in toy.split("toy", "cv").folds():
        assert used[fold.repeat, fold.fold] == set(fold.train)
        assert used[fold.repeat, fold.fold].isdisjoint(fold.test)
    assert len(used[None, None]) == 60


def test_a_holdout_is_selected_once(toy):
    found = select(toy, "toy", "net/last", split="holdout", **FAST)
    assert found.kept["columns"] == found.folds[0]["columns"]
    (fold,) = toy.split("toy", "holdout").folds()
    assert set(found.fitted_on[-1]["ids"]) == set(fold.train)


def test_a_repeat_answers_from_the_store(toy):
    found = select(toy, "toy", "net/last", **FAST)
    assert select(toy, "toy", "net/last", **FAST) == found
    assert select(toy, "toy", "net/last", **FAST, seed=1).id != found.id
    assert select(toy, "toy", "net/last", step="0.5", inner_folds=2) == found


def test_wrong_use(toy):
    with pytest.raises(UsageError, match="no selection method"):
        select(toy, "toy", "net/last", method="rfa")
    with pytest.raises(UsageError, match="some is no step"):
        select(toy, "toy", "net/last", step="some")
    with pytest.raises(StoreError, match="stands for several"):
        select(toy, "toy", "net/each")


STOPPED = """
import os, signal, sys
from histokit.features import open_store
from histokit.protocol import elimination, elimination_paths
from histokit.select.select import select
elimination._TREES["trees"] = 5
# Kills the process while the given number of stretches is stored.
save, left = None, int(sys.argv[2])
from histokit.store.unfinished import Unfinished
from histokit.store.unfinished import Unfinished
save = Unfinished.save
def saving(self, *arguments):
    global left
    save(self, *arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
Unfinished.save = saving
select(open_store(sys.argv[1]), "toy", "net/last", step=0.5, inner_folds=2)
"""


def test_a_killed_selection_goes_on_and_ends_the_same(toy, tmp_path, monkeypatch):
    samples, X = make_samples()
    other = make_store(tmp_path / "other", samples, {"first": X[:, :4], "last": X})
    walks = []
    monkeypatch.setattr(elimination_paths, "walk", lambda *arguments: walks.append(1) or _walk(*arguments))
    whole = select(other, "toy", "net/last", **FAST)
    # Six outer folds and all samples, each with two inner folds and one path for the order.
    assert len(walks) == 21
    assert Unfinished(other.database).read(whole.id) == {}
    assert run_process(toy.uri, 8, code=STOPPED).returncode == -signal.SIGKILL
    assert len(Unfinished(toy.database).read(whole.id)) == 8
    assert not toy.has_selection(whole.id)
    walks.clear()
    resumed = select(open_store(toy.uri), "toy", "net/last", **FAST)
    assert len(walks) == 13
    kept = {k: v for k, v in resumed.to_json().items() if k not in ("seconds", "created")}
    assert kept == {k: v for k, v in whole.to_json().items() if k not in ("seconds", "created")}
    assert Unfinished(toy.database).read(whole.id) == {}


_walk = elimination_paths.walk


def test_what_nobody_asked_for_in_a_month_is_forgotten(toy, monkeypatch):
    from histokit.store import unfinished as module

    kept = Unfinished(toy.database)
    kept.save("old", "a", {"order": [1]})
    kept.save("mine", "a", {"order": [2]})
    kept.save("mine", "b", {"order": [3]})
    assert kept.read("mine") == {"a": {"order": [2]}, "b": {"order": [3]}}
    kept.forget("mine")
    assert (kept.read("mine"), list(kept.read("old"))) == ({}, ["a"])
    monkeypatch.setattr(module, "FORGOTTEN_AFTER", -module.FORGOTTEN_AFTER)
    kept.forget("mine")
    assert kept.read("old") == {}


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_curve_is_drawn_the_same_each_time(toy, tmp_path, ending):
    found = select(toy, "toy", "net/last", split="holdout", **FAST)
    one, other = (curve_figure(found, tmp_path / f"{name}.{ending}") for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert len(one.read_bytes()) > 5_000
    if ending == "svg":
        text = one.read_text()
        best, least = found.kept["k_best"], found.kept["k_min"]
        lines = [f"k_best {best}", f"k_min {least}"] if best != least else [f"k_best and k_min {best}"]
        for mark in (*lines, "the best less 0.005"):
            assert f"<!-- {mark}" in text


def test_a_figure_that_cannot_be_written(toy, tmp_path):
    found = select(toy, "toy", "net/last", split="holdout", **FAST)
    for path in (tmp_path / "nowhere" / "a.png", tmp_path / "a.xyz"):
        with pytest.raises(UsageError, match="cannot be written"):
            curve_figure(found, path)
