import warnings
from typing import ClassVar

import numpy as np
import pytest
from sklearn import metrics as sk

from histokit.errors import UsageError
from histokit.protocol import scorers
from histokit.protocol.metrics import METRICS, Counts, class_metrics
from histokit.protocol.scorers import Scorer, check_metric, reasons


def make(n, k, seed=0, absent=None):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    scores = np.round(rng.normal(size=(n, k)) + 1.5 * (true[:, None] == np.arange(k)), 1)
    if k == 2:
        scores[:, 0] = -scores[:, 1]
    predicted = scores.argmax(1)
    return true, predicted, scores


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("n", [7, 200])
def test_metrics_equal_scikit_learns(n, k):
    true, predicted, scores = make(n, k, seed=n + k)
    values = Scorer(true, predicted, scores).values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {"accuracy": sk.accuracy_score(true, predicted)}
        expected["balanced_accuracy"] = sk.balanced_accuracy_score(true, predicted)
        for average in ("macro", "weighted"):
            found = sk.precision_recall_fscore_support(true, predicted, average=average)
            expected |= {f"{n}_{average}": v for n, v in zip(("precision", "recall", "f1"), found, strict=False)}
        expected["eta_p"], expected["eta_w"] = expected["accuracy"], expected["balanced_accuracy"]
        expected["eta_total"] = expected["accuracy"] * expected["balanced_accuracy"]
        expected["eta_w_precision"] = expected["precision_macro"]
    areas = [sk.roc_auc_score(true == c, scores[:, c]) for c in range(k) if 0 < (true == c).sum() < n]
    expected["roc_auc"] = np.mean(areas)
    assert set(values) == set(expected), "each metric is compared with another library here"
    assert values == pytest.approx(expected)


def test_class_metrics_by_hand():
    # Two of three "a" right; the one "b" right; "c" neither there nor predicted.
    found = class_metrics(np.array([[2.0, 1, 0], [0, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(found["precision"], [1, 0.5, np.nan])
    np.testing.assert_allclose(found["recall"], [2 / 3, 1, np.nan])
    np.testing.assert_allclose(found["f1"], [0.8, 2 / 3, np.nan])
    np.testing.assert_allclose(found["support"], [3, 1, 0])


def test_eta_is_of_recall_and_never_nan_where_a_class_is_never_predicted():
    # Scans of 4, 2 and 2 patches; the third is never predicted, and a fourth that has no patches is predicted once.
    true = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 1, 3])
    values = Scorer(true, predicted, np.eye(4)[predicted]).values()
    assert values["eta_p"] == pytest.approx(5 / 8)
    assert values["eta_w"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert values["eta_total"] == pytest.approx(5 / 8 * 7 / 12)
    # The mean over columns of the matrix: 3 of 3, 2 of 4, 0 of 0 (which counts as zero) and 0 of 1.
    assert values["eta_w_precision"] == pytest.approx((1 + 1 / 2 + 0 + 0) / 4)


def test_roc_auc_with_ties_and_infinite_scores():
    true = np.array([0, 1, 0, 1])
    score = np.array([-np.inf, -np.inf, 0.0, np.inf])
    scorer = Scorer(true, (score > 0).astype(int), np.stack([-score, score], 1))
    # Pairs: tie, loss (-inf against 0), win, win.
    assert scorer.values(["roc_auc"])["roc_auc"] == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_positive_class_may_be_the_first():
    true, predicted, scores = make(50, 2)
    assert Scorer(true, predicted, scores, 0).values() == pytest.approx(Scorer(true, predicted, scores, 1).values())


def test_one_class_alone_has_no_area_and_a_reason():
    values = Scorer(np.zeros(3, int), np.array([0, 0, 1]), np.zeros((3, 2))).values()
    assert np.isnan(values["roc_auc"])
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert reasons(values, ["a"])["roc_auc"] == "all samples are of the class 'a'"
    assert "accuracy" not in reasons(values, ["a"])
    assert reasons({"roc_auc": np.nan}, [])["roc_auc"] == "there are no labelled samples"


def test_no_class_is_blamed_for_what_several_classes_leave_undefined():
    assert reasons({"agreement": np.nan}, ["a", "b"]) == {"agreement": "it is not defined for these predictions"}


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("resamples", [5, 30])
@pytest.mark.parametrize("held", [80, 4_000_000])
def test_resampling_units_equals_repeating_their_samples(k, resamples, held, monkeypatch):
    monkeypatch.setattr(scorers, "HELD_AT_ONCE", held)
    true, predicted, scores = make(60, k)
    # There is no unit 3.
    units = np.arange(60) % 8 // 2 * 2 + (np.arange(60) % 8 == 1)
    scorer = Scorer(true, predicted, scores, units=units)
    weights = np.random.default_rng(1).multinomial(7, np.full(7, 1 / 7), size=resamples).astype(float)
    found = scorer.resample(weights)
    for row in range(resamples):
        rows = np.repeat(np.arange(60), weights[row, units].astype(int))
        expected = Scorer(true[rows], predicted[rows], scores[rows]).values()
        assert {name: found[name][row] for name in METRICS} == pytest.approx(expected, nan_ok=True)


class Weights(np.ndarray):
    """Tells how many weights were taken of it at once."""

    taken: ClassVar[list[int]] = []

    def __getitem__(self, key):
        found = super().__getitem__(key)
        self.taken.append(np.size(found))
        return found


def test_resampling_few_units_does_not_look_at_all_samples_in_each_resample():
    true, predicted, scores = make(5_000, 3)
    weights = np.random.default_rng(1).multinomial(20, np.full(20, 1 / 20), size=100).astype(float).view(Weights)
    Weights.taken.clear()
    Scorer(true, predicted, scores, units=np.arange(5_000) % 20).resample(weights)
    assert max(Weights.taken) <= weights.size


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.value is not None])
def test_a_row_says_whether_a_metric_is_over_classes(name):
    """It is where it jumps as the last sample of a class, be it this or that one, goes, however little that weighs."""
    counts = np.tile(np.ones((3, 3)) + 3 * np.eye(3), (3, 2, 1, 1))
    for code in range(3):
        # Never predicted: what is would still be a class that some metrics are over.
        counts[code, :, :, code] = 0
        counts[code, 0, code] *= 1e-9
        counts[code, 1, code] = 0
    rare, gone = np.moveaxis(METRICS[name].value(Counts(counts)), -1, 0)
    assert METRICS[name].over_classes == bool((np.abs(rare - gone) > 1e-3).any())


def test_unknown_metric_is_guessed():
    with pytest.raises(UsageError) as caught:
        check_metric("acuracy")
    assert "Did you mean 'accuracy'" in caught.value.next
