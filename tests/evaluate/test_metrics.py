"""Metrics of evaluate and compare, where a class is absent, a unit is undefined or folds differ in size."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from histokit.compare.compare import compare
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from tests.evaluate.made_up import save_run
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


CLASSES = ("a", "b", "c")


def one_hot(predicted):
    return [float(name == predicted) for name in CLASSES]


def rows_of(truth, predicted, fold=0):
    return [
        (fold, f"{fold}.{i}", t, one_hot(p), f"P{i}") for i, (t, p) in enumerate(zip(truth, predicted, strict=True))
    ]


def library(truth, predicted):
    """The metrics that scikit-learn gives; what it warns of as undefined counts as zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        }
        for average in ("macro", "weighted"):
            values = sk.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
            found |= {f"{name}_{average}": v for name, v in zip(("precision", "recall", "f1"), values[:3], strict=True)}
    return found


#: Truth and prediction: a class absent from the truth, from the predictions, from both, and from neither.
ABSENT = {
    "from the truth": ("aaaabb", "aabcbb"),
    "from the predictions": ("aaabbccc", "aabbbabb"),
    "from both": ("aaaabb", "aabbba"),
    "from neither": ("aaabbccc", "aacbbacc"),
}


@pytest.mark.parametrize("absent", ABSENT)
def test_metrics_where_a_class_is_absent(empty, absent):
    truth, predicted = map(list, ABSENT[absent])
    (found,) = evaluate(empty, save_run(empty, rows_of(truth, predicted), classes=CLASSES))
    expected = library(truth, predicted)
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected)
    runs = ["abcd", save_run(empty, rows_of(truth, truth), run_id="ffff", classes=CLASSES)]
    for metric in expected:
        assert compare(empty, runs, metric=metric, bootstrap=2).rows[0]["score"] == pytest.approx(expected[metric])


def test_balanced_accuracy_of_absent_classes_by_hand(empty):
    # Of "a" 2 of 4 are right and of "b" 2 of 2; "c" is guessed once and never true, which takes nothing from the mean.
    truth, predicted = ABSENT["from the truth"]
    (found,) = evaluate(empty, save_run(empty, rows_of(truth, predicted), classes=CLASSES))
    assert found.metrics["balanced_accuracy"] == pytest.approx(3 / 4)
    assert found.baseline == {"class": "a", "accuracy": pytest.approx(4 / 6), "balanced_accuracy": 1 / 2}
    # A class that is there and never predicted counts, with a recall of zero.
    truth, predicted = ABSENT["from the predictions"]
    (found,) = evaluate(empty, save_run(empty, rows_of(truth, predicted), classes=CLASSES, run_id="eeee"))
    assert found.metrics["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.baseline["balanced_accuracy"] == pytest.approx(1 / 3)


def test_balanced_accuracy_where_a_class_is_absent_from_a_fold(empty):
    first, second = ("aabb", "abbb"), ("aacc", "aaca")
    rows = rows_of(*first) + rows_of(*second, fold=1)
    (found,) = evaluate(empty, save_run(empty, rows, classes=CLASSES))
    # Fold 0 has a 1/2 and b 2/2, fold 1 a 2/2 and c 1/2; together a 3/4, b 2/2 and c 1/2.
    assert [fold["metrics"]["balanced_accuracy"] for fold in found.folds["each"]] == [3 / 4, 3 / 4]
    assert found.folds["mean"]["balanced_accuracy"] == 3 / 4
    assert found.metrics["balanced_accuracy"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    runs = ["abcd", save_run(empty, rows, classes=CLASSES, run_id="ffff", classifier="et")]
    (row, _) = compare(empty, runs, metric="balanced_accuracy", bootstrap=2).rows
    assert (row["score"], row["fold_mean"]) == (pytest.approx((3 / 4 + 1 + 1 / 2) / 3), 3 / 4)


def test_each_class_where_some_are_absent(empty):
    (found,) = evaluate(empty, save_run(empty, rows_of("aaaabb", "aabcbb"), classes=CLASSES))
    assert found.per_class["a"] == {
        "precision": 1,
        "recall": 2 / 4,
        "f1": pytest.approx(2 / 3),
        "roc_auc": pytest.approx(3 / 4),
        "support": 4,
    }
    b, c = found.per_class["b"], found.per_class["c"]
    assert (b["precision"], b["recall"], b["f1"], b["support"]) == (pytest.approx(2 / 3), 1, pytest.approx(4 / 5), 2)
    assert (c["precision"], c["recall"], c["f1"], c["roc_auc"], c["support"]) == (0, None, 0, None, 0)
    assert set(c["undefined"]) == {"recall", "roc_auc"}
    assert "undefined" not in b
    (found,) = evaluate(empty, save_run(empty, rows_of("aabb", "abbb"), classes=CLASSES, run_id="eeee"))
    c = found.per_class["c"]
    assert (c["precision"], c["recall"], c["f1"], c["roc_auc"]) == (None, None, None, None)
    assert c["undefined"]["precision"] == "never predicted"
    assert c["undefined"]["f1"] == "neither there nor predicted"


def test_the_area_of_several_classes_is_the_mean_over_those_that_are_there(empty):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 40)
    scores = rng.normal(size=(40, 4)) + 1.0 * (truth[:, None] == np.arange(4))
    rows = [(0, str(i), "abcd"[truth[i]], scores[i].tolist(), f"P{i // 2}") for i in range(40)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=tuple("abcd")))
    areas = [sk.roc_auc_score(truth == k, scores[:, k]) for k in range(3)]
    assert found.metrics["roc_auc"] == pytest.approx(np.mean(areas))
    assert [found.per_class[name]["roc_auc"] for name in "abc"] == pytest.approx(areas)
    assert found.per_class["d"]["roc_auc"] is None
    runs = ["abcd", save_run(empty, rows, classes=tuple("abcd"), run_id="ffff", classifier="et")]
    assert compare(empty, runs, metric="roc_auc", bootstrap=2).rows[0]["score"] == pytest.approx(np.mean(areas))


def test_a_tie_is_half_a_win(empty):
    # "a" scores -2, 1 and "b" 2, 3, 1, 4: of eight pairs seven are won and one is a tie.
    values = [("a", -2.0), ("a", 1.0), ("b", 2.0), ("b", 3.0), ("b", 1.0), ("b", 4.0)]
    rows = [(0, str(i), t, s, f"P{i}") for i, (t, s) in enumerate(values)]
    ids = [save_run(empty, rows, run_id=name) for name in ("abcd", "ffff")]
    assert evaluate(empty, "abcd")[0].metrics["roc_auc"] == pytest.approx(7.5 / 8)
    assert compare(empty, ids, metric="roc_auc", bootstrap=2).rows[0]["score"] == pytest.approx(7.5 / 8)


@pytest.mark.parametrize(("positive", "column", "area"), [("b", 1, 3 / 4), ("a", 0, 2 / 4), (None, 1, 3 / 4)])
def test_the_scores_of_the_positive_class_are_ranked(empty, positive, column, area):
    # b by its own scores: .3 and .6 against .1 and .4; a by its own: .5 and .1 against .2 and .4.
    values = [("a", [0.5, 0.1]), ("b", [0.2, 0.3]), ("a", [0.1, 0.4]), ("b", [0.4, 0.6])]
    rows = [(0, str(i), t, s, f"P{i}") for i, (t, s) in enumerate(values)]
    ids = [save_run(empty, rows, run_id=name, parameters={"positive": positive}) for name in ("abcd", "ffff")]
    (found,) = evaluate(empty, ids[0])
    assert sk.roc_auc_score([t == (positive or "b") for t, _ in values], [s[column] for _, s in values]) == area
    assert found.metrics["roc_auc"] == pytest.approx(area)
    assert [entry["roc_auc"] for entry in found.per_class.values()] == pytest.approx([area, area])
    assert compare(empty, ids, metric="roc_auc", bootstrap=2).rows[0]["score"] == pytest.approx(area)


def test_mean_and_spread_over_folds(empty):
    # 1/2, 3/4 and 5/5 are right: the mean is 3/4 and the spread sqrt((1/16 + 0 + 1/16) / 3), dividing by their number.
    rows = rows_of("ab", "aa") + rows_of("abab", "abaa", 1) + rows_of("ababb", "ababb", 2)
    ids = [save_run(empty, rows, classes=CLASSES, run_id=name) for name in ("abcd", "ffff")]
    (found,) = evaluate(empty, ids[0])
    assert found.folds["count"] == 3
    assert [fold["metrics"]["accuracy"] for fold in found.folds["each"]] == [1 / 2, 3 / 4, 1]
    assert [(fold["repeat"], fold["fold"], fold["n"]) for fold in found.folds["each"]] == [
        (0, 0, 2),
        (0, 1, 4),
        (0, 2, 5),
    ]
    assert found.folds["mean"]["accuracy"] == pytest.approx(3 / 4)
    assert found.folds["std"]["accuracy"] == pytest.approx(np.sqrt(1 / 24))
    assert found.metrics["accuracy"] == pytest.approx(9 / 11), "pooled over samples"
    row = compare(empty, ids, metric="accuracy", bootstrap=2).rows[0]
    assert (row["score"], row["fold_mean"], row["fold_std"]) == pytest.approx((9 / 11, 3 / 4, np.sqrt(1 / 24)))


def test_the_area_of_folds_is_their_mean_and_not_that_of_all(empty):
    # Both folds rank perfectly, on scales that do not meet.
    folds = [[("a", -1.0), ("b", 1.0)], [("a", 9.0), ("b", 11.0), ("b", 12.0)]]
    rows = [(f, f"{f}.{i}", t, s, f"P{f}{i}") for f, fold in enumerate(folds) for i, (t, s) in enumerate(fold)]
    # A third fold of one class has no area, and is left out of the mean.
    rows.append((2, "x", "a", 10.0, "Q"))
    ids = [save_run(empty, rows, run_id=name) for name in ("abcd", "ffff")]
    (found,) = evaluate(empty, ids[0], bootstrap=20)
    # b: 1 11 12 against a: -1 9 10: 1 + 3 + 3 of nine.
    assert (found.metrics["roc_auc"], found.metrics["roc_auc_fold_mean"]) == (pytest.approx(7 / 9), 1)
    assert (found.folds["std"]["roc_auc"], found.folds["undefined"]) == (0, {"roc_auc": 1})
    assert found.intervals["metrics"]["roc_auc_fold_mean"] == [1, 1]
    row = compare(empty, ids, metric="roc_auc", bootstrap=20).rows[0]
    assert (row["metric"], row["score"], row["fold_mean"], row["interval"]) == ("roc_auc_fold_mean", 1, 1, [1, 1])


def test_why_the_area_of_folds_is_undefined(empty):
    rows = [(0, "1", "a", -1.0, "P"), (0, "2", "a", 1.0, "Q"), (1, "3", "b", 1.0, "R")]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=30)
    assert found.metrics["roc_auc"] == pytest.approx(3 / 4)
    assert found.undefined == {"roc_auc_fold_mean": "every fold has samples of one class only"}
    # Pooled it is undefined where only samples of one class are drawn; nothing else ever is.
    undefined = found.intervals["undefined_resamples"]
    assert undefined.pop("roc_auc_fold_mean") == 30
    assert (set(undefined), 0 < undefined["roc_auc"] < 30) == ({"roc_auc"}, True)


def test_metrics_inside_units_leave_out_units_where_they_are_undefined(tmp_path):
    samples, X = make_samples(n=9, slide=list("PPPPQQQRR"), plate=[*"xxxxxxx", None, None])
    store = make_store(tmp_path / "store", samples, {"last": X})
    # P: b 1 2 against a 0 3: two of four pairs; Q: b 2 3 against a 1: all; R has one class only.
    values = [
        ("a", 0.0),
        ("b", 1.0),
        ("b", 2.0),
        ("a", 3.0),
        ("a", 1.0),
        ("b", 2.0),
        ("b", 3.0),
        ("b", 1.0),
        ("b", -1.0),
    ]
    rows = [(0, f"s{i}", t, s, g) for i, ((t, s), g) in enumerate(zip(values, samples["slide"], strict=True))]
    (found,) = evaluate(store, save_run(store, rows), by="slide:mean,slide:median,plate")
    entry, median = found.by["slide:mean"], found.by["slide:median"]
    assert (entry["units"], entry["undefined_units"]["roc_auc"], entry["undefined_units"]["accuracy"]) == (3, 1, 0)
    assert entry["metrics"]["roc_auc"] == pytest.approx((1 / 2 + 1) / 2)
    # P: 3 of 4, Q: 2 of 3, R: 1 of 2.
    assert entry["metrics"]["accuracy"] == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert median["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert (entry["left_out"], found.by["plate:mean"]["left_out"], found.by["plate:mean"]["units"]) == (0, 2, 1)
    assert found.by["plate:mean"]["metrics"]["accuracy"] == pytest.approx(5 / 7)
    assert [note for note in found.notes if "unit" in note] == [
        "2 of 9 predictions have no plate: no unit of it holds them"
    ]


def test_folds_without_a_class_are_told_of(empty):
    # Whoever says a to all has half of the classes right; in the second of three folds, all of them.
    rows = [(i % 3, str(i), "b" if i in (0, 2) else "a", -1.0 - i, f"P{i}") for i in range(12)]
    (found,) = evaluate(empty, save_run(empty, rows))
    assert (found.metrics["balanced_accuracy"], found.folds["mean"]["balanced_accuracy"]) == (0.5, 2 / 3)
    assert found.notes == [
        "1 of 3 folds lacks samples of some class: their balanced_accuracy, roc_auc and macro metrics are of the "
        "others, or undefined, and the means over folds are of what there is"
    ]
    # Of one class there is no curve, and the recall of that one is the mean.
    lacking = [fold["metrics"] for fold in found.folds["each"] if fold["metrics"]["roc_auc"] is None]
    assert [metrics["balanced_accuracy"] for metrics in lacking] == [1.0]
    (whole,) = evaluate(empty, save_run(empty, [(i // 2, str(i), "ab"[i % 2], 1.0, f"P{i}") for i in range(6)]))
    assert not whole.notes


#: Scores of "b" in three wells of one treatment, and in one of another; "mean" and "median" disagree in w1 and w3.
WELLS = {"w1": ("a", [-9.0, 1.0, 2.0]), "w2": ("a", [-1.0, -2.0]), "w3": ("b", [9.0, -1.0, -2.0]), "w4": ("b", [3.0])}


@pytest.mark.parametrize(
    ("how", "counts", "pooled"),
    [
        # Means -2, -1.5, 2, 3: all right. Medians 1, -1.5, -1, 3: w1 and w3 are wrong, as by their votes.
        ("mean", [[2, 0], [0, 2]], 4 / 4),
        ("median", [[1, 1], [1, 1]], 2 / 4),
        ("vote", [[1, 1], [1, 1]], 2 / 4),
    ],
)
def test_units_by_mean_median_and_vote(empty, how, counts, pooled):
    rows = [(0, f"{well}.{i}", t, s, well, well) for well, (t, scores) in WELLS.items() for i, s in enumerate(scores)]
    (found,) = evaluate(empty, save_run(empty, rows, levels=("well",), group="well"), by=f"well:{how}")
    entry = found.by[f"well:{how}"]
    assert entry["confusion"]["counts"] == counts
    assert entry["metrics"]["accuracy"] == pytest.approx(pooled)
    # The area ranks: means -2 -1.5 | 2 3; medians 1 -1.5 | -1 3 (-1 is below 1); shares of votes 2/3 0 | 1/3 1.
    assert entry["metrics"]["roc_auc"] == pytest.approx({"mean": 1, "median": 3 / 4, "vote": 3 / 4}[how])


def test_a_median_of_even_number_is_between_the_two_in_the_middle(empty):
    # -3, -1, 2, 30: the median is 1/2; the lower one, the mean of the outer ones or the mean would be otherwise.
    rows = [(0, str(i), "b", s, "P", "w") for i, s in enumerate([-3.0, -1.0, 2.0, 30.0])]
    rows += [(0, "x", "a", 0.4, "Q", "v"), (0, "y", "a", 0.6, "R", "u")]
    (found,) = evaluate(empty, save_run(empty, rows, levels=("well",)), by="well:median")
    assert found.by["well:median"]["metrics"]["roc_auc"] == pytest.approx(1 / 2), "above 0.4 and below 0.6"


def test_votes_that_tie_go_to_the_higher_mean_of_those_that_tie(empty):
    # Two votes for a, two for b, one for c, whose mean score is the highest of all but has not the most votes.
    scores = [[1.0, 0, 0], [1.0, 0, 0], [0, 1.1, 0], [0, 1.1, 0], [0, 0, 9.0]]
    rows = [(0, str(i), "b", s, "P", "w") for i, s in enumerate(scores)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=CLASSES, levels=("well",)), by="well:vote")
    assert found.by["well:vote"]["confusion"]["counts"][1] == [0, 1, 0]


def test_units_are_made_in_each_repeat(empty):
    # The same sample in two repeats: right in the first and wrong in the second.
    rows = [(0, "1", "b", 3.0, "P", "w"), (0, "2", "b", -1.0, "P", "w"), (0, "3", "a", -1.0, "Q", "v")]
    run = save_run(empty, rows, levels=("well",))
    again = [(0, "1", "b", -3.0, "P", "w"), (0, "2", "b", 1.0, "P", "w"), (0, "3", "a", -1.0, "Q", "v")]
    save_run(empty, rows, levels=("well",), run_id="eeee", repeats=[again])
    (once,), (twice,) = (evaluate(empty, name, by="well") for name in (run, "eeee"))
    assert once.by["well:mean"]["confusion"]["counts"] == [[1, 0], [0, 1]]
    assert twice.by["well:mean"]["confusion"]["counts"] == [[2, 0], [1, 1]]
    assert [(fold["repeat"], fold["n"]) for fold in twice.folds["each"]] == [(0, 3), (1, 3)]
    assert twice.groups == 2
