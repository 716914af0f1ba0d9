"""Folds that train neither on the compound nor on the batch of what is tested."""

import numpy as np
import pytest

from histokit.errors import DataError, LeakageError, UsageError
from histokit.features import open_store
from histokit.protocol import barred
from histokit.protocol.named_split import split
from histokit.protocol.splits import resolve_split
from histokit.train.train import train
from tests.cli.command_line import CommandLine
from tests.toy import make_store

#: Compound, mechanism, batch and the number that is its profile. Within a batch profiles of all mechanisms are near.
PROFILES = [
    ("C1", "x", "week1", 1.00),
    ("C1", "x", "week2", 9.00),
    ("C2", "x", "week2", 10.0),
    ("C3", "x", "week1", 1.50),
    ("C4", "y", "week1", 1.04),
    ("C5", "y", "week2", 9.96),
    ("C5", "y", "week2", 8.96),
    ("C6", "z", "week3", 5.0),
    ("C7", "z", "week3", 5.1),
]
TOLD = (
    "2 of 9 samples are not tested, since outside their compound and batch no sample of their class is left to train "
    "on: 'z' (2 samples, all in the batch 'week3'); they are trained on where others are tested"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    return make(tmp_path / "store")


def make(folder, **changes):
    names = ("compound", "label", "batch")
    samples = {"id": [f"p{number}" for number in range(len(PROFILES))]}
    samples |= {name: [profile[place] for profile in PROFILES] for place, name in enumerate(names)}
    X = [[profile[3], 0.0] for profile in PROFILES]
    return make_store(folder, samples | changes, {"last": np.array(X)}, group="compound")


def test_no_training_sample_is_of_the_compound_or_of_the_batch(store, capsys):
    histokit = CommandLine(capsys)
    done = histokit.ok("split", "toy", "--name", "nscb", "--leave-one-group-out", "--bar", "batch")
    assert TOLD in done.err
    folds = resolve_split(store, "toy", "nscb").folds()
    fact = {f"p{number}": profile for number, profile in enumerate(PROFILES)}
    tested = []
    for fold in folds:
        for place in (0, 2):
            assert not {fact[i][place] for i in fold.test} & {fact[i][place] for i in fold.train}
        tested.append(sorted(fold.test))
    # One for each pair of compound and batch; what is neither is trained on, the untested class as well.
    assert tested == [["p0"], ["p1"], ["p2"], ["p3"], ["p4"], ["p5", "p6"]]
    assert [sorted(fold.train) for fold in folds][:2] == [["p2", "p5", "p6", "p7", "p8"], ["p3", "p4", "p7", "p8"]]


def test_neighbours_of_the_batch_do_not_help_any_more(store):
    how = {"classifier": "knn", "grid": {"k": 1, "metric": "euclidean"}}
    split(store, "toy", "nscb", leave_one_group_out=True, bar="batch")
    (plain,) = train(store, "toy", "net/last", split="leave-one-group-out", **how)
    (barred,) = train(store, "toy", "net/last", split="nscb", **how)
    assert TOLD in barred.notes
    taken = {
        run.id: dict(zip(*(store.predictions(run.id)[name].to_pylist() for name in ("id", "predicted")), strict=True))
        for run in (plain, barred)
    }
    assert taken[plain.id]["p0"] == "y", "its neighbour in the batch"
    # Of other compounds and batches, z at 5.0 is nearest to what lies below 5 in week1, and to p1 and p6 in week2.
    assert taken[barred.id] == {"p0": "z", "p1": "z", "p2": "z", "p3": "z", "p4": "z", "p5": "z", "p6": "z"}
    (left,) = train(store, "toy", "net/last", split="nscb", where="label <> 'z'", **how)
    found = dict(zip(*(store.predictions(left.id)[name].to_pylist() for name in ("id", "predicted")), strict=True))
    # To week1 p6 (8.96, y) is nearest, to week2 p3 (1.5, x).
    assert found == {"p0": "y", "p1": "x", "p2": "x", "p3": "y", "p4": "y", "p5": "x", "p6": "x"}


def test_units_lie_in_one_batch_each(store):
    split(store, "toy", "nscb", leave_one_group_out=True, bar="batch")
    how = {"classifier": "knn", "grid": {"k": 1}, "split": "nscb"}
    with pytest.raises(DataError, match="1 unit holds samples of several values of batch, such as 'C1'"):
        train(store, "toy", "net/last", aggregate="compound:median", **how)
    (run,) = train(store, "toy", "net/last", aggregate="compound:median", where="id <> 'p1'", **how)
    assert sorted(store.predictions(run.id)["id"].to_pylist()) == ["C1", "C2", "C3", "C4", "C5"]


def test_what_is_drawn_within_bars_the_same_batches(store, tmp_path):
    split(store, "toy", "whole", leave_one_group_out=True, bar="batch")
    split(store, "toy", "few", within="whole", train_per_class=1, repeats=2)
    drawn = split(store, "toy", "nscb", within="few", train_per_class=1, repeats=2)
    fact = {f"p{number}": profile for number, profile in enumerate(PROFILES)}
    for fold in drawn.folds():
        assert not {fact[i][2] for i in fold.test} & {fact[i][2] for i in fold.train}
    assert drawn.params["notes"] == [TOLD]
    how = {"classifier": "knn", "grid": {"k": 1}, "split": "nscb"}
    with pytest.raises(DataError, match="1 unit holds samples of several values of batch, such as 'C1'"):
        train(store, "toy", "net/last", aggregate="compound:median", **how)
    make(tmp_path / "store", batch=["week1"] * 9)
    with pytest.raises(LeakageError, match="batch week1 is in training and in test"):
        train(open_store(tmp_path / "store"), "toy", "net/last", **how)


def test_batches_that_were_corrected_after_the_split_was_made(tmp_path):
    split(make(tmp_path), "toy", "nscb", leave_one_group_out=True, bar="batch")
    make(tmp_path, batch=["week1"] * 9)
    with pytest.raises(LeakageError, match="batch week1 is in training and in test"):
        train(open_store(tmp_path), "toy", "net/last", "knn", split="nscb")


def test_wrong_use(store, tmp_path):
    def made(data=store, **how):
        return split(data, "toy", "nscb", **({"leave_one_group_out": True, "bar": "batch"} | how))

    with pytest.raises(UsageError, match="no column 'batsch'") as caught:
        made(bar="batsch")
    assert "Did you mean 'batch'" in caught.value.next
    with pytest.raises(UsageError, match="--bar is for one fold for each group"):
        made(leave_one_group_out=False, folds=2)
    with pytest.raises(UsageError, match="compound is the group that is left out already"):
        made(bar="compound")
    with pytest.raises(DataError, match="1 sample has no value of 'batch', such as 'p2'"):
        made(make(tmp_path / "gap", batch=["w", "w", None, *["w"] * 6]))
    with pytest.raises(DataError, match="no other one of its class is left to train on"):
        made(make(tmp_path / "one", batch=["w"] * 9))


def test_a_class_that_is_not_tested_in_one_of_its_batches_is_not_said_to_be_in_that_alone(tmp_path):
    # z is of C6 in week3 and week4, and of C7 in week3: of the first alone all others are of the compound or the batch.
    profiles = [("C1", "x", "week1"), ("C2", "x", "week2"), ("C6", "z", "week3"), ("C6", "z", "week4")]
    profiles.append(("C7", "z", "week3"))
    names = ("compound", "label", "batch")
    samples = {name: [profile[place] for profile in profiles] for place, name in enumerate(names)}
    data = make_store(tmp_path, {"id": list("abcde"), **samples}, {}, group="compound")
    made = split(data, "toy", "nscb", leave_one_group_out=True, bar="batch")
    assert sorted(fold.test for fold in made.folds()) == [["a"], ["b"], ["d"], ["e"]]
    (note,) = made.params["notes"]
    assert note == (
        "1 of 5 samples is not tested, since outside its compound and batch no sample of its class is left to train "
        "on: 'z' (1 sample); it is trained on where others are tested"
    )


def test_more_compounds_in_batches_than_folds_can_be_numbered(store, monkeypatch):
    for most in (6, 5):
        monkeypatch.setattr(barred, "MOST_FOLDS", most)
        if most == 6:
            assert len(split(store, "toy", "nscb", leave_one_group_out=True, bar="batch").folds()) == 6
            continue
        with pytest.raises(DataError, match="There are 6 pairs of compound and batch; a split has at most 5 folds"):
            split(store, "toy", "nscb", leave_one_group_out=True, bar="batch")
