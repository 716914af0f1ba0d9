import errno
import os
import sys
from importlib.metadata import Distribution, PackageNotFoundError

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.svm import LinearSVC

import histokit as library
from histokit.errors import DataError, LeakageError, StoreError, UsageError
from histokit.features import FeatureSet
from histokit.protocol.outer_folds import OuterFold
from histokit.protocol.splits import make_split
from histokit.select.select import select
from histokit.store.records import PREDICTION_SCHEMA
from histokit.store.split_records import Split, split_rows
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.toy import make_samples, make_store

pytestmark = pytest.mark.usefixtures("few_trees")

FAST = {"grid": {"C": "1e-2,1"}, "inner_folds": 3}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})


def test_predictions_are_those_of_scikit_learn(toy):
    (run,) = train(toy, "toy", "net/last", grid={"C": 0.1})
    found = toy.predictions(run.id)
    assert found.schema.names == PREDICTION_SCHEMA.names
    assert sorted(found["id"].to_pylist()) == sorted(toy.samples("toy")["id"].to_pylist())
    features = toy.features("toy", "net/last")
    row = {i: n for n, i in enumerate(features.sample_ids)}
    by_id = dict(zip(found["id"].to_pylist(), found["scores"].to_pylist(), strict=True))
    for fold in toy.split("toy", "cv").folds():
        train_rows, test_rows = ([row[i] for i in part] for part in (fold.train, fold.test))
        model = LinearSVC(C=0.1, dual=False, tol=1e-10).fit(features.X[train_rows], features.y[train_rows])
        expected = model.decision_function(features.X[test_rows])
        np.testing.assert_allclose([by_id[i][1] for i in fold.test], expected, rtol=1e-6)
    scores = np.array(found["scores"].to_pylist())
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])
    assert found["predicted"].to_pylist() == [run.classes[k] for k in scores.argmax(1)]
    assert set(found["group"].to_pylist()) == {f"P{i}" for i in range(6)}


@pytest.mark.parametrize("name", ["et", "logreg", "knn", "fc"])
def test_other_classifiers(toy, name):
    grids = {"et": {"trees": 10, "max_features": "sqrt"}, "fc": {"iterations": 30, "lr": "0.01,0.1"}}
    grids |= {"logreg": {"C": 1}, "knn": {"k": "3,5", "metric": "euclidean"}}
    (run,) = train(toy, "toy", "net/last", name, grid=grids[name], inner_folds=2, split="holdout")
    scores = np.array(toy.predictions(run.id)["scores"].to_pylist())
    np.testing.assert_allclose(scores.sum(1), 1)
    assert run.folds[0]["scores"]["accuracy"] > 0.6


def test_trees_are_those_of_scikit_learn_with_the_seed_that_is_asked_for(toy):
    (run,) = train(toy, "toy", "net/last", "et", grid={"trees": 5, "max_features": "sqrt"}, seed=3, split="holdout")
    (fold,) = toy.split("toy", "holdout").folds()
    features = toy.features("toy", "net/last")
    row = {i: n for n, i in enumerate(features.sample_ids)}
    training, tested = ([row[i] for i in part] for part in (fold.train, fold.test))
    model = ExtraTreesClassifier(5, max_features="sqrt", random_state=3)
    expected = model.fit(features.X[training], features.y[training]).predict_proba(features.X[tested])
    found = toy.predictions(run.id)
    by_id = dict(zip(found["id"].to_pylist(), found["scores"].to_pylist(), strict=True))
    np.testing.assert_allclose([by_id[i] for i in fold.test], expected)


def test_a_repeat_answers_from_the_store_and_force_redoes_it(toy):
    (run,) = train(toy, "toy", "net/last", **FAST)
    calls = []
    (again,) = train(toy, "toy", "net/last", **FAST, progress=lambda *a: calls.append(a))
    assert again == run
    assert calls == []
    (redone,) = train(toy, "toy", "net/last", **FAST, force=True, progress=lambda *a: calls.append(a))
    assert redone.id == run.id
    assert calls[-1][0] == calls[-1][1]
    assert len(toy.predictions(run.id)) == 60


def test_each_option_gives_another_run(toy):
    options = [{}, {"seed": 1}, {"split": "holdout"}, {"metric": "roc_auc"}, {"class_weight": "balanced"}]
    options += [{"where": "slide <> 'P0'"}, {"inner_folds": 2}]
    runs = {train(toy, "toy", "net/last", **FAST | changes)[0].id for changes in options}
    runs.add(train(toy, "toy", "net/first", **FAST)[0].id)
    assert len(runs) == len(options) + 1


def test_relabelling_gives_another_run(toy, tmp_path):
    (before,) = train(toy, "toy", "net/last", **FAST)
    samples, X = make_samples()
    samples["label"][0] = "b" if samples["label"][0] == "a" else "a"
    make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})
    (after,) = train(toy, "toy", "net/last", **FAST)
    assert before.id != after.id
    assert before.features == after.features


def test_each_address_gives_its_own_run(toy):
    runs = train(toy, "toy", ["net/each", "net/first+net/last", "net/last"], **FAST)
    assert [run.address for run in runs] == ["net/first", "net/last", "net/first+net/last"]
    assert [len(run.features) for run in runs] == [1, 1, 2]


def test_everything_of_a_fold_is_recorded(toy):
    (run,) = train(toy, "toy", "net/last", **FAST)
    fold = run.folds[0]
    assert (fold["repeat"], fold["fold"], fold["train"], fold["test"]) == (0, 0, 50, 10)
    assert fold["parameters"] in ({"C": 0.01}, {"C": 1.0})
    assert [entry["parameters"] for entry in fold["tuning"]["table"]] == [{"C": 0.01}, {"C": 1.0}]
    assert fold["tuning"]["folds"] == 3
    assert run.found["final"]["train"] == 60
    assert run.notes[0] == "6 folds instead of 10: there are only 6 groups"
    assert set(run.versions) == {"histokit", "scikit-learn", "numpy"}


def test_the_code_that_trains_need_not_be_installed(toy, monkeypatch):
    found = Distribution.from_name

    def absent(name):
        if name == "histokit":
            raise PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(Distribution, "from_name", absent)
    (run,) = train(toy, "toy", "net/last", **FAST)
    assert run.versions["histokit"] == library.__version__


def test_a_column_that_names_the_patient_does_not_help(tmp_path):
    """One indicator column for each slide tells its label in training, and nothing of another slide."""
    n, slides = 80, 8
    slide = np.arange(n) % slides
    samples = {
        "id": [f"s{i}" for i in range(n)],
        "label": ["ab"[s % 2] for s in slide],
        "slide": [f"P{s}" for s in slide],
    }
    store = make_store(tmp_path / "s", samples, {"last": np.eye(slides)[slide] * 10})
    (run,) = train(store, "toy", "net/last", split="leave-one-group-out", grid={"C": 1})
    assert np.mean([f["scores"]["accuracy"] for f in run.folds]) <= 0.5


def test_a_column_that_tells_the_slides_apart_is_named(tmp_path):
    samples, X = make_samples()
    X[:, 5] = [int(slide[1:]) for slide in samples["slide"]]
    (run,) = train(make_store(tmp_path / "number", samples, {"last": X}), "toy", "net/last", "knn", grid={"k": "1"})
    assert any(note.startswith("1 feature tells every slide from every other (net/last[5])") for note in run.notes)
    samples, X = make_samples(slides=60)
    (run,) = train(make_store(tmp_path / "lone", samples, {"last": X}), "toy", "net/last", "knn", grid={"k": "1"})
    assert any(note.startswith("every slide has one sample") for note in run.notes)


def test_a_split_that_cuts_a_group_is_refused(toy):
    rows = split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "train"), (0, 0, "s6", "test"), (0, 0, "s7", "test")])
    toy.save_split(Split("toy", "paper", rows, None, None, None, "published"))
    with pytest.raises(LeakageError, match="slide P0, P1"):
        train(toy, "toy", "net/last", split="paper")
    toy.save_split(Split("toy", "leaky", rows, None, None, "slides are on both sides", "published"))
    (run,) = train(toy, "toy", "net/last", split="leaky", grid={"C": 1})
    assert run.notes.count("split leaky: slides are on both sides") == 1


def test_duplicates_across_folds_are_told(tmp_path):
    samples, X = make_samples()
    contents = [bytes([i]) * 16 for i in range(60)]
    contents[7] = contents[0]
    store = make_store(tmp_path / "s", samples | {"content": contents}, {"last": X})
    (run,) = train(store, "toy", "net/last", grid={"C": 1})
    assert any("2 test samples are byte-identical" in note for note in run.notes)


def test_a_class_without_training_samples_in_a_fold(tmp_path):
    samples, X = make_samples(classes="ab")
    for i in range(0, 60, 6):
        samples["label"][i] = "c"
    store = make_store(tmp_path / "s", samples, {"last": X})
    (run,) = train(store, "toy", "net/last", split="leave-one-group-out", **FAST)
    (fold,) = [f for f in run.folds if "classes_without_training" in f]
    assert fold["classes_without_training"] == ["c"]
    assert fold["scores"]["accuracy"] == 0
    found = store.predictions(run.id)
    lowest = [np.isneginf(row[2]) for row in found["scores"].to_pylist()]
    assert lowest == [label == "c" for label in found["true"].to_pylist()]
    assert any("class 'c' has no training sample" in note for note in run.notes)


def test_two_groups_and_groups_of_one_sample(tmp_path):
    samples, X = make_samples(n=24, slides=2)
    store = make_store(tmp_path / "two", samples, {"last": X})
    (run,) = train(store, "toy", "net/last", **FAST)
    assert len(run.folds) == 2
    assert "tuning: the inner folds cut the only group of the training samples (2 of 3 training sets)" in run.notes
    samples, X = make_samples(n=24, slides=24)
    (run,) = train(make_store(tmp_path / "one", samples, {"last": X}), "toy", "net/last", **FAST)
    assert len(run.folds) == 10


def test_samples_without_label_or_features_are_told(tmp_path):
    samples, X = make_samples()
    samples["label"][3] = None
    X[5] = np.nan
    store = make_store(tmp_path / "s", samples, {"last": X})
    with pytest.raises(StoreError, match="missing for 1 of 60"):
        train(store, "toy", "net/last")
    (run,) = train(store, "toy", "net/last", allow_missing=True, **FAST)
    assert "1 of 60 samples is left out: their features are missing" in run.notes
    assert "1 sample without a label is left out" in run.notes
    assert {"s3", "s5"}.isdisjoint(store.predictions(run.id)["id"].to_pylist())


def test_target_where_and_aggregate(tmp_path):
    samples, X = make_samples(n=90, slides=30)
    grade = [["low", "high"][int(s[1:]) % 2] for s in samples["slide"]]
    samples |= {"grade": grade, "label": grade}
    store = make_store(tmp_path / "s", samples, {"last": X}, levels=("slide",))
    (run,) = train(store, "toy", "net/last", target="grade", where="slide <> 'P0'", **FAST)
    assert (run.classes, run.split) == (("high", "low"), "cv.grade")
    assert len(store.predictions(run.id)) == 87
    (run,) = train(store, "toy", "net/last", aggregate="slide:mean", **FAST)
    found = store.predictions(run.id)
    assert sorted(found["id"].to_pylist()) == sorted(f"P{i}" for i in range(30))
    assert found["levels"].to_pylist() == [[i] for i in found["id"].to_pylist()]


def test_units_share_the_target_and_need_not_share_the_label(tmp_path):
    samples, X = make_samples(n=90, slides=30)
    samples["grade"] = [["low", "high"][int(s[1:]) % 2] for s in samples["slide"]]
    store = make_store(tmp_path / "s", samples, {"last": X})
    with pytest.raises(DataError, match="holds samples of 2 labels"):
        train(store, "toy", "net/last", aggregate="slide:mean", **FAST)
    (run,) = train(store, "toy", "net/last", aggregate="slide:mean", target="grade", **FAST)
    assert len(store.predictions(run.id)) == 30
    samples["grade"][0] = "high"
    store = make_store(tmp_path / "mixed", samples, {"last": X})
    with pytest.raises(DataError, match="holds samples of 2 grades"):
        train(store, "toy", "net/last", aggregate="slide:mean", target="grade", **FAST)


def test_what_the_folds_keep_apart_is_no_target(toy):
    with pytest.raises(UsageError, match=r"slide is what the folds of .* keep apart"):
        train(toy, "toy", "net/last", target="slide", **FAST)


def test_data_without_groups_are_told(tmp_path):
    samples, X = make_samples()
    store = make_store(tmp_path / "s", samples, {"last": X}, group=None)
    (run,) = train(store, "toy", "net/last", split="holdout", **FAST)
    assert "toy names no group: samples of one slide, patient or compound may be on both sides" in run.notes


def test_groups_that_were_corrected_after_a_split_was_made(tmp_path):
    samples, X = make_samples()
    samples["patient"] = samples["slide"]
    store = make_store(tmp_path / "s", samples, {"last": X}, group=None)
    store.save_split(make_split(store.samples("toy"), store.dataset("toy"), "mine", folds=3, group="patient"))
    (run,) = train(store, "toy", "net/last", split="mine", **FAST)
    assert run.group == "patient"
    samples["patient"] = [f"Q{i // 30}" for i in range(60)]
    store = make_store(tmp_path / "s", samples, {"last": X}, group=None)
    with pytest.raises(LeakageError, match="patient Q0, Q1 are in training and in test"):
        train(store, "toy", "net/last", split="mine", **FAST)


def test_units_that_a_fold_cuts_are_refused(tmp_path):
    samples, X = make_samples()
    samples["label"] = ["a"] * 60
    samples["label"][1::2] = ["b"] * 30
    samples["pair"] = [f"{i % 2}" for i in range(60)]
    store = make_store(tmp_path / "s", samples, {"last": X})
    with pytest.raises(DataError, match="training and in test"):
        train(store, "toy", "net/last", aggregate="pair:mean")


def test_wrong_use(toy):
    with pytest.raises(UsageError, match="Both"):
        train(toy, "toy", "net/last", selection="abcd", rfe=True)
    with pytest.raises(UsageError, match="no metric"):
        train(toy, "toy", "net/last", metric="acc")
    with pytest.raises(UsageError, match="no classifier"):
        train(toy, "toy", "net/last", "svn")
    with pytest.raises(DataError, match="all of the class"):
        train(toy, "toy", "net/last", where="label = 'a'")
    with pytest.raises(DataError, match=r"samples left: all of them are of one slide, 'P1', which folds do not"):
        train(toy, "toy", "net/last", where="slide = 'P1'")


def test_why_no_fold_is_left(toy):
    rows = split_rows([(0, 0, f"s{i}", "train" if i % 6 else "test") for i in range(36)])
    toy.save_split(Split("toy", "few", group="slide", seed=0, params={}, rows=rows))
    for where, why in {
        "slide IN ('P1', 'P2')": "in each fold, all of them are on one side",
        "id IN ('s41', 's42', 's43')": "none of the samples that are left is in one of its folds",
    }.items():
        with pytest.raises(DataError, match=why):
            train(toy, "toy", "net/last", split="few", where=where)


def test_values_that_the_data_do_not_allow_are_told(toy):
    (run,) = train(toy, "toy", "net/last", "et", grid={"max_features": "9", "trees": "5"})
    told = [note for note in run.notes if "max_features" in note]
    assert told == ["max_features=9 is more than there are columns: all of them are used (7 of 7 training sets)"]
    (run,) = train(toy, "toy", "net/last", "knn", grid={"k": "55", "metric": "cosine"})
    assert "k=55 is more than there are training samples: all of them are used (6 of 7 training sets)" in run.notes
    (run,) = train(toy, "toy", "net/last", "et", grid={"max_features": "8", "trees": "5"})
    assert not [note for note in run.notes if "max_features" in note]


def test_a_store_that_cannot_be_written_to_is_told_before_anything_is_fitted(toy, monkeypatch):
    (run,) = train(toy, "toy", "net/last", **FAST)

    def refused(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("histokit.store.commits.os.access", lambda *_: False)
    monkeypatch.setattr("histokit.store.commits.TemporaryFile", refused)
    monkeypatch.setattr("histokit.train.train.train_folds", lambda *_: pytest.fail("folds are trained"))
    with pytest.raises(StoreError, match="cannot be written to: Read-only file system"):
        train(toy, "toy", "net/first", **FAST)
    assert train(toy, "toy", "net/last", **FAST)[0].id == run.id


def test_selection_by_fold_and_anew(toy):
    chosen = select(toy, "toy", "net/last", step=0.5, inner_folds=2)
    (run,) = train(toy, "toy", "net/last", selection=chosen.id, **FAST)
    assert [f["columns"] for f in run.folds] == [f["columns"] for f in chosen.folds]
    assert run.found["final"]["columns"] == chosen.kept["columns"]
    (anew,) = train(toy, "toy", "net/last", rfe=True, split="holdout", grid={"C": 1}, inner_folds=2)
    assert len(anew.folds[0]["columns"]) == anew.folds[0]["elimination"]["k_min"]


def test_spreads_are_told_of_the_columns_that_are_kept(toy, tmp_path):
    def spreads(**how):
        (run,) = train(store, "toy", "net/last", split="holdout", **how)
        return [note for note in run.notes if "the spread of" in note]

    samples, X = make_samples()
    chosen = select(toy, "toy", "net/last", step=0.5, inner_folds=2, split="holdout")
    kept = {column for part in chosen.folds for column in part["columns"]}
    outside = min(set(range(X.shape[1])) - kept)
    for column, told in ((outside, False), (min(kept), True)):
        # A power of two moves no threshold of a tree.
        scaled = X * np.where(np.arange(X.shape[1]) == column, 2.0**-20, 1).astype(np.float32)
        store = make_store(tmp_path / f"scaled{column}", samples, {"last": scaled})
        same = select(store, "toy", "net/last", step=0.5, inner_folds=2, split="holdout")
        assert same.folds[0]["columns"] == chosen.folds[0]["columns"]
        assert [f"that of 'net/last[{column}]'" in note for note in spreads(**FAST)] == [True]
        assert [f"that of 'net/last[{column}]'" in note for note in spreads(selection=same.id, **FAST)] == [True] * told
        (anew,) = train(store, "toy", "net/last", split="holdout", rfe=True, grid={"C": 1}, inner_folds=2)
        used = column in anew.found["final"]["columns"]
        assert any("the spread of" in note for note in anew.notes) == used


def test_a_selection_fitted_on_the_test_groups_is_refused(toy):
    chosen = select(toy, "toy", "net/last", step=0.5, inner_folds=2)
    with pytest.raises(LeakageError, match=f"selection {chosen.id} was fitted on"):
        train(toy, "toy", "net/last", selection=chosen.id, split="holdout")
    with pytest.raises(StoreError, match="was made on net/last, not on net/first"):
        train(toy, "toy", "net/first", selection=chosen.id)


def test_predict_other_samples(toy, tmp_path):
    (run,) = train(toy, "toy", "net/last", **FAST)
    samples, X = make_samples(n=20, seed=5)
    samples["id"] = [f"new{i}" for i in range(20)]
    samples["label"] = [None] * 20
    make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X}, name="new")
    features = toy.features("new", "net/last")
    record = predict_features(toy, run, features)
    assert (record.kind, record.dataset, record.source_run, record.notes) == ("predict", "new", run.id, [])
    found = toy.predictions(record.id)
    everything = toy.features("toy", "net/last")
    model = LinearSVC(**run.found["final"]["parameters"], random_state=0).fit(everything.X, everything.y)
    assert found["predicted"].to_pylist() == model.predict(features.X).tolist()
    assert found["true"].null_count == 20
    assert predict_features(toy, run, features) == record
    with pytest.raises(StoreError, match="was trained on net/last"):
        predict_features(toy, run, toy.features("new", "net/first"))
    seen = predict_features(toy, run, everything)
    assert "60 of 60 samples were in the training of the model" in seen.notes[0]


def test_the_model_of_a_holdout_is_that_of_its_training_samples(toy):
    (run,) = train(toy, "toy", "net/last", split="holdout", **FAST)
    assert run.found["final"]["train"] == run.folds[0]["train"]


def test_repeats(toy):
    toy.save_split(make_split(toy.samples("toy"), toy.dataset("toy"), "twice", folds=3, repeats=2))
    (run,) = train(toy, "toy", "net/last", split="twice", **FAST)
    assert [(f["repeat"], f["fold"]) for f in run.folds] == [(r, f) for r in (0, 1) for f in (0, 1, 2)]
    assert len(toy.predictions(run.id)) == 120


def test_the_rows_of_a_fold_are_not_looked_at_once_more_for_each_other_fold(toy, monkeypatch):
    looks = []

    class Counted(OuterFold):
        def __getattribute__(self, name):
            if name == "train":
                looks.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr("histokit.protocol.outer_folds.OuterFold", Counted)
    counts = []
    for repeats in (4, 16):
        toy.save_split(make_split(toy.samples("toy"), toy.dataset("toy"), f"r{repeats}", folds=3, repeats=repeats))
        looks.clear()
        train(toy, "toy", "net/last", "ridge", split=f"r{repeats}", grid={"alpha": 1})
        counts.append(len(looks))
    assert 0 < counts[1] <= 5 * counts[0]


@pytest.mark.parametrize("what", ["sample_ids", "content"])
def test_the_ids_of_all_samples_are_not_listed_anew_for_each_of_them(toy, monkeypatch, what):
    listed, of = [], getattr(FeatureSet, what)
    monkeypatch.setattr(FeatureSet, what, property(lambda features: listed.append(what) or of.fget(features)))
    train(toy, "toy", "net/last", "ridge", split="leave-one-group-out", grid={"alpha": 1})
    assert 0 < len(listed) < len(toy.samples("toy")) / 2


def test_no_fold_sorts_all_rows(tmp_path):
    samples, X = make_samples(n=240, slides=24)
    store = make_store(tmp_path / "store", samples, {"last": X})
    library.split(store, "toy", "often", folds=8, repeats=5)
    sorts = 0

    def count(_, event, function):
        nonlocal sorts
        if event == "c_call" and function.__name__ == "sort":
            sorts += isinstance(function.__self__, np.ndarray) and len(function.__self__) > 200

    sys.setprofile(count)
    try:
        (run,) = train(store, "toy", "net/last", "ridge", split="often", grid={"alpha": 1.0})
    finally:
        sys.setprofile(None)
    assert len(run.folds) == 40
    assert sorts < 20
