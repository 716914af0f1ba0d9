"""What is told of a split that takes the place of another one, or that shares draws with one."""

import pytest

import histokit
from histokit.store.split_records import Split, split_rows
from tests.toy import make_samples, make_store

KNN = {"classifier": "knn", "grid": {"k": 1}}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(n=60, patient=[f"patient {i % 6 // 2}" for i in range(60)])
    return make_store(tmp_path / "store", samples, {"last": X})


def told(store, said, name, **how):
    return [note for note in histokit.split(store, "toy", name, **how).params.get("notes", []) if said in note]


def test_draws_are_shared_with_splits_that_are_made_in_the_same_way_alone(toy):
    shared = "draws test the same samples as draws of the split 'one'"
    histokit.split(toy, "toy", "one", folds=2, repeats=2)
    assert told(toy, "test the same", "other-groups", folds=2, repeats=2, seed=1, group="patient") == []
    assert told(toy, "test the same", "other-folds", folds=3, repeats=2, seed=1) == []
    (note,) = told(toy, "test the same", "single", folds=2, seed=1)
    assert note.startswith(f"1 of 1 {shared}")
    assert "to draw others, --seed 2" in note
    # In its own place, it shares nothing with what was there.
    assert told(toy, "draws of the split 'one'", "one", folds=2, repeats=2, seed=1) == []


def test_runs_are_on_the_split_that_they_were_made_on_alone(toy):
    histokit.split(toy, "toy", "two", folds=2)
    (run,) = histokit.train(toy, "toy", "net/last", split="two", **KNN)
    (note,) = told(toy, "took the place", "two", folds=2, seed=1)
    assert f"1 run ({run.id}) of it keep" in note
    assert told(toy, "took the place", "two", folds=2, seed=2) == [], "nothing is on the second one"


def test_selections_alone_are_told_as_well(toy, few_trees):
    histokit.split(toy, "toy", "two", folds=2)
    selection = histokit.select(toy, "toy", "net/last", split="two", inner_folds=2)
    (note,) = told(toy, "took the place", "two", folds=2, seed=1)
    assert f"whose folds 1 selection ({selection.id}) of it keep" in note
    assert "to have both: histokit split toy --name OTHER" in note


def test_folds_of_the_data_are_not_to_be_had_by_a_command(toy):
    samples = toy.samples("toy")
    ids, slides = (samples[name].to_pylist() for name in ("id", "slide"))
    rows = [(0, 0, i, "test" if slide in ("P0", "P1") else "train") for i, slide in zip(ids, slides, strict=True)]
    toy.save_split(Split("toy", "published", split_rows(rows), "slide", source="published"))
    histokit.train(toy, "toy", "net/last", split="published", **KNN)
    (note,) = told(toy, "took the place", "published", folds=2)
    assert note.endswith("they are not paired with runs on this one; choose another --name")
