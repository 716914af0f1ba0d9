"""Labels and groups that are missing, contradict each other or are nearly the same, whatever plugin they came by."""

import math
import shlex

import pytest

import histokit
from histokit.classifiers.table import CLASSIFIERS
from histokit.errors import DataError
from histokit.plugin.digests import digest_bytes
from histokit.protocol.splits import make_split
from histokit.select import importance_shares
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.cli.command_line import CommandLine
from tests.toy import make_samples, make_store

FAST = {"grid": {"k": "1"}}


def make(tmp_path, samples, X, **record):
    return make_store(tmp_path / "store", samples, {"last": X}, **record)


def splits_of(store, **how):
    return make_split(store.samples("toy"), store.dataset("toy"), "mine", folds=3, **how)


@pytest.mark.parametrize("missing", [None, "nan", "NaN"])
def test_no_class_is_called_nan(tmp_path, missing):
    samples, X = make_samples()
    samples["label"][3] = samples["label"][40] = missing
    store = make(tmp_path, samples, X)
    split = splits_of(store)
    assert {"s3", "s40"}.isdisjoint(split.rows["id"].to_pylist())
    assert "2 samples without a label are left out" in split.params["notes"]
    (run,) = train(store, "toy", "net/last", "knn", **FAST)
    assert run.classes == ("a", "b")
    assert len(store.predictions(run.id)) == 58
    assert "2 samples without a label are left out" in run.notes


def test_no_class_of_a_target_of_numbers_is_nan(tmp_path):
    samples, X = make_samples()
    samples["grade"] = [math.nan if i < 5 else 1.0 + (label == "a") for i, label in enumerate(samples["label"])]
    store = make(tmp_path, samples, X)
    split = splits_of(store, target="grade")
    assert len(set(split.rows["id"].to_pylist())) == 55
    (run,) = train(store, "toy", "net/last", "knn", target="grade", target_type="class", **FAST)
    assert run.classes == ("1.0", "2.0")
    assert len(store.predictions(run.id)) == 55
    seen = predict_features(store, run, store.features("toy", "net/last"))
    assert store.predictions(seen.id)["true"].null_count == 5
    assert not any("does not know" in note for note in seen.notes)


def test_data_without_the_column_of_the_target_are_predicted(tmp_path):
    samples, X = make_samples(grade=["low", "high"] * 30)
    store = make(tmp_path, samples, X)
    (run,) = train(store, "toy", "net/last", "knn", target="grade", **FAST)
    samples, X = make_samples(n=20, seed=5)
    samples["id"] = [f"n{i}" for i in range(20)]
    make_store(store.uri, samples, {"last": X}, name="new")
    done = predict_features(store, run, store.features("new", "net/last"))
    found = store.predictions(done.id)
    assert found["true"].null_count == len(found) == 20
    assert set(found["predicted"].to_pylist()) <= {"low", "high"}
    assert done.notes == []


@pytest.mark.parametrize("missing", [math.nan, None])
def test_samples_without_a_group_are_not_of_one_group(tmp_path, missing):
    samples, X = make_samples()
    samples["slide"] = [missing if i % 6 == 2 else float(i % 6) for i in range(60)]
    store = make(tmp_path, samples, X)
    with pytest.raises(DataError, match="10 samples have no value of the group 'slide', such as 's2'"):
        splits_of(store)
    with pytest.raises(DataError, match="10 samples have no slide"):
        train(store, "toy", "net/last", "knn", aggregate="slide:mean", split=one_sided(store), **FAST)
    (run,) = train(store, "toy", "net/last", "knn", split=one_sided(store), **FAST)
    groups = store.predictions(run.id)["group"].to_pylist()
    assert set(groups) == {None, "0.0", "1.0"}


def one_sided(store):
    """Store a split that puts slides 0 to 2 to the test."""
    from histokit.store.split_records import Split, split_rows

    rows = [(0, 0, f"s{i}", "test" if i % 6 < 3 else "train") for i in range(60)]
    store.save_split(Split("toy", "half", split_rows(rows), None))
    return "half"


def test_identical_images_of_different_labels_are_named(tmp_path, capsys, monkeypatch):
    samples, X = make_samples()
    samples["content"] = [digest_bytes(i.encode()) for i in samples["id"]]
    samples["label"][1], samples["label"][7], samples["label"][13] = "a", "b", "b"
    samples["label"][2], samples["label"][8] = "a", "a"
    samples["content"][7] = samples["content"][13] = samples["content"][1]
    samples["content"][8] = samples["content"][2]
    make(tmp_path, samples, X)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    result = CommandLine(capsys).ok("train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1")
    expected = (
        "3 byte-identical samples have different values of label, such as s1 (a) and s7 (b): one of each is wrong"
    )
    assert expected in result.err.replace("\n", " ")
    samples["label"][7] = samples["label"][13] = None
    store = make(tmp_path, samples, X)
    (run,) = train(store, "toy", "net/last", "knn", split="cv", **FAST)
    assert not any("different values" in note for note in run.notes)


def test_names_that_are_nearly_the_same_are_told(tmp_path):
    samples, X = make_samples()
    samples["label"][0] += " "
    samples["slide"][5] = "p5"
    (run,) = train(make(tmp_path, samples, X), "toy", "net/last", "knn", **FAST)
    assert any("Values of label differ in blanks" in note for note in run.notes)
    assert any("Values of slide differ in blanks" in note and "'P5' (9) and 'p5' (1)" in note for note in run.notes)


@pytest.fixture
def many_classes(tmp_path):
    """A store of 60 samples of 38 classes, such as the treatments of a small screen."""
    samples, X = make_samples()
    return make(tmp_path, samples | {"label": [f"c{i % 38:02d}" for i in range(60)]}, X)


@pytest.mark.parametrize("solver", ["auto", "sklearn"])
@pytest.mark.parametrize("name", [name for name, row in CLASSIFIERS.items() if row.estimator and name != "et-fl"])
def test_classes_of_more_than_half_as_many_as_samples_are_classes(many_classes, name, solver):
    # Warnings are errors here: scikit-learn asks whether such classes are numbers.
    grid = {"et": {"trees": "3"}, "fc": {"iterations": "20"}}.get(name)
    (run,) = train(many_classes, "toy", "net/last", name, split="holdout", grid=grid, inner_folds=2, solver=solver)
    assert len(run.classes) == 38


@pytest.mark.usefixtures("few_trees")
def test_columns_are_selected_by_as_many_classes(many_classes):
    selection = histokit.select(many_classes, "toy", "net/last", split="holdout", inner_folds=2, step=0.5)
    assert selection.kept["columns"]
    assert importance_shares(many_classes, ["toy"], "net/last", split="holdout", trees=3)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_filter_that_leaves_out_a_class_of_one_sample_is_told_and_ends_the_warning(tmp_path, grouped):
    samples, X = make_samples()
    samples["label"][7] = "it's rare"
    if not grouped:
        del samples["slide"]
    store = make(tmp_path, samples, X)
    (run,) = train(store, "toy", "net/last", "knn", **FAST)
    what = "group" if grouped else "sample"
    told = f"to leave out the class of a single {what}, give: --where \"label <> 'it''s rare'\""
    assert told in run.notes
    assert f"class it's rare is in a single {what}: no sample of it is in training when it is tested" in run.notes
    (typed,) = shlex.split(told)[-1:]
    (run,) = train(store, "toy", "net/last", "knn", where=typed, **FAST)
    assert run.classes == ("a", "b")
    assert not any("single" in note for note in run.notes)
    (run,) = train(store, "toy", "net/last", "knn", where="id <> 's1'", **FAST)
    assert told.replace('"label', "\"(id <> 's1') AND label") in run.notes


def test_a_class_of_one_group_is_told_whatever_it_and_its_column_are_called(tmp_path):
    samples, X = make_samples()
    samples["tumour grade"] = ["a, b", "b, c"] * 30
    samples["tumour grade"][7] = "c, rare"
    store = make(tmp_path, samples, X)
    (run,) = train(store, "toy", "net/last", "knn", target="tumour grade", **FAST)
    assert "class c, rare is in a single group: no sample of it is in training when it is tested" in run.notes
    (told,) = [
        note for note in run.notes if note.startswith("to leave out the class of a single group, give: --where ")
    ]
    (typed,) = shlex.split(told)[-1:]
    assert typed == "\"tumour grade\" <> 'c, rare'"
    (run,) = train(store, "toy", "net/last", "knn", target="tumour grade", where=typed, **FAST)
    assert run.classes == ("a, b", "b, c")
    assert not any("single" in note for note in run.notes)


def test_no_filter_is_told_that_would_leave_one_class(tmp_path):
    samples, X = make_samples()
    samples["label"] = ["a"] * 59 + ["b"]
    (run,) = train(make(tmp_path, samples, X), "toy", "net/last", "knn", **FAST)
    assert any("class b is in a single group" in note for note in run.notes)
    assert not any("--where" in note for note in run.notes)
