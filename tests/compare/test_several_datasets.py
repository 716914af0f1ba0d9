"""Comparisons over several datasets: seeds, ranks and tests."""

import numpy as np
import pytest
from scipy import stats

from histokit.compare.compare import compare
from histokit.compare.sheets import comparison_sheets
from histokit.features import FeatureStore
from tests.compare.made_up import methods, ranked, score_table, scores
from tests.evaluate.made_up import save


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


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


def test_the_score_of_seeds_is_their_mean_and_its_interval_that_of_the_mean(empty):
    # Of 20 samples 2, 8 and 18 are right: the mean is 7/15, above the 9/20 of et, and the median 8/20 below it.
    for seed, right in enumerate((2, 8, 18)):
        save(empty, "A", right, seed=seed)
    save(empty, "A", 9, "et")
    found = compare(empty, everything=True, bootstrap=20_000)
    cell = methods(found)["svm"]["cells"]["A"]
    assert (cell["score"], cell["place"]) == (pytest.approx(7 / 15), 1)
    assert cell["std_over_runs"] == pytest.approx(np.std([0.1, 0.4, 0.9]))
    assert methods(found)["et"]["cells"]["A"]["std_over_runs"] is None
    # Of the ten slides one is right with all three seeds, three with two, five with one, and the last with none.
    weights = np.ones(1)
    for _ in range(10):
        weights = np.convolve(weights, [0.1, 0.5, 0.3, 0.1])
    edges = np.searchsorted(weights.cumsum(), [0.025, 0.975]) / 30
    assert cell["interval"] == pytest.approx(edges)


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
    assert "; ranks: 3 is the highest" in score_table(found).title
    tests = ranking["tests"]
    assert (tests["friedman"], tests["nemenyi"], tests["datasets"]) == (None, None, 2)
    assert [pair["p"] for pair in tests["wilcoxon"]] == [1.0, 0.5, 1.0], "of et and knn one tie is left out"
    assert any("2 datasets: Friedman's and Nemenyi's tests need 6" in note for note in found.notes)
    few = "2 datasets are few: no p of the signed-rank test can be smaller than 0.5"
    assert f"{few}, 1 after Holm's correction for 3 pairs" in found.notes
    assert few in compare(empty, where="classifier IN ('svm', 'et')", bootstrap=2).notes, "one pair needs no correction"


def test_six_datasets_have_the_tests_of_scipy(empty):
    rows = np.random.default_rng(3).uniform(0.5, 1, (6, 4)).round(3) + np.array([0.2, 0.1, 0, 0])
    found = ranked(empty, rows.tolist())
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
    found = ranked(empty, [[0.8, 0.8, 0.8]] * 6)
    assert found.ranking["average_ranks"] == {"svm": 2, "et": 2, "knn": 2}
    assert found.ranking["tests"]["friedman"] is None
    assert {pair["p_holm"] for pair in found.ranking["tests"]["wilcoxon"]} == {1.0}
    assert found.ranking["tests"]["nemenyi"]["not_apart"] == [["svm", "et", "knn"]]
    assert "every dataset ties all methods: Friedman's test is undefined" in found.notes
    assert {cell["mark"] for method in found.methods for cell in method["cells"].values()} == {"best"}


def test_ranks_that_do_not_differ_are_told(empty):
    turns = [[0.9, 0.8, 0.7], [0.7, 0.9, 0.8], [0.8, 0.7, 0.9]]
    assert "Friedman's test finds no difference of ranks (p = 1)" in ranked(empty, turns * 2).notes
    clear = ranked(FeatureStore(empty.uri / "clear"), turns[:1] * 6)
    # The largest chi squared of three methods on six datasets is 12.
    assert clear.ranking["tests"]["friedman"]["p"] == pytest.approx(stats.chi2.sf(12, 2))
    assert not any("Friedman" in note for note in clear.notes)


def test_two_methods_on_six_datasets_have_the_signed_rank_test_alone(empty):
    found = ranked(empty, [[0.8 + 0.01 * i, 0.7] for i in range(6)])
    assert found.ranking["tests"]["friedman"] is None
    assert found.ranking["tests"]["wilcoxon"][0]["p"] == pytest.approx(2 / 64)
    assert not any("few" in note for note in found.notes)
    assert any("two methods" in note for note in found.notes)


def test_one_method_on_two_datasets_has_no_ranks(empty):
    save(empty, "A", 15)
    save(empty, "B", 18)
    found = compare(empty, everything=True, bootstrap=5)
    assert found.ranking is None
    assert [m["method"] for m in found.methods] == ["net/last svm"]
    assert "no ranks: fewer than two methods have a score on every dataset" in found.notes


def test_of_many_pairs_those_of_the_smallest_p_are_shown(empty):
    names = tuple("abcdefghi")
    rng = np.random.default_rng(0)
    found = ranked(empty, rng.uniform(0.5, 0.9, (6, 9)) + 0.03 * np.arange(9), names)
    (sheet,) = [s for s in comparison_sheets(found) if s.title.startswith("Wilcoxon's")]
    assert "the 28 smallest p of 36, all: --json" in sheet.title
    every = sorted(pair["p"] for pair in found.ranking["tests"]["wilcoxon"])
    assert len(every) == 36
    assert every[0] < every[-1]
    assert [row[-2] for row in sheet.rows] == every[:28]
