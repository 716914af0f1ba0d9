"""A stored selection, and a model, on images that they were fitted on: by whatever name, in whatever dataset."""

from dataclasses import replace

import numpy as np
import pytest

from histokit import split
from histokit.errors import ExitCode, LeakageError
from histokit.plugin.digests import digest_bytes
from histokit.select.select import select
from histokit.store.split_records import Split, split_rows
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.cli.command_line import CommandLine
from tests.toy import make_samples, make_store

pytestmark = pytest.mark.usefixtures("few_trees")

FAST = {"grid": {"k": "1"}}
QUICK = {"step": 0.5, "inner_folds": 2}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"last": X})


def add_copy(toy, known, *, name="copy", prefix="renamed", bytes_of=None):
    """Add a dataset of 30 samples with other names; `known` maps positions in it to samples of the first one."""
    samples, X = make_samples(n=30, seed=7)
    samples["id"] = [f"{prefix}{i}" for i in range(30)]
    samples["content"] = [digest_bytes(b"other", bytes([i])) for i in range(30)]
    first = toy.features("toy", "net/last")
    for position, row in known.items():
        X[position] = first.X[row]
        if bytes_of is None or position in bytes_of:
            samples["content"][position] = first.content[row]
    make_store(toy.uri, samples, {"last": X}, name=name)


def test_a_selection_is_refused_where_its_images_come_again_under_other_names(toy, capsys, monkeypatch):
    chosen = select(toy, "toy", "net/last", **QUICK)
    add_copy(toy, {3: 10, 20: 11})
    with pytest.raises(LeakageError, match=rf"selection {chosen.id} was fitted on 1 of the \d+ test samples") as caught:
        train(toy, "copy", "net/last", "knn", selection=chosen.id, **FAST)
    assert "(byte-identical to s1" in caught.value.message
    assert caught.value.code == ExitCode.LEAKAGE
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    result = CommandLine(capsys).fails(
        "train", "copy", "--features", "net/last", "--classifier", "knn", "--selection", chosen.id,
        code=ExitCode.LEAKAGE,
    )  # fmt: skip
    assert "byte-identical to s1" in result.err
    assert "of toy" in result.err


def test_a_selection_is_taken_where_its_images_only_train(toy):
    chosen = select(toy, "toy", "net/last", **QUICK)
    add_copy(toy, {3: 10, 20: 11})
    seen = {f"P{3 % 6}", f"P{20 % 6}"}
    slides = dict(zip(*(toy.samples("copy")[c].to_pylist() for c in ("id", "slide")), strict=True))
    rows = split_rows((0, 0, i, "train" if slide in seen else "test") for i, slide in slides.items())
    toy.save_split(Split("copy", "apart", rows, "slide"))
    (run,) = train(toy, "copy", "net/last", "knn", split="apart", selection=chosen.id, **FAST)
    assert run.folds[0]["columns"] == chosen.kept["columns"]
    assert not any("selection" in note for note in run.notes)


def test_each_fold_of_each_repeat_has_the_columns_that_were_selected_in_it(toy):
    split(toy, "toy", "twice", folds=2, repeats=2)
    chosen = select(toy, "toy", "net/last", split="twice", **QUICK)
    folds = [part | {"columns": [number]} for number, part in enumerate(chosen.folds)]
    toy.save_selection(replace(chosen, id="told", folds=folds))
    (run,) = train(toy, "toy", "net/last", "knn", split="twice", selection="told", **FAST)
    places = [(fold["repeat"], fold["fold"], fold["columns"]) for fold in run.folds]
    assert places == [(0, 0, [0]), (0, 1, [1]), (1, 0, [2]), (1, 1, [3])]


def test_equal_names_in_another_dataset_are_other_samples(toy):
    chosen = select(toy, "toy", "net/last", **QUICK)
    add_copy(toy, {}, prefix="s")
    (run,) = train(toy, "copy", "net/last", "knn", selection=chosen.id, **FAST)
    assert [fold["columns"] for fold in run.folds] == [chosen.kept["columns"]] * len(run.folds)


def test_the_same_split_of_the_same_names_is_another_one_in_another_dataset(toy):
    # The images of the second dataset are those of the first one in another order.
    samples, X = make_samples()
    order = np.roll(np.arange(60), 1)
    samples["content"] = [toy.features("toy", "net/last").content[i] for i in order]
    make_store(toy.uri, samples, {"last": X[order]}, name="turned")
    chosen = select(toy, "toy", "net/last", **QUICK)
    toy.save_split(replace(toy.split("toy", "cv"), dataset="turned", name="same", params={}))
    assert toy.split("turned", "same").digest == chosen.split_digest
    with pytest.raises(LeakageError, match="byte-identical to"):
        train(toy, "turned", "net/last", "knn", split="same", selection=chosen.id, **FAST)
    # Of other images under these names, its folds say nothing: what was selected from all is used.
    samples["content"] = [digest_bytes(b"new", bytes([i])) for i in range(60)]
    make_store(toy.uri, samples, {"last": make_samples(seed=9)[1]}, name="new")
    toy.save_split(replace(toy.split("toy", "cv"), dataset="new", name="same", params={}))
    folds = [part | {"columns": [7]} for part in chosen.folds]
    toy.save_selection(replace(chosen, id="told", folds=folds, kept=chosen.kept | {"columns": [2]}))
    (run,) = train(toy, "new", "net/last", "knn", split="same", selection="told", **FAST)
    assert [fold["columns"] for fold in run.folds] == [[2]] * len(run.folds)


def test_copies_inside_a_dataset_are_seen_on_another_split(tmp_path):
    samples, X = make_samples()
    contents = [digest_bytes(i.encode()) for i in samples["id"]]
    contents[8] = contents[1]
    store = make_store(tmp_path / "store", samples | {"content": contents}, {"last": X})

    def save(name, test):
        rows = [
            (0, 0, i, "test" if slide in test else "train")
            for i, slide in zip(samples["id"], samples["slide"], strict=True)
            if name != "first" or i != "s8"
        ]
        store.save_split(Split("toy", name, split_rows(rows), "slide"))

    save("first", {"P2", "P3"})
    chosen = select(store, "toy", "net/last", split="first", **QUICK)
    rows = [(0, 0, "s8", "test"), *((0, 0, i, "train") for i, p in zip(samples["id"], samples["slide"], strict=True)
            if p in ("P0", "P1"))]  # fmt: skip
    store.save_split(Split("toy", "second", split_rows(rows), "slide"))
    with pytest.raises(LeakageError, match=r"such as s8 \(byte-identical to s1\)"):
        train(store, "toy", "net/last", "knn", split="second", selection=chosen.id, **FAST)
    # On its own split, what is on both sides is told of, as without a selection.
    save("both", {"P2"})
    own = select(store, "toy", "net/last", split="both", **QUICK)
    (run,) = train(store, "toy", "net/last", "knn", split="both", selection=own.id, **FAST)
    assert any("1 test sample is byte-identical to training samples (such as s8 = s1)" in note for note in run.notes)


def test_a_selection_that_was_stored_without_digests_is_looked_up(toy):
    chosen = select(toy, "toy", "net/last", **QUICK)
    toy.save_selection(replace(chosen, id="old", contents={}, vectors={}))
    add_copy(toy, {3: 10})
    with pytest.raises(LeakageError, match=r"\(byte-identical to s10 of toy\)"):
        train(toy, "copy", "net/last", "knn", selection="old", **FAST)
    add_copy(toy, {}, name="new")
    (run,) = train(toy, "new", "net/last", "knn", selection="old", **FAST)
    assert not any("selection" in note for note in run.notes)
    lost = [part | {"ids": [f"gone-{i}" for i in part["ids"]]} for part in chosen.fitted_on]
    toy.save_selection(replace(chosen, id="lost", contents={}, vectors={}, fitted_on=lost))
    (run,) = train(toy, "new", "net/last", "knn", selection="lost", **FAST)
    assert any("the selection lost was fitted on 60 samples of 'toy' that are not there" in note for note in run.notes)


def test_the_same_pixels_in_another_file_are_told_of(toy):
    chosen = select(toy, "toy", "net/last", **QUICK)
    add_copy(toy, {3: 10, 4: 12}, bytes_of=[])
    (run,) = train(toy, "copy", "net/last", "knn", selection=chosen.id, **FAST)
    expected = (
        f"2 test samples are equal in all features to samples that the selection {chosen.id} was fitted on (such as"
    )
    assert any(note.startswith(expected) for note in run.notes)


def test_equal_vectors_on_both_sides_are_told_by_the_command(tmp_path, capsys, monkeypatch):
    samples, X = make_samples()
    X[7] = X[0]
    make_store(tmp_path / "store", samples, {"last": X})
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    result = CommandLine(capsys).ok("train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1")
    assert "2 test samples are equal in all features to training samples (such as s" in result.err
    X[7] += 1
    make_store(tmp_path / "apart", samples, {"last": X})
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "apart"))
    result = CommandLine(capsys).ok("train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1")
    assert "equal in all features" not in result.err


def test_predicted_images_that_were_trained_on_are_told_of(toy):
    (run,) = train(toy, "toy", "net/last", "knn", **FAST)
    add_copy(toy, {3: 10, 4: 12, 5: 13}, bytes_of=[3])
    notes = predict_features(toy, run, toy.features("copy", "net/last")).notes
    assert notes == [
        "1 of 30 samples were in the training of the model: their scores say nothing",
        "2 of 30 samples are equal in all features to samples that were in the training of the model: their scores say "
        "nothing",
        "29 of 30 samples are of 6 slides that the model was trained on, too (P0, P1, P2 and 3 more): where these are "
        "the same, scores may be too good",
    ]


def test_groups_that_were_trained_on_are_told_of_where_they_were_read_as_numbers(tmp_path):
    samples, X = make_samples()
    samples["slide"] = [slide[1:] for slide in samples["slide"]]
    store = make_store(tmp_path / "store", samples, {"last": X})
    (run,) = train(store, "toy", "net/last", "knn", **FAST)
    others, X = make_samples(n=8, slides=8, seed=7)
    others |= {"id": [f"n{i}" for i in range(8)], "slide": list(range(8))}
    make_store(store.uri, others, {"last": X}, name="later", group=None)
    (note,) = predict_features(store, run, store.features("later", "net/last")).notes
    assert note.startswith("6 of 8 samples are of 6 slides that the model was trained on, too (0, 1, 2 and 3 more)")


def test_groups_are_those_that_the_split_of_the_model_kept_apart(toy):
    # Two slides of each patient: other slides of the same patients are predicted.
    samples, X = make_samples(patient=[f"Q{i % 6 % 3}" for i in range(60)])
    store = make_store(toy.uri, samples, {"last": X}, name="slides")
    split(store, "slides", "patients", group="patient", folds=3)
    (run,) = train(store, "slides", "net/last", "knn", split="patients", **FAST)
    more, X = make_samples(n=30, seed=7, patient=[f"Q{i % 5}" for i in range(30)])
    more |= {"id": [f"n{i}" for i in range(30)], "slide": [f"R{i % 5}" for i in range(30)]}
    make_store(toy.uri, more, {"last": X}, name="new")
    assert predict_features(store, run, store.features("new", "net/last")).notes == [
        "18 of 30 samples are of 3 patients that the model was trained on, too (Q0, Q1, Q2): where these are the same, "
        "scores may be too good"
    ]


def test_a_unit_with_one_image_that_was_trained_on_is_told_of(toy):
    units, X = make_samples(n=60, slides=12)
    units["label"] = ["ab"[int(slide[1:]) % 2] for slide in units["slide"]]
    store = make_store(toy.uri, units, {"last": X}, name="units")
    (run,) = train(store, "units", "net/last", "knn", aggregate="slide:mean", grid={"k": "1", "metric": "euclidean"})
    # A model of few columns and the Euclidean distance is read back, too.
    samples, X = make_samples(n=30, slides=5, seed=3)
    samples |= {"id": [f"n{i}" for i in range(30)], "label": [None] * 30}
    samples["content"] = [digest_bytes(b"n", bytes([i])) for i in range(30)]
    samples["content"][17] = digest_bytes(b"s4")
    make_store(toy.uri, samples, {"last": X}, name="new")
    notes = predict_features(store, run, store.features("new", "net/last")).notes
    assert notes == ["1 of 30 samples were in the training of the model: their scores say nothing"]
