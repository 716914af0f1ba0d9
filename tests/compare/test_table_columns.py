"""What runs are scored on: datasets, splits, targets and units, each a column of its own."""

import pytest

from histokit.compare.compare import compare
from histokit.features import FeatureStore
from histokit.store.split_records import Split, split_rows
from tests.compare.made_up import methods, score_table, scores
from tests.evaluate.made_up import save, save_dataset


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_each_dataset_has_its_own_metric(empty):
    save_dataset(empty, "A", "roc_auc")
    save_dataset(empty, "B", "balanced_accuracy")
    for dataset in "AB":
        for classifier in ("svm", "et"):
            save(empty, dataset, 15, classifier)
    found = compare(empty, dataset=["B", "A"], bootstrap=5)
    assert [(c["column"], c["metric"]) for c in found.columns] == [("B", "balanced_accuracy"), ("A", "roc_auc")]
    assert found.metric is None
    given = compare(empty, dataset=["B", "A"], metric={"A": "accuracy"}, bootstrap=5)
    assert [c["metric"] for c in given.columns] == ["balanced_accuracy", "accuracy"]
    assert "A: roc_auc" in score_table(found).columns


def test_runs_on_different_splits_are_kept_apart(empty):
    for classifier, right in (("svm", 15), ("et", 16)):
        save(empty, "A", right, classifier)
        save(empty, "B", right, classifier)
    save(empty, "B", 20, "svm", split="random", digest="other")
    found = compare(empty, everything=True, bootstrap=5)
    assert [column["column"] for column in found.columns] == ["A", "B (cv)", "B (random)"]
    assert scores(found, "B (cv)") == pytest.approx({"svm": 0.75, "et": 0.8})
    assert scores(found, "B (random)") == {"svm": 1.0}
    assert found.ranking is None
    assert any("B has runs on several splits, cv and random" in note for note in found.notes)
    assert not any("targets or filters" in note for note in found.notes)
    assert {pair["column"] for pair in found.pairs} == {"A", "B (cv)"}
    kept = compare(empty, where="split = 'cv'", bootstrap=5)
    assert kept.ranking["average_ranks"] == {"et": 2, "svm": 1}


def test_one_split_name_of_two_digests_is_kept_apart(empty):
    runs = [save(empty, "A", 15, digest="aaaabbbb"), save(empty, "A", 20, digest="ccccdddd")]
    found = compare(empty, runs, bootstrap=5)
    assert [column["column"] for column in found.columns] == ["A (cv aaaa)", "A (cv cccc)"]
    assert any("several splits, cv aaaa and cv cccc: each" in n and "ids of the new ones" in n for n in found.notes)
    save(empty, "A", 15, split="random", digest="eeee")
    assert any("split = 'random'" in note for note in compare(empty, everything=True, bootstrap=5).notes)
    assert found.pairs == []


def test_a_split_that_leaks_is_named(empty):
    save_dataset(empty, "A")
    rows = split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])
    empty.save_split(Split("A", "published", rows, leaks="images of a patient are on both sides"))
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier, split="published")
    found = compare(empty, everything=True, bootstrap=5)
    assert "the split published of A leaks: images of a patient are on both sides" in found.notes


def test_targets_and_filters_are_tasks_of_their_own(empty):
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier)
        save(empty, "A", 12, classifier, target="grade")
        save(empty, "A", 11, classifier, where="slide <> 'P1'")
    found = compare(empty, everything=True, bootstrap=5)
    assert sorted(c["column"] for c in found.columns) == ["A", "A of grade", "A where slide <> 'P1'"]
    assert found.ranking["tests"]["datasets"] == 3
    assert any("several targets or filters" in note for note in found.notes)
    column_of = {(row["column"], row["score"]) for row in found.rows}
    assert column_of == {("A", 0.75), ("A of grade", 0.6), ("A where slide <> 'P1'", 0.55)}


def test_a_column_is_called_by_no_more_than_tells_it_from_others(empty):
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier, target="grade")
        save(empty, "B", 12, classifier, where="slide <> 'P1'")
    found = compare(empty, everything=True, bootstrap=5)
    assert [column["column"] for column in found.columns] == ["A", "B"]
    assert [(column["target"], column["where"]) for column in found.columns] == [
        ("grade", None),
        (None, "slide <> 'P1'"),
    ]


def test_units_are_not_ranked_with_samples(empty):
    for dataset in "AB":
        save(empty, dataset, 15)
        save(empty, dataset, 18, "et", aggregate="slide:mean")
    found = compare(empty, everything=True, bootstrap=5)
    assert {c["column"] for c in found.columns} == {f"{d} ({s})" for d in "AB" for s in ("cv", "cv, slide:mean")}
    assert found.ranking is None
    assert any("A has runs on samples and slide:mean" in note for note in found.notes)
    assert compare(empty, where="aggregate IS NULL", bootstrap=5).columns[0]["column"] == "A"


def test_predictions_are_not_kept_apart_by_what_their_models_were_trained_on(empty):
    predicted = {"kind": "predict", "split": "", "digest": "none"}
    save(empty, "B", 15, **predicted)
    save(empty, "B", 18, "et", where="site = 'x'", **predicted)
    found = compare(empty, everything=True, bootstrap=5)
    assert [column["column"] for column in found.columns] == ["B"]
    assert len(found.pairs) == 1


def test_methods_on_other_samples_are_not_paired(empty):
    save(empty, "A", 15)
    save(empty, "A", 15, "et", labels=["a"] * 10 + ["b"] * 10)
    found = compare(empty, everything=True, bootstrap=5)
    assert found.pairs == []
    assert any("svm and et are not paired on A" in note or "et and svm are not" in note for note in found.notes)
    folds = [save(empty, "B", 15, name, folds=count) for name, count in (("svm", 1), ("et", 2))]
    assert compare(empty, folds, bootstrap=5).pairs == [], "what other models predicted"


def test_seeds_on_other_samples_are_named_and_not_paired(empty):
    save(empty, "A", 15)
    save(empty, "A", 15, seed=1, labels=["a"] * 10 + ["b"] * 10)
    save(empty, "A", 14, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert found.pairs == []
    assert methods(found)["svm"]["cells"]["A"]["interval"] is None
    assert "the runs of svm on A were not all scored on the same samples" in found.notes


def test_runs_of_the_kind_predict(empty):
    trained = {c: save(empty, "A", 15, c, run_id=f"{c}1111", source_run=None, rfe=True) for c in ("svm", "et")}
    for dataset in "BC":
        for classifier, right in (("svm", 14), ("et", 13)):
            changes = {"kind": "predict", "split": "", "digest": "", "source_run": trained[classifier]}
            save(empty, dataset, right, classifier, run_id=f"{classifier}{dataset}", **{**changes, "split_digest": ""})
    found = compare(empty, where="kind = 'predict'", bootstrap=5)
    assert found.ranking["average_ranks"] == {"svm": 2, "et": 1}
    names = ("trained_on", "trained_split", "strategy")
    assert [found.methods[0]["facts"][name] for name in names] == ["A", "cv", "feature selection"]
    changes["source_run"] = "gone0000"
    gone = save(empty, "C", 14, "knn", **changes)
    (facts,) = (m["facts"] for m in compare(empty, ["svmC", gone], bootstrap=5).methods if gone in m["facts"]["run"])
    assert (facts["trained_on"], "trained_split" in facts) == ("gone0000", False)
    everything = compare(empty, everything=True, bootstrap=5)
    assert everything.ranking is None
    assert {"svm predict", "svm train"} <= set(methods(everything))


def test_methods_whose_seeds_have_other_samples_are_not_paired_though_both_have(empty):
    for classifier in ("svm", "et", "knn"):
        save(empty, "A", 15, classifier)
        save(empty, "A", 15, classifier, seed=1, labels=["a"] * 10 + ["b"] * 10)
    found = compare(empty, everything=True, bootstrap=5)
    assert found.pairs == []
    (note,) = [note for note in found.notes if "pairs of methods" in note]
    assert note.startswith("3 pairs of methods, such as ")
    assert note.endswith(" are not paired on A: they were not scored on the same samples")
