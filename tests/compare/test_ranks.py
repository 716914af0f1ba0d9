"""Ranks and tests over datasets, against worked examples and scipy."""

import numpy as np
import pytest
from scipy import stats

from histokit.compare import resampled
from histokit.compare.ranks import marks, places, rank_scores
from histokit.compare.significance import (
    compare_pairs,
    critical_difference,
    friedman,
    holm,
    not_apart,
    smallest_p,
    wilcoxon,
)
from histokit.evaluate.frame import Frame
from histokit.evaluate.summary import fold_mean
from histokit.protocol import scorers

#: AUC of four classifiers on fourteen datasets: Demšar 2006, table 6, whose ranks of the last row but one tell two
#: areas apart that are both printed as 0.975.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_the_best_of_n_gets_n_and_ties_share():
    assert rank_scores(np.array([[0.9, 0.7, 0.8], [0.5, 0.5, 0.9], [0.4, 0.4, 0.4]])).tolist() == [
        [3, 1, 2],
        [1.5, 1.5, 3],
        [2, 2, 2],
    ]
    assert rank_scores(np.array([[0.1 + 0.2, 0.3]])).tolist() == [[1.5, 1.5]], "rounding errors are no difference"


def test_average_ranks_of_the_published_example():
    # Demšar ranks the best as 1: his ranks 3.143, 2.000, 2.893 and 1.964 are 5 minus these.
    assert (5 - rank_scores(DEMSAR).mean(0)).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]


def test_the_best_is_first_whatever_the_last_digit_of_its_score():
    assert places([3 / 40_960, 2 / 40_960, 3 / 40_960]) == [1, 3, 1]


def test_places_and_marks():
    scores = [0.8, None, 0.9, 0.9, 0.7]
    assert places(scores) == [3, None, 1, 1, 4]
    assert marks(scores) == ["second", None, "best", "best", None]
    assert marks([0.8, None]) == [None, None], "one score is not the best of anything"
    assert marks([0.8, 0.8]) == ["best", "best"]


def test_friedman_of_the_published_example():
    found = friedman(DEMSAR)
    expected = stats.friedmanchisquare(*DEMSAR.T)
    assert (found["statistic"], found["p"], found["df"]) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
        3,
    )
    # Without scipy's correction for ties: 9.28, as printed; F is 3.69 there.
    ranks = rank_scores(DEMSAR)
    plain = 12 * 14 / (4 * 5) * ((ranks.mean(0) ** 2).sum() - 4 * 5**2 / 4)
    assert round(plain, 2) == 9.28
    chi2 = found["statistic"]
    assert found["iman_davenport"]["statistic"] == pytest.approx(13 * chi2 / (14 * 3 - chi2))
    assert found["iman_davenport"]["df"] == [3, 39]
    assert found["iman_davenport"]["p"] == pytest.approx(stats.f.sf(13 * chi2 / (42 - chi2), 3, 39))


def test_friedman_of_one_order_everywhere_and_of_ties_everywhere():
    always = friedman(np.tile([0.1, 0.2, 0.3], (6, 1)))
    assert always["statistic"] == pytest.approx(12)
    assert always["iman_davenport"] == {"statistic": None, "df": [2, 10], "p": 0.0}
    assert friedman(np.full((6, 3), 0.5)) is None


@pytest.mark.parametrize(
    ("methods", "q"),
    list(enumerate([1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], start=2)),
)
def test_critical_differences_are_the_published_ones(methods, q):
    # Demšar 2006, table 5a; its last digit is off by one for 3 and 7 methods.
    assert critical_difference(methods, 10) == pytest.approx(q * np.sqrt(methods * (methods + 1) / 60), rel=6e-4)


def test_the_critical_difference_of_the_published_example():
    assert round(critical_difference(4, 14), 2) == 1.25


def test_groups_that_are_not_told_apart():
    names, ranks = ["a", "b", "c", "d"], [1.0, 3.4, 2.5, 3.1]
    assert not_apart(names, ranks, 1.0) == [["b", "d", "c"]]
    assert not_apart(names, ranks, 1.6) == [["b", "d", "c"], ["c", "a"]]
    assert not_apart(names, ranks, 0.1) == []
    assert not_apart(["a", "b"], [1, 2], 1.0) == [], "a difference as large as the critical one counts"
    assert not_apart(names, ranks, 9) == [["b", "d", "c", "a"]]


@pytest.mark.parametrize("count", [1, 2, 5, 8, 14, 30, 50, 51, 60])
def test_wilcoxon_equals_scipy_without_ties(count):
    d = np.random.default_rng(count).normal(0.3, 1, count)
    expected = stats.wilcoxon(d)
    assert wilcoxon(d) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


@pytest.mark.parametrize("seed", range(8))
def test_wilcoxon_equals_scipy_with_ties_and_zeros(seed):
    d = np.random.default_rng(seed).integers(-2, 4, 3 + seed % 5).astype(float)
    expected = stats.wilcoxon(d)
    assert wilcoxon(d) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    many = np.random.default_rng(seed).integers(-2, 4, 20).astype(float)
    assert wilcoxon(many)[1] == pytest.approx(stats.wilcoxon(many).pvalue)
    one_zero = np.append(np.arange(1.0, 16) * np.random.default_rng(seed).choice([-1, 1, 1], 15), 0)
    expected = stats.wilcoxon(one_zero)
    assert wilcoxon(one_zero) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_wilcoxon_by_hand():
    # Ranks 1, 2, 3.5, 3.5: the sum below zero is 1; of 16 signs, those with a sum of 0 or 1 are two, twice that is 4.
    assert wilcoxon(np.array([-0.1, 0.2, 0.3, 0.3])) == (1.0, pytest.approx(4 / 16))
    assert wilcoxon(np.array([0.9 - 0.8, 0.8 - 0.7])) == (0.0, 0.5), "equal up to rounding errors"
    assert wilcoxon(np.zeros(6)) == (0.0, 1.0)


def test_the_smallest_p():
    for datasets in (2, 5, 6, 9):
        assert wilcoxon(np.arange(1, datasets + 1.0))[1] == pytest.approx(smallest_p(datasets))
    assert (smallest_p(5), smallest_p(6)) == (0.0625, 0.03125)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, never falling: .04 .06 .06 .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_pairs_count_wins():
    rows = [[0.9, 0.8], [0.7, 0.7], [0.5, 0.6], [0.8, 0.6], [0.95, 0.6], [0.4, 0.4], [0.1, 0.3], [0.9, 0.7], [0.8, 0.7]]
    scores = np.array([*rows, [0.3, 0.3]])
    (pair,) = compare_pairs(["a", "b"], scores)
    assert (pair["wins"], pair["losses"], pair["ties"]) == (5, 2, 3)
    assert pair["median_difference"] == pytest.approx(0.05)
    assert pair["p"] == pair["p_holm"] == pytest.approx(stats.wilcoxon(np.round(scores[:, 0] - scores[:, 1], 9)).pvalue)


@pytest.mark.parametrize("classes", ["ab", "abc"])
@pytest.mark.parametrize("most", [0, 10**7])
def test_areas_of_resamples_are_those_of_the_scorer(monkeypatch, classes, most):
    monkeypatch.setattr(scorers, "HELD_AT_ONCE", most)
    rng = np.random.default_rng(0)
    n, k = 120, len(classes)
    scores = rng.integers(0, 6, (n, k)).astype(float)
    fold, units = np.arange(n) % 3, rng.integers(0, 12, n)
    codes, none = rng.integers(0, k, n), np.full(n, None, object)
    frame = Frame(tuple(classes), None, none, codes, scores.argmax(1), scores, 0 * fold, fold, none, {})
    weights = np.vstack([np.ones((1, 12)), rng.multinomial(12, np.full(12, 1 / 12), size=30)])
    values, each = resampled.resample_areas(frame, units, weights)
    assert values == pytest.approx(fold_mean(frame, units, weights, "roc_auc"))
    assert each[1] == pytest.approx(frame.take(fold == 1).scorer().values(["roc_auc"])["roc_auc"])
    for metric in ("balanced_accuracy", "f1_macro"):
        values, each = resampled.resample_counts(frame, units, weights, metric)
        assert values == pytest.approx(frame.scorer(units).resample(weights, [metric])[metric])
        assert each[2] == pytest.approx(frame.take(fold == 2).scorer().values([metric])[metric])
