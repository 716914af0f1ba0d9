"""Comparisons of stored runs."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from histokit.compare.compare import compare, compare_scores
from histokit.compare.sheets import comparison_sheets
from histokit.errors import UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from tests.compare.made_up import methods, score_table, scores, with_scores
from tests.evaluate.made_up import make_record, save, save_dataset, save_run


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_one_dataset_has_paired_differences_and_no_ranks(empty):
    good, bad = save(empty, "A", 20), save(empty, "A", 16, "et")
    found = compare(empty, [good[:6], bad], bootstrap=500)
    assert found.ranking is None
    assert found.notes == [], "ten groups are enough, and nothing else is to be known"
    assert found.metric == "accuracy"
    (pair,) = found.pairs
    assert (pair["first"], pair["second"], pair["groups"]) == ("svm", "et", 10)
    assert pair["difference"] == pytest.approx(0.2)
    # Of ten slides two are wrong: a resample without them has the probability 0.8 ** 10 = 0.107, and no other is 0.
    assert pair["p"] == pytest.approx(2 * 0.8**10, abs=0.05)
    assert pair["interval"] == [0.0, pytest.approx(0.5, abs=0.11)]
    assert (pair["first_runs"], pair["second_runs"]) == ([good], [bad])
    assert [str(cell) for cell in score_table(found).rows[0][:3]] == ["svm", good, "1.0000 (1)"]


def test_scores_and_intervals_are_those_of_evaluate(empty):
    save_dataset(empty, "A", "roc_auc")
    values = np.random.default_rng(0).normal(size=20) + np.tile([-0.7, 0.7], 10)
    run = save(empty, "A", 0, scores=values.tolist(), folds=2)
    other = save(empty, "A", 15, "et", folds=2)
    (expected,) = evaluate(empty, run, bootstrap=200)
    for metric in ("roc_auc_fold_mean", "accuracy", "f1_macro"):
        found = compare(empty, [run, other], metric=None if "roc" in metric else metric, bootstrap=200)
        row = found.rows[0]
        assert row["metric"] == found.columns[0]["metric"] == metric
        assert row["score"] == pytest.approx(expected.metrics[metric])
        assert row["interval"] == pytest.approx(expected.intervals["metrics"][metric])
        assert row["fold_std"] == pytest.approx(expected.folds["std"][metric.removesuffix("_fold_mean")])
    with pytest.raises(UsageError, match="no metric 'acuracy'"):
        compare(empty, [run, other], metric="acuracy")


def test_a_mean_over_runs_is_no_surer_than_the_run_of_fewest_groups_and_samples(empty):
    entries = [(make_record("A", "svm", seed=seed), 0.8) for seed in (0, 1)] + [(make_record("A", "et"), 0.7)]
    sizes = zip(with_scores(empty, entries), (9, 8, 10), (30, 20, 30), strict=True)
    scored = [replace(entry, groups=groups, predicted=predicted) for entry, groups, predicted in sizes]
    found = compare_scores(scored)
    cells = {name: method["cells"]["A"] for name, method in methods(found).items()}
    facts = {name: (cell["groups"], cell["reliable"], cell["predicted"]) for name, cell in cells.items()}
    assert facts == {"svm": (8, False, 20), "et": (10, True, 30)}
    assert [row["reliable"] for row in found.rows] == [False, False, True]
    assert "intervals of 8 groups are unreliable, they need 10" in found.notes
    # Of so few groups a p is not shown.
    paired = found.sheets()[1]
    assert "(p from 10 groups on)" in paired.title
    assert dict(zip(paired.columns, paired.rows[0], strict=True))["p"] is None


def test_a_score_that_is_undefined_for_one_seed_is_undefined(empty):
    entries = [(make_record("A", "svm", seed=seed), score) for seed, score in ((0, 0.9), (1, None))]
    found = compare_scores(with_scores(empty, [*entries, (make_record("A", "et"), 0.7)]))
    assert scores(found, "A") == {"et": 0.7, "svm": None}
    assert {name: method["cells"]["A"]["place"] for name, method in methods(found).items()} == {"et": 1, "svm": None}


def test_repeats_of_one_method_on_one_dataset_are_shown_one_by_one(empty):
    runs = [save(empty, "A", right, seed=seed) for seed, right in enumerate((15, 18))]
    found = compare(empty, runs, bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm seed 1": 0.9, "svm seed 0": 0.75})
    assert "the runs are repeats of one method: they are shown one by one" in found.notes
    again = compare(empty, [save(empty, "A", 15, run_id="aaaa"), save(empty, "A", 14, run_id="bbbb")], bootstrap=5)
    assert scores(again, "A") == pytest.approx({"svm run aaaa": 0.75, "svm run bbbb": 0.7})


def test_methods_by_some_facts_are_means_over_the_others(empty):
    for address, svm, et in (("net/first", 12, 14), ("net/last", 14, 18)):
        save(empty, "A", svm, "svm", address)
        save(empty, "A", et, "et", address)
    found = compare(empty, everything=True, by="classifier", bootstrap=5)
    assert scores(found, "A") == pytest.approx({"et": 0.8, "svm": 0.65})
    means = "svm on A, et on A are each the mean of 2 runs that differ in features"
    assert [means in note for note in found.notes].count(True) == 1
    # What is known of a method is what all of its runs share.
    facts = methods(found)["svm"]["facts"]
    assert (facts["classifier"], facts["dataset"]) == ("svm", "A")
    assert not {"run", "features", "layer"} & set(facts)
    save(empty, "A", 19, "svm", "net/first", rfe=True)
    by_selection = compare(empty, everything=True, by="rfe", bootstrap=5)
    assert scores(by_selection, "A") == pytest.approx({"rfe": 0.95, "no rfe": (0.6 + 0.7 + 0.7 + 0.9) / 4})
    with pytest.raises(UsageError) as caught:
        compare(empty, everything=True, by="clasifier", bootstrap=5)
    assert "Did you mean 'classifier'" in caught.value.next


def test_the_best_of_each_is_marked_as_chosen_on_the_test_set(empty):
    for dataset, rights in (("A", (12, 14, 16, 13)), ("B", (17, 11, 12, 13))):
        pairs = [("svm", "net/first"), ("svm", "net/last"), ("et", "net/first"), ("et", "net/last")]
        for (classifier, address), right in zip(pairs, rights, strict=True):
            save(empty, dataset, right, classifier, address)
    found = compare(empty, everything=True, best_of="classifier", bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm": 0.7, "et": 0.8})
    assert scores(found, "B") == pytest.approx({"svm": 0.85, "et": 0.65})
    assert methods(found)["svm"]["cells"]["A"]["chosen"] == "net/last svm"
    assert methods(found)["svm"]["cells"]["B"]["chosen"] == "net/first svm"
    assert any("chosen on the test samples: these scores are optimistic" in note for note in found.notes)
    assert "optimistic" in score_table(found).title
    assert found.to_json()["best_of"] == ["classifier"]


def test_of_equally_good_ones_the_first_is_chosen(empty):
    # 0.1 + 0.2 is above 0.3 in the last bit alone; 0.4 is better, 0.2 is not, and an undefined score is the worst.
    rows = [((0.3, 0.1 + 0.2, 0.2), 0), ((0.3, 0.2, 0.4), 2), ((None, 0.1, None), 1), ((0.1, None, 0.2), 2)]
    for values, chosen in rows:
        entries = [(make_record("A", address=f"net/{k}"), value) for k, value in enumerate(values)]
        entries.append((make_record("A", "et"), 0.25))
        cell = methods(compare_scores(with_scores(empty, entries), best_of="classifier"))["svm"]["cells"]["A"]
        assert (cell["chosen"], cell["score"]) == (f"net/{chosen}", values[chosen])


def test_the_same_comparison_twice_is_the_same_document(empty):
    for dataset in "AB":
        for classifier in ("svm", "et", "knn"):
            save(empty, dataset, 15, classifier)
    first = compare(empty, everything=True, bootstrap=50)
    assert json.dumps(compare(empty, everything=True, bootstrap=50).to_json()) == json.dumps(first.to_json())
    with pytest.raises(UsageError, match="--bootstrap 0 is not a whole number from 1"):
        compare(empty, everything=True, bootstrap=0)


def test_many_pairs_are_cut_for_people_alone(empty):
    entries = [(make_record("A", address=f"net/layer{i}"), 0.5 + 0.01 * i) for i in range(10)]
    found = compare_scores(with_scores(empty, entries))
    assert len(found.pairs) == 45
    (sheet,) = [s for s in comparison_sheets(found) if s.title.startswith("paired")]
    assert len(sheet.rows) == 9
    assert {row[0] for row in sheet.rows} == {"net/layer9"}
    assert all(row[2] > 0 for row in sheet.rows)


def test_many_classes_and_samples_without_groups_take_little_memory(empty):
    classes = [f"class {k:03}" for k in range(300)]
    rows = [(0, f"s{i}", classes[i % 300], [0.0] * (i % 7) + [1.0] + [0.0] * (299 - i % 7), None) for i in range(600)]
    runs = [
        save_run(empty, rows, run_id=name, classes=classes, group=None) for name in ("abcd12345678", "bbbb12345678")
    ]
    tracemalloc.start()
    found = compare(empty, runs, bootstrap=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 600 samples × 300 × 300 counts of eight bytes would be 432 MB.
    assert peak < 60e6
    right = sum(i % 300 == i % 7 for i in range(600))
    assert [row["score"] for row in found.rows] == [right / 600] * 2
