"""Comparisons of stored runs."""

import json

import numpy as np
import pytest
from scipy import stats

from histokit.errors import DataError, StoreError, UsageError
from histokit.evaluate import scored
from histokit.evaluate.compare import compare, compare_scores
from histokit.evaluate.evaluate import evaluate
from histokit.evaluate.rank_figure import rank_figure
from histokit.evaluate.tables import comparison_sheets
from histokit.features import FeatureStore
from histokit.store.records import Split, split_rows
from tests.evaluate.made_up import make_record, save, save_dataset, with_scores


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def methods(found):
    return {method["method"]: method for method in found.methods}


def scores(found, column):
    return {name: m["cells"][column]["score"] for name, m in methods(found).items() if column in m["cells"]}


def score_table(found):
    return next(iter(comparison_sheets(found)))


def test_seeds_are_averaged_before_ranking(empty):
    # svm scores 0.5 and 0.9 with two seeds: 0.7, below et's 0.75, though its best seed is above.
    for dataset, svm, et in (("A", (10, 18), (15,)), ("B", (12, 12), (16,))):
        for classifier, rights in (("svm", svm), ("et", et)):
            for seed, right in enumerate(rights):
                save(empty, dataset, right, classifier, seed=seed)
    found = compare(empty, everything=True, bootstrap=10)
    assert scores(found, "A") == pytest.approx({"et": 0.75, "svm": 0.7})
    assert methods(found)["svm"]["cells"]["A"]["std_over_runs"] == pytest.approx(0.2)
    assert len(methods(found)["svm"]["cells"]["A"]["runs"]) == 2
    assert [(m["method"], m["average_rank"]) for m in found.methods] == [("et", 2), ("svm", 1)]
    assert [c["mark"] for c in methods(found)["et"]["cells"].values()] == ["best", "best"]
    assert [c["mark"] for c in methods(found)["svm"]["cells"].values()] == ["second", "second"]
    assert len(found.rows) == 6


def test_two_datasets_have_ranks_and_no_omnibus_test(empty):
    for dataset, rights in (("A", (18, 16, 16)), ("B", (12, 14, 11))):
        for classifier, right in zip(("svm", "et", "knn"), rights, strict=True):
            save(empty, dataset, right, classifier)
    save(empty, "A", 20, "fc")
    found = compare(empty, everything=True, bootstrap=10)
    ranking = found.ranking
    # Among the three that are on both: A 3, 1.5, 1.5; B 2, 3, 1.
    assert ranking["average_ranks"] == {"svm": 2.5, "et": 2.25, "knn": 1.25}
    assert ranking["left_out"] == {"fc": ["B"]}
    assert methods(found)["fc"]["cells"]["A"]["mark"] == "best", "left out of the ranks alone"
    assert methods(found)["fc"]["average_rank"] is None
    assert found.methods[-1]["method"] == "fc"
    assert "left out of the ranks, without a score on B: fc" in found.notes
    tests = ranking["tests"]
    assert (tests["friedman"], tests["nemenyi"], tests["datasets"]) == (None, None, 2)
    assert [pair["p"] for pair in tests["wilcoxon"]] == [1.0, 0.5, 1.0], "of et and knn one tie is left out"
    assert any("2 datasets: Friedman's and Nemenyi's tests need 6" in note for note in found.notes)
    assert any("no p of the signed-rank test can be smaller than 0.5" in note for note in found.notes)


def six(store, rows):
    entries = [
        (make_record(f"D{number}", classifier), score)
        for number, row in enumerate(rows)
        for classifier, score in zip(("svm", "et", "knn", "fc"), row, strict=False)
    ]
    return compare_scores(with_scores(store, entries))


def test_six_datasets_have_the_tests_of_scipy(empty):
    rows = np.random.default_rng(3).uniform(0.5, 1, (6, 4)).round(3) + np.array([0.2, 0.1, 0, 0])
    found = six(empty, rows.tolist())
    tests = found.ranking["tests"]
    expected = stats.friedmanchisquare(*rows.T)
    assert tests["friedman"]["statistic"] == pytest.approx(expected.statistic)
    assert tests["friedman"]["p"] == pytest.approx(expected.pvalue)
    names = ["svm", "et", "knn", "fc"]
    ranks = stats.rankdata(rows, axis=1).mean(0)
    assert found.ranking["average_ranks"] == pytest.approx(dict(zip(names, ranks, strict=True)))
    for pair in tests["wilcoxon"]:
        first, second = (rows[:, names.index(pair[side])] for side in ("first", "second"))
        assert pair["p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    p = sorted(tests["wilcoxon"], key=lambda pair: pair["p"])
    assert p[0]["p_holm"] == pytest.approx(min(1, 6 * p[0]["p"]))
    assert tests["nemenyi"]["critical_difference"] == pytest.approx(2.569 * np.sqrt(20 / 36), abs=1e-3)
    assert any("after Holm's correction for 6 pairs" in note for note in found.notes)
    titles = [sheet.title for sheet in comparison_sheets(found)]
    assert any("Nemenyi" in title for title in titles)


def test_equal_scores_everywhere_have_no_friedman_test(empty):
    found = six(empty, [[0.8, 0.8, 0.8]] * 6)
    assert found.ranking["average_ranks"] == {"svm": 2, "et": 2, "knn": 2}
    assert found.ranking["tests"]["friedman"] is None
    assert {pair["p_holm"] for pair in found.ranking["tests"]["wilcoxon"]} == {1.0}
    assert found.ranking["tests"]["nemenyi"]["not_apart"] == [["svm", "et", "knn"]]
    assert "every dataset ties all methods: Friedman's test is undefined" in found.notes
    assert {cell["mark"] for method in found.methods for cell in method["cells"].values()} == {"best"}


def test_two_methods_on_six_datasets_have_the_signed_rank_test_alone(empty):
    found = six(empty, [[0.8 + 0.01 * i, 0.7] for i in range(6)])
    assert found.ranking["tests"]["friedman"] is None
    assert found.ranking["tests"]["wilcoxon"][0]["p"] == pytest.approx(2 / 64)
    assert not any("few" in note for note in found.notes)
    assert any("two methods" in note for note in found.notes)


def test_one_dataset_has_paired_differences_and_no_ranks(empty):
    good, bad = save(empty, "A", 20), save(empty, "A", 16, "et")
    found = compare(empty, [good[:6], bad], bootstrap=500)
    assert found.ranking is None
    assert found.metric == "accuracy"
    (pair,) = found.pairs
    assert (pair["first"], pair["second"], pair["groups"]) == ("svm", "et", 10)
    assert pair["difference"] == pytest.approx(0.2)
    # Of ten slides two are wrong: a resample without them has the probability 0.8 ** 10 = 0.107, and no other is 0.
    assert pair["p"] == pytest.approx(2 * 0.8**10, abs=0.05)
    assert pair["interval"] == [0.0, pytest.approx(0.5, abs=0.11)]
    assert (pair["first_runs"], pair["second_runs"]) == ([good], [bad])
    assert score_table(found).rows[0][:3] == ["svm", good, "1.0000 (1)"]


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


def test_one_run_is_no_comparison(empty):
    run = save(empty, "A", 15)
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, [run, run])
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, where="classifier = 'knn'")
    with pytest.raises(UsageError, match="not said which runs"):
        compare(empty)


def test_one_method_on_two_datasets_has_no_ranks(empty):
    save(empty, "A", 15)
    save(empty, "B", 18)
    found = compare(empty, everything=True, bootstrap=5)
    assert found.ranking is None
    assert [m["method"] for m in found.methods] == ["net/last svm"]
    assert "no ranks: fewer than two methods have a score on every dataset" in found.notes


def test_repeats_of_one_method_on_one_dataset_are_shown_one_by_one(empty):
    runs = [save(empty, "A", right, seed=seed) for seed, right in enumerate((15, 18))]
    found = compare(empty, runs, bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm seed 1": 0.9, "svm seed 0": 0.75})
    assert "the runs are repeats of one method: they are shown one by one" in found.notes
    again = compare(empty, [save(empty, "A", 15, run_id="aaaa"), save(empty, "A", 14, run_id="bbbb")], bootstrap=5)
    assert scores(again, "A") == pytest.approx({"svm run aaaa": 0.75, "svm run bbbb": 0.7})


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
    assert {pair["column"] for pair in found.pairs} == {"A", "B (cv)"}
    kept = compare(empty, where="split = 'cv'", bootstrap=5)
    assert kept.ranking["average_ranks"] == {"et": 2, "svm": 1}


def test_one_split_name_of_two_digests_is_kept_apart(empty):
    runs = [save(empty, "A", 15, digest="aaaabbbb"), save(empty, "A", 20, digest="ccccdddd")]
    found = compare(empty, runs, bootstrap=5)
    assert [column["column"] for column in found.columns] == ["A (cv aaaa)", "A (cv cccc)"]
    assert found.pairs == []


def test_a_split_that_leaks_is_named(empty):
    save_dataset(empty, "A")
    rows = split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])
    empty.save_split(Split("A", "published", rows, leaks="images of a patient are on both sides"))
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier, split="published")
    found = compare(empty, everything=True, bootstrap=5)
    assert "the split published of A leaks: images of a patient are on both sides" in found.notes


def test_what_leaks_into_runs_is_named_again(empty):
    said = ["1 test sample is byte-identical to training samples (such as a = b): the scores may be too good"]
    save(empty, "A", 15, notes=[*said, "8 folds instead of 10"])
    save(empty, "A", 12, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert f"net/last on A: {said[0]}" in found.notes
    assert not any("instead of" in note for note in found.notes)


def test_layers_chosen_on_the_test_samples_are_marked(empty):
    save(empty, "A", 15)
    peeked = save(empty, "A", 16, choose="test", candidates=["net/1", "net/2"])
    found = compare(empty, everything=True, bootstrap=5)
    assert any(f"layers of {peeked} were chosen on the test samples" in note for note in found.notes)
    assert {m["method"]: m["cells"]["A"]["optimistic"] for m in found.methods} == {"net/each": True, "net/last": False}


def test_targets_and_filters_are_tasks_of_their_own(empty):
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier)
        save(empty, "A", 12, classifier, target="grade")
        save(empty, "A", 11, classifier, where="slide <> 'P1'")
    found = compare(empty, everything=True, bootstrap=5)
    assert sorted(c["column"] for c in found.columns) == ["A", "A of grade", "A where slide <> 'P1'"]
    assert found.ranking["tests"]["datasets"] == 3
    assert any("several targets or filters" in note for note in found.notes)


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


def test_seeds_on_other_samples_are_named_and_not_paired(empty):
    save(empty, "A", 15)
    save(empty, "A", 15, seed=1, labels=["a"] * 10 + ["b"] * 10)
    save(empty, "A", 14, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert found.pairs == []
    assert methods(found)["svm"]["cells"]["A"]["interval"] is None
    assert "the runs of svm on A were not all scored on the same samples" in found.notes


def test_many_runs_by_their_ids_or_beginnings(empty):
    runs = [save(empty, "A", 10 + i, address=f"net/{i}") for i in range(6)]
    found = compare(empty, [*runs[:5], runs[5][:5]], bootstrap=1)
    assert [row["run"] for row in found.rows] == runs


def test_a_newer_run_of_the_same_replaces_the_older_one(empty):
    old = save(empty, "A", 10, run_id="aaaa", created="2026-01-01")
    new = save(empty, "A", 18, run_id="bbbb", created="2026-02-01")
    other = save(empty, "A", 15, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert scores(found, "A") == pytest.approx({"svm": 0.9, "et": 0.75})
    assert "aaaa is left out: bbbb is a newer run of the same on A" in found.notes
    by_hand = compare(empty, [old, new, other], bootstrap=5)
    assert scores(by_hand, "A") == pytest.approx({"svm run bbbb": 0.9, "et": 0.75, "svm run aaaa": 0.5})


def test_runs_of_the_kind_predict(empty):
    trained = {c: save(empty, "A", 15, c, run_id=f"{c}1111", source_run=None) for c in ("svm", "et")}
    for dataset in "BC":
        for classifier, right in (("svm", 14), ("et", 13)):
            changes = {"kind": "predict", "split": "", "digest": "", "source_run": trained[classifier]}
            save(empty, dataset, right, classifier, run_id=f"{classifier}{dataset}", **{**changes, "split_digest": ""})
    found = compare(empty, where="kind = 'predict'", bootstrap=5)
    assert found.ranking["average_ranks"] == {"svm": 2, "et": 1}
    assert found.methods[0]["facts"]["trained_on"] == "A"
    everything = compare(empty, everything=True, bootstrap=5)
    assert everything.ranking is None
    assert {"svm predict", "svm train"} <= set(methods(everything))


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


def test_the_same_comparison_twice_is_the_same_document(empty, monkeypatch):
    for dataset in "AB":
        for classifier in ("svm", "et", "knn"):
            save(empty, dataset, 15, classifier)
    first = compare(empty, everything=True, bootstrap=50)
    monkeypatch.setattr(scored, "_BATCH", 2)
    assert json.dumps(compare(empty, everything=True, bootstrap=50).to_json()) == json.dumps(first.to_json())
    with pytest.raises(UsageError, match="resamples"):
        compare(empty, everything=True, bootstrap=0)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_rank_plot_is_the_same_bytes_twice(empty, tmp_path, ending):
    rows = np.random.default_rng(3).uniform(0.5, 1, (6, 4)).tolist()
    found = six(empty, rows)
    first, second = (rank_figure(found, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
    assert first == second
    assert len(first) > 3000


def test_figures_without_ranks_show_scores(empty, tmp_path):
    save(empty, "A", 15)
    save(empty, "A", 16, "et", address="other/last")
    save(empty, "A", 16, "et")
    found = compare(empty, everything=True, bootstrap=20)
    assert rank_figure(found, tmp_path / "scores.png").stat().st_size > 3000
    with pytest.raises(UsageError, match="cannot be written"):
        rank_figure(found, tmp_path / "nowhere" / "scores.png")


def test_many_pairs_are_cut_for_people_alone(empty):
    entries = [(make_record("A", address=f"net/layer{i}"), 0.5 + 0.01 * i) for i in range(10)]
    found = compare_scores(with_scores(empty, entries))
    assert len(found.pairs) == 45
    (sheet,) = [s for s in comparison_sheets(found) if s.title.startswith("paired")]
    assert len(sheet.rows) == 9
    assert {row[0] for row in sheet.rows} == {"net/layer9"}
    assert all(row[2] > 0 for row in sheet.rows)
