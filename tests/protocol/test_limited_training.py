"""Training sets of so many samples of each class, drawn several times within another split."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.neighbors import KNeighborsClassifier

import histokit
from histokit.errors import DataError, StoreError, UsageError
from histokit.protocol import split_drawing
from histokit.store.repeat_commands import split_command
from histokit.store.split_records import Split, split_rows
from tests.toy import make_samples, make_store

#: Sixty samples of six slides; two slides are tested, one validates.
ROLES = {"P0": "test", "P1": "test", "P2": "val", "P3": "train", "P4": "train", "P5": "train"}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(n=60)
    samples["label"][5] = None
    store = make_store(tmp_path / "store", samples, {"last": X})
    rows = [(0, 0, i, ROLES[slide]) for i, slide in zip(samples["id"], samples["slide"], strict=True)]
    store.save_split(Split("toy", "published", split_rows(rows), "slide", source="published"))
    return store


def columns(store):
    table = store.samples("toy")
    ids = table["id"].to_pylist()
    return (dict(zip(ids, table[name].to_pylist(), strict=True)) for name in ("label", "slide"))


def test_each_draw_trains_on_so_many_of_each_class_and_tests_the_same(toy):
    label, _ = columns(toy)
    published = toy.split("toy", "published").folds()[0]
    split = histokit.split(toy, "toy", "few", within="published", train_per_class=3, repeats=4, seed=5)
    assert [(fold.repeat, fold.fold) for fold in split.folds()] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    for fold in split.folds():
        assert Counter(label[i] for i in fold.train) == {"a": 3, "b": 3}
        assert set(fold.train) <= set(published.train)
        assert (fold.test, fold.val) == (published.test, [])
    assert len({tuple(fold.train) for fold in split.folds()}) == 4
    assert (split.group, split.leaks, split.source) == ("slide", None, "generated")
    assert "validation samples are left out: 3 of each class are all that is learned from" in split.params["notes"]
    assert split_command(split) == (
        "histokit split toy --name few --group slide --within published --repeats 4 --train-per-class 3 --seed 5"
    )
    more = histokit.split(toy, "toy", "more", within="published", train_per_class=5, repeats=4, seed=5)
    assert all(set(a.train) < set(b.train) for a, b in zip(split.folds(), more.folds(), strict=True))
    other = histokit.split(toy, "toy", "other", within="published", train_per_class=3, repeats=4, seed=6)
    assert other.digest != split.digest


@pytest.mark.parametrize("way", ["within", "leave_one_group_out"])
def test_what_is_drawn_does_not_depend_on_the_order_of_samples_and_rows(toy, way):
    record, samples, within = toy.dataset("toy"), toy.samples("toy"), toy.split("toy", "published")
    turned = samples.take(pa.array(np.arange(len(samples))[::-1].copy()))
    other = replace(within, rows=within.rows.take(pa.array(np.random.default_rng(0).permutation(len(within.rows)))))
    made = [
        histokit.make_split(
            table, record, "s", **{way: split if way == "within" else True}, train_per_class=2, repeats=3
        ).digest
        for table, split in ((samples, within), (turned, within), (samples, other))
    ]
    assert len(set(made)) == 1


def test_scores_of_draws_are_those_of_repeats(toy):
    label, _ = columns(toy)
    split = histokit.split(toy, "toy", "few", within="published", train_per_class=2, repeats=5)
    (run,) = histokit.train(toy, "toy", "net/last", "knn", split="few", grid={"k": 1, "metric": "euclidean"})
    (found,) = [each.to_json() for each in histokit.evaluate(toy, [run.id])]
    features = toy.features("toy", "net/last")
    X = dict(zip(features.sample_ids, features.X, strict=True))
    scores = []
    for fold in split.folds():
        fitted = KNeighborsClassifier(1).fit([X[i] for i in fold.train], [label[i] for i in fold.train])
        scores.append(np.mean(fitted.predict([X[i] for i in fold.test]) == [label[i] for i in fold.test]))
    assert len(set(scores)) > 1
    assert found["n"] == 5 * len(split.folds()[0].test)
    assert [fold["metrics"]["accuracy"] for fold in found["folds"]["each"]] == pytest.approx(scores)
    assert found["folds"]["mean"]["accuracy"] == pytest.approx(np.mean(scores))
    assert found["folds"]["std"]["accuracy"] == pytest.approx(np.std(scores))


def test_of_drawn_groups_samples_of_each_class_are_drawn(toy):
    label, slide = columns(toy)
    split = histokit.split(toy, "toy", "few", within="published", train_groups=2, train_per_class=3, repeats=3)
    for fold in split.folds():
        assert Counter(label[i] for i in fold.train) == {"a": 3, "b": 3}
        assert len({slide[i] for i in fold.train}) <= 2
    groups = histokit.split(toy, "toy", "groups", within="published", train_groups=1, repeats=6)
    drawn = [{slide[i] for i in (*fold.train, *fold.val)} for fold in groups.folds()]
    assert {len(names) for names in drawn} == {1}
    assert len({min(names) for names in drawn}) > 1


def test_groups_are_drawn_from_those_that_validate_too(toy):
    published = toy.split("toy", "published").folds()[0]
    split = histokit.split(toy, "toy", "all", within="published", train_groups=4)
    (fold,) = split.folds()
    labelled = [[i for i in ids if i != "s5"] for ids in (published.train, published.val, published.test)]
    assert [fold.train, fold.val, fold.test] == labelled
    assert not any("there are no more" in note for note in split.params["notes"])


@pytest.mark.parametrize("how", [{"folds": 3}, {"test": 0.3}, {"leave_one_group_out": True}])
def test_other_splits_are_limited_in_the_same_way(toy, how):
    label, _ = columns(toy)
    whole = histokit.split(toy, "toy", "whole", **how)
    split = histokit.split(toy, "toy", "few", **how, train_per_class=4)
    for fold, all_of_it in zip(split.folds(), whole.folds(), strict=True):
        assert Counter(label[i] for i in fold.train) == {"a": 4, "b": 4}
        assert fold.test == all_of_it.test
        assert set(fold.train) <= set(all_of_it.train)


def test_a_file_is_drawn_from_as_often(toy, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["slide,role", *(f"{name},{role}" for name, role in ROLES.items())]))
    how = {"from_file": file, "train_per_class": 2}
    split = histokit.split(toy, "toy", "few", **how, repeats=3)
    assert [len(fold.train) for fold in split.folds()] == [4] * 3
    assert f"--from {file} --group slide --repeats 3 --train-per-class 2" in split_command(split)


def test_repeats_of_another_split_are_each_drawn_from(toy):
    whole = histokit.split(toy, "toy", "whole", folds=2, repeats=2)
    split = histokit.split(toy, "toy", "few", within="whole", train_per_class=2, repeats=3)
    tests = {(fold.repeat, fold.fold): fold.test for fold in whole.folds()}
    assert [(fold.repeat, fold.fold) for fold in split.folds()] == [(r, f) for r in range(6) for f in range(2)]
    assert all(fold.test == tests[fold.repeat // 3, fold.fold] for fold in split.folds())
    with pytest.raises(UsageError, match="would have 1,002 repeats; it may have 1,000") as caught:
        histokit.split(toy, "toy", "most", within="whole", train_per_class=2, repeats=501)
    assert caught.value.next == "Draw at most 500 times: --repeats 500"


def test_what_is_told_of_both_splits_is_told_once(toy):
    histokit.split(toy, "toy", "whole", test=0.3)
    split = histokit.split(toy, "toy", "few", within="whole", train_per_class=2)
    assert split.params["notes"] == ["1 sample without a label is left out"]


def test_what_leaks_leaks_in_its_draws_and_is_let_through(toy):
    rows = [(0, 0, f"s{i}", "train" if i % 4 else "test") for i in range(60)]
    toy.save_split(Split("toy", "paper", split_rows(rows), None, leaks="random over patches", source="published",
                         params={"notes": ["patches of 20 x"]}))  # fmt: skip
    split = histokit.split(toy, "toy", "few", within="paper", train_per_class=3, repeats=2)
    assert (split.leaks, split.group) == ("random over patches", None)
    assert "patches of 20 x" in split.params["notes"]
    (run,) = histokit.train(toy, "toy", "net/last", "knn", split="few", grid={"k": 1})
    assert "split few: random over patches" in run.notes


def test_a_split_that_train_makes_can_be_drawn_within_and_is_not_stored_for_it(toy):
    split = histokit.split(toy, "toy", "few", within="holdout", train_per_class=3, repeats=2)
    (holdout,) = histokit.make_split(toy.samples("toy"), toy.dataset("toy"), "holdout", test=0.2).folds()
    assert [fold.test for fold in split.folds()] == [holdout.test] * 2
    assert {*toy.split_headers("toy")} == {"published", "few"}


def test_a_class_with_fewer_samples_is_named_with_what_can_be_drawn(toy):
    label, slide = columns(toy)
    there = Counter(label[i] for i, name in slide.items() if ROLES[name] == "train" and label[i])
    few, most = sorted(there.values())
    assert few < most
    (rare,) = [name for name, count in there.items() if count == few]
    with pytest.raises(DataError) as caught:
        histokit.split(toy, "toy", "few", within="published", train_per_class=most)
    assert caught.value.message == (f"1 class has fewer than {most} training samples in a fold: {rare} ({few}).")
    assert caught.value.next.startswith(
        f"Draw at most {few}: histokit split toy --name few … --train-per-class {few}; or"
    )
    assert "few" not in toy.split_headers("toy")
    histokit.split(toy, "toy", "few", within="published", train_per_class=few)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"within": "published"}, "The split would be 'published' once more"),
        ({"within": "few", "train_per_class": 2}, "would take its own place"),
        ({"within": "published", "train_per_class": 2, "folds": 2}, "2 are given"),
        ({"within": "published", "train_per_class": 2, "ignore_groups": True}, "Groups are ignored, and asked for"),
        ({"within": "published", "train_per_class": 0}, "is not a whole number"),
        ({"within": "published", "train_per_class": 2, "bar": "slide"}, "--bar is for"),
        ({"test": 0.2, "train_per_class": 2, "target": "size"}, "Numbers have no classes"),
    ],
)
def test_wrong_use(toy, tmp_path, how, says):
    store = toy
    if "target" in how:
        samples, X = make_samples(n=60)
        store = make_store(tmp_path / "other", samples | {"size": [i / 7 for i in range(60)]}, {"last": X})
    with pytest.raises(UsageError, match=says):
        histokit.split(store, "toy", "few", **how)
    assert "few" not in store.split_headers("toy")


def test_what_cannot_be_drawn_within(toy, monkeypatch):
    with pytest.raises(StoreError, match="has no split 'publishd'") as caught:
        histokit.split(toy, "toy", "few", within="publishd", train_per_class=2)
    assert "Did you mean 'published'" in caught.value.next
    rows = [(0, 0, "s5", "test"), *((0, 0, f"s{i}", "train") for i in range(5))]
    toy.save_split(Split("toy", "bare", split_rows(rows), None))
    with pytest.raises(DataError, match="Fold 0 of the split 'bare' has no labelled samples to train or to test on"):
        histokit.split(toy, "toy", "few", within="bare", train_per_class=1)
    monkeypatch.setattr(split_drawing, "MOST_ROWS", 50)
    with pytest.raises(DataError, match="would have 60 rows"):
        histokit.split(toy, "toy", "few", within="published", train_per_class=2, repeats=3)


def test_a_split_that_takes_the_place_of_the_one_of_the_data_says_so(toy):
    for folds, told in ((2, True), (3, False)):
        notes = histokit.split(toy, "toy", "published", folds=folds).params["notes"]
        assert any(note.startswith("the split 'published' that the data came with is") for note in notes) is told
