"""Comparisons of stored runs."""

import json

import numpy as np
import pytest

from histokit.errors import DataError, StoreError, UsageError
from histokit.evaluate import scored
from histokit.evaluate.compare import compare, compare_scores
from histokit.evaluate.evaluate import evaluate
from histokit.evaluate.tables import comparison_sheets
from histokit.features import FeatureStore
from tests.evaluate.made_up import make_record, methods, save, save_dataset, score_table, scores, with_scores


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


def test_one_run_is_no_comparison(empty):
    run = save(empty, "A", 15)
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, [run, run])
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, where="classifier = 'knn'")
    with pytest.raises(UsageError, match="not said which runs"):
        compare(empty)


def test_repeats_of_one_method_on_one_dataset_are_shown_one_by_one(empty):
    runs = [save(empty, "A", right, seed=seed) for seed, right in enumerate((15, 18))]
    found = compare(empty, runs, bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm seed 1": 0.9, "svm seed 0": 0.75})
    assert "the runs are repeats of one method: they are shown one by one" in found.notes
    again = compare(empty, [save(empty, "A", 15, run_id="aaaa"), save(empty, "A", 14, run_id="bbbb")], bootstrap=5)
    assert scores(again, "A") == pytest.approx({"svm run aaaa": 0.75, "svm run bbbb": 0.7})


def test_what_leaks_into_runs_is_named_again(empty):
    said = [
        "1 test sample is byte-identical to training samples (such as a = b): the scores may be too good",
        "2 of 20 samples were in the training of the model: their scores say nothing",
    ]
    save(empty, "A", 15, notes=[*said, "8 folds instead of 10"])
    save(empty, "A", 12, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert {f"net/last on A: {note}" for note in said} <= set(found.notes)
    assert not any("instead of" in note for note in found.notes)


def test_layers_chosen_on_the_test_samples_are_marked(empty):
    save(empty, "A", 15)
    peeked = save(empty, "A", 16, choose="test", candidates=["net/1", "net/2"])
    found = compare(empty, everything=True, bootstrap=5)
    assert any(f"layers of {peeked} were chosen on the test samples" in note for note in found.notes)
    assert {m["method"]: m["cells"]["A"]["optimistic"] for m in found.methods} == {"net/each": True, "net/last": False}


def test_many_runs_by_their_ids_or_beginnings(empty):
    runs = [save(empty, "A", 10 + i, address=f"net/{i}") for i in range(6)]
    calls = []
    found = compare(empty, [*runs[:5], runs[5][:5]], bootstrap=1, progress=lambda *given: calls.append(given))
    assert [row["run"] for row in found.rows] == runs
    assert calls == [(number, 6, run) for number, run in enumerate(runs, start=1)]


def test_a_newer_run_of_the_same_replaces_the_older_one(empty):
    old = save(empty, "A", 10, run_id="aaaa", created="2026-01-01")
    new = save(empty, "A", 18, run_id="bbbb", created="2026-02-01")
    other = save(empty, "A", 15, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm": 0.9, "et": 0.75})
    assert "aaaa is left out: bbbb is a newer run of the same on A" in found.notes
    by_hand = compare(empty, [old, new, other], bootstrap=5)
    assert scores(by_hand, "A") == pytest.approx({"svm run bbbb": 0.9, "et": 0.75, "svm run aaaa": 0.5})


def test_unlabelled_predictions(empty):
    runs = [save(empty, "A", 15), save(empty, "A", 14, "et")]
    blind = save(empty, "A", 0, "knn", labels=[None] * 20, scores=[1.0] * 20)
    found = compare(empty, dataset="A", bootstrap=5)
    assert set(scores(found, "A")) == {"svm", "et"}
    assert any(f"left out: None of the 20 predictions of the run {blind}" in note for note in found.notes)
    with pytest.raises(DataError, match="has a true label"):
        compare(empty, [*runs, blind])


def test_scores_that_are_no_numbers(empty):
    for name in "AB":
        save_dataset(empty, name, "roc_auc")
        for classifier in ("svm", "et", "knn"):
            broken = [np.nan, *np.tile([-1.0, 1.0], 10)[1:]] if (classifier, name) == ("knn", "B") else None
            save(empty, name, 15, classifier, scores=broken)
    found = compare(empty, everything=True, bootstrap=20)
    assert scores(found, "B")["knn"] is None
    assert found.ranking["left_out"] == {"knn": ["B"]}
    assert any("scores that are no numbers" in note for note in found.notes)
    assert [p["difference"] for p in found.pairs if "knn" in (p["first"], p["second"]) and p["column"] == "B"] == [
        None,
        None,
    ]
    json.dumps(found.to_json(), allow_nan=False)
    assert scores(compare(empty, dataset="B", metric="accuracy", bootstrap=5), "B")["knn"] == pytest.approx(1.0)


def test_an_undefined_score_is_named(empty):
    save_dataset(empty, "A", "roc_auc")
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier, run_id=f"{classifier}1234", labels=["a"] * 20)
    found = compare(empty, everything=True, bootstrap=20)
    assert scores(found, "A") == {"svm": None, "et": None}
    assert "the roc_auc of svm1234 on A is undefined" in found.notes
    assert found.rows[0]["interval"] is None
    assert [row[2] for row in score_table(found).rows] == [None, None]


def test_filters_over_what_is_known_of_runs(empty):
    save(empty, "A", 15, seed=0)
    save(empty, "A", 15, "et", seed=1, rfe=True)
    save(empty, "B", 15, "et", seed=2, grid=[{"C": 1}])

    def kept(where):
        return sorted(row["dataset"] + row["classifier"] for row in compare(empty, where=where, bootstrap=1).rows)

    assert kept("seed > 0") == ["Aet", "Bet"]
    assert kept("dataset = 'A'") == ["Aet", "Asvm"]
    assert kept("NOT rfe") == ["Asvm", "Bet"]
    assert kept("strategy = 'feature selection' OR grid IS NOT NULL") == ["Aet", "Bet"]
    with pytest.raises(UsageError) as caught:
        kept("klassifier = 'svm'")
    assert "there is no column 'klassifier'" in caught.value.message
    assert "classifier, " in caught.value.next
    with pytest.raises(UsageError):
        kept("seed = ")
    with pytest.raises(StoreError, match="no dataset 'Z'"):
        compare(empty, dataset="Z")


def test_methods_by_some_facts_are_means_over_the_others(empty):
    for address, svm, et in (("net/first", 12, 14), ("net/last", 14, 18)):
        save(empty, "A", svm, "svm", address)
        save(empty, "A", et, "et", address)
    found = compare(empty, everything=True, by="classifier", bootstrap=5)
    assert scores(found, "A") == pytest.approx({"et": 0.8, "svm": 0.65})
    assert any("svm on A is the mean of 2 runs that differ in features" in note for note in found.notes)
    # What is known of a method is what all of its runs share.
    facts = methods(found)["svm"]["facts"]
    assert (facts["classifier"], facts["dataset"]) == ("svm", "A")
    assert not {"run", "features", "layer"} & set(facts)
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


def test_the_same_comparison_twice_is_the_same_document(empty, monkeypatch):
    for dataset in "AB":
        for classifier in ("svm", "et", "knn"):
            save(empty, dataset, 15, classifier)
    first = compare(empty, everything=True, bootstrap=50)
    monkeypatch.setattr(scored, "_BATCH", 2)
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
