"""Calibration of stored probabilities against scikit-learn's, by hand, and over resamples."""

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from histokit.errors import DataError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.figures import calibration_figure
from histokit.figures.calibration import draw_calibration
from tests.evaluate.made_up import save_run

NAMES = ("a", "b", "c")


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def made_rows(count, classes, groups=12):
    """Rows of drawn probabilities that are too sure of themselves."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(count):
        true = int(rng.integers(len(classes)))
        values = np.exp(2 * (rng.normal(0, 1, len(classes)) + np.eye(len(classes))[true]))
        rows.append((0, str(i), classes[true], (values / values.sum()).tolist(), f"P{rng.integers(groups)}"))
    return rows


def save_probabilities(store, rows, classes=NAMES, **changes):
    return save_run(store, rows, classes=classes, scored="probability", **changes)


def arrays(rows, classes):
    return np.array([classes.index(row[2]) for row in rows]), np.array([row[3] for row in rows])


@pytest.mark.parametrize("classes", [("a", "b"), NAMES], ids=len)
def test_measures_are_those_of_scikit_learn(empty, classes):
    rows = made_rows(400, classes)
    (found,) = evaluate(empty, save_probabilities(empty, rows, classes), views="calibration")
    view = found.views["calibration"]
    true, scores = arrays(rows, classes)
    assert view["log_loss"] == pytest.approx(log_loss(true, scores))
    each = [brier_score_loss(true == k, scores[:, k]) for k in range(len(classes))]
    assert view["brier"] == pytest.approx(sum(each))
    right, confidence = scores.argmax(1) == true, scores.max(1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    there = [entry for entry in view["bins"] if entry["n"]]
    assert [entry["accuracy"] for entry in there] == pytest.approx(accuracy.tolist())
    assert [entry["confidence"] for entry in there] == pytest.approx(mean.tolist())
    counts = np.histogram(confidence, np.arange(16) / 15)[0].tolist()
    assert [entry["n"] for entry in view["bins"]] == counts
    assert view["ece"] == pytest.approx(np.dot(np.abs(accuracy - mean), [n for n in counts if n]) / 400)
    assert (view["accuracy"], view["confidence"]) == pytest.approx((right.mean(), confidence.mean()))
    shares = np.tile(np.bincount(true) / 400, (400, 1))
    assert view["baseline"]["log_loss"] == pytest.approx(log_loss(true, shares))
    assert view["baseline"]["brier"] == pytest.approx(
        sum(brier_score_loss(true == k, shares[:, k]) for k in range(len(classes)))
    )
    assert (view["intervals"], view["temperature"]["value"]) == ({}, None)
    assert "no other folds" in view["temperature"]["why"]
    json.dumps(found.to_json())


def in_folds(rows, folds):
    """Put rows into folds; the probabilities of odd ones become more sure of themselves."""
    made = []
    for i, (_, name, true, scores, group) in enumerate(rows):
        powers = np.array(scores) ** (3 if i % folds % 2 else 0.4)
        made.append((i % folds, name, true, (powers / powers.sum()).tolist(), group))
    return made


def best_of_grid(true, scores):
    temperatures = np.exp(np.linspace(-2, 2, 2001))
    losses = []
    for temperature in temperatures:
        powers = scores ** (1 / temperature)
        losses.append(-np.log(powers[np.arange(len(true)), true] / powers.sum(1)).mean())
    return temperatures[np.argmin(losses)]


@pytest.mark.parametrize("repeats", [0, 1])
def test_the_temperature_of_a_fold_is_the_best_of_the_other_folds(empty, repeats):
    rows = in_folds(made_rows(240, NAMES), 3)
    again = [[((row[0] + 1) % 3, *row[1:]) for row in rows]] * repeats
    run = save_probabilities(empty, rows, NAMES, repeats=again)
    (found,) = evaluate(empty, run, views="calibration")
    view = found.views["calibration"]["temperature"]
    scaled, labels = [], []
    for fold in view["folds"]:
        part = rows if not fold["repeat"] else again[0]
        here = [row for row in part if row[0] == fold["fold"]]
        ids = {row[1] for row in here}
        others = [row for each in (rows, *again) for row in each if row[1] not in ids]
        assert fold["fitted_on"] == len(others) == 160 * (1 + repeats)
        assert fold["temperature"] == pytest.approx(best_of_grid(*arrays(others, NAMES)), rel=2e-3)
        true, scores = arrays(here, NAMES)
        powers = scores ** (1 / fold["temperature"])
        scaled.append(powers / powers.sum(1, keepdims=True))
        labels.append(true)
    scaled, labels = np.concatenate(scaled), np.concatenate(labels)
    assert view["value"] == pytest.approx(np.exp(np.mean([np.log(fold["temperature"]) for fold in view["folds"]])))
    assert view["log_loss"] == pytest.approx(log_loss(labels, scaled))
    assert view["brier"] == pytest.approx(((scaled - np.eye(3)[labels]) ** 2).sum(1).mean())
    assert view["confidence"] == pytest.approx(scaled.max(1).mean())
    assert "temperature" in " ".join(map(str, texts_of(draw_calibration(found))))


def texts_of(figure):
    return [
        text.get_text()
        for legend in (*figure.legends, *(a.get_legend() for a in figure.axes))
        if legend
        for text in legend.get_texts()
    ]


def test_what_is_too_sure_of_itself_is_less_so_at_its_temperature(empty):
    rows = [(i % 4, *row[1:]) for i, row in enumerate(made_rows(400, NAMES))]
    (found,) = evaluate(empty, save_probabilities(empty, rows, NAMES), views="calibration", bootstrap=50)
    view = found.views["calibration"]
    assert 1.2 < view["temperature"]["value"] < 4
    assert view["temperature"]["log_loss"] < view["log_loss"]
    assert view["temperature"]["ece"] < view["ece"]
    low, high = view["temperature"]["intervals"]["metrics"]["log_loss"]
    assert low < view["temperature"]["log_loss"] < high


def test_a_temperature_at_the_edge_of_what_is_looked_for_is_told(empty):
    rows = [(i % 2, f"{i}", "ab"[i % 4 // 2], [0.9, 0.1] if i % 4 < 2 else [0.1, 0.9], f"P{i}") for i in range(12)]
    (found,) = evaluate(empty, save_probabilities(empty, rows, ("a", "b")), views="calibration")
    temperature = found.views["calibration"]["temperature"]
    assert temperature["value"] == pytest.approx(0.01, rel=1e-3)
    assert temperature["note"] in found.notes
    assert temperature["note"].startswith("the temperature of 2 folds of 2 is 0.01, the lowest that is looked for")


def test_classes_that_a_model_does_not_know_have_no_part_in_its_temperature(empty):
    rows = in_folds(made_rows(120, ("a", "b")), 2)
    rows += [(fold, f"x{fold}", "z", [0.9, 0.1], "P1") for fold in (0, 1)]
    (found,) = evaluate(empty, save_probabilities(empty, rows, ("a", "b")), views="calibration")
    known = [row for row in rows if row[2] != "z"]
    assert len(found.views["calibration"]["temperature"]["folds"]) == 2
    for fold in found.views["calibration"]["temperature"]["folds"]:
        others = [row for row in known if row[0] != fold["fold"]]
        best = best_of_grid(*arrays(others, ("a", "b")))
        assert fold["temperature"] == pytest.approx(best, rel=2e-3)


def test_by_hand(empty):
    # 0.6 is the upper edge of the ninth bin of fifteen, 0.8 of the twelfth.
    rows = [(0, "1", "a", [0.6, 0.4, 0.0], "P"), (0, "2", "b", [0.6, 0.4, 0.0], "P")]
    rows += [(0, "3", "b", [0.2, 0.8, 0.0], "Q"), (0, "4", "c", [0.0, 1.0, 0.0], "R")]
    (found,) = evaluate(empty, save_probabilities(empty, rows), views="calibration")
    view = found.views["calibration"]
    bins = {number: entry for number, entry in enumerate(view["bins"]) if entry["n"]}
    assert {number: (entry["n"], entry["accuracy"]) for number, entry in bins.items()} == {
        8: (2, 0.5),
        11: (1, 1.0),
        14: (1, 0.0),
    }
    assert view["ece"] == pytest.approx((2 * 0.1 + 0.2 + 1) / 4)
    # Of each: .16 + .16, .36 + .36, .04 + .04, 1 + 1.
    assert view["brier"] == pytest.approx((0.32 + 0.72 + 0.08 + 2) / 4)
    assert view["zeros"] == 1
    least = np.finfo(float).eps
    assert view["log_loss"] == pytest.approx(-np.log([0.6, 0.4, 0.8, least]).mean())


def test_a_class_that_the_run_does_not_know_has_no_probability(empty):
    rows = [(0, "1", "a", [0.9, 0.1], "P"), (0, "2", "x", [0.3, 0.7], "Q")]
    view = evaluate(empty, save_probabilities(empty, rows, ("a", "b")), views="calibration")[0].views["calibration"]
    assert view["zeros"] == 1
    assert view["brier"] == pytest.approx((0.01 + 0.01 + 0.09 + 0.49 + 1) / 2)


def test_intervals_resample_groups(empty):
    rows = made_rows(200, NAMES)
    run = save_probabilities(empty, rows)
    (found,) = evaluate(empty, run, views="calibration", bootstrap=40, seed=3)
    intervals = found.views["calibration"]["intervals"]
    names = sorted({row[4] for row in rows})
    losses = []
    for times in np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=40):
        true, scores = arrays([row for row in rows for _ in range(times[names.index(row[4])])], NAMES)
        losses.append(log_loss(true, scores, labels=[0, 1, 2]))
    assert intervals["metrics"]["log_loss"] == pytest.approx(np.quantile(losses, [0.025, 0.975]).tolist())
    assert (intervals["unit"], intervals["groups"], sorted(intervals["metrics"])) == (
        "slide",
        len(names),
        ["brier", "ece", "log_loss"],
    )


def test_decision_values_and_votes_are_no_probabilities(empty, tmp_path):
    rows = [(*row, row[2]) for row in made_rows(20, NAMES)]
    with pytest.raises(DataError, match="run abcd12345678 \\(svm\\) are decision values, not prob") as error:
        evaluate(empty, save_run(empty, rows, classes=NAMES, levels=("well",)), views="calibration")
    assert "--classifier et, fc, logreg or knn;" in error.value.next
    run = save_probabilities(empty, rows, levels=("well",))
    for how in ("vote", "median"):
        with pytest.raises(DataError, match=f"made by {how} have no prob"):
            evaluate(empty, run, by=f"well:{how}", views="calibration")
    (found,) = evaluate(empty, run, by="well:mean", views="calibration")
    assert sum(entry["n"] for entry in found.by["well:mean"]["views"]["calibration"]["bins"]) == 3
    assert len(draw_calibration(found).axes) == 2


def test_probabilities_that_do_not_add_up_are_refused(empty):
    rows = [(0, "odd", "a", [0.9, 0.9, 0.1], "P"), (0, "2", "b", [0.1, 0.9, 0.0], "P")]
    with pytest.raises(DataError, match="of 1 of 2 predictions do not add up to 1, such as those of 'odd'"):
        evaluate(empty, save_probabilities(empty, rows), views="calibration")
    below = [(0, "odd", "a", [1.2, -0.1, -0.1], "P"), rows[1]]
    with pytest.raises(DataError, match="such as those of 'odd'"):
        evaluate(empty, save_probabilities(empty, below, run_id="eeee"), views="calibration")


def test_the_diagram_shows_bins_counts_and_measures(empty, tmp_path):
    (found,) = evaluate(empty, save_probabilities(empty, made_rows(300, NAMES)), views="calibration", bootstrap=30)
    view = found.views["calibration"]
    (axis,) = draw_calibration(found).axes
    there = [entry for entry in view["bins"] if entry["n"]]
    line = next(line for line in axis.lines if line.get_marker() == "o")
    assert list(line.get_xdata()) == [entry["confidence"] for entry in there]
    assert list(line.get_ydata()) == [entry["accuracy"] for entry in there]
    assert [text.get_text() for text in axis.texts] == [str(entry["n"]) for entry in there]
    heights = [bar.get_height() for bar in axis.patches]
    most = max(entry["n"] for entry in there)
    assert heights == pytest.approx([0.3 * entry["n"] / most for entry in there])
    meanings = [" ".join(text.get_text().split()) for text in axis.get_legend().get_texts()]
    low, high = view["intervals"]["metrics"]["ece"]
    assert f"what they differ by: ECE {view['ece']:.3f} (95 % {low:.3f} to {high:.3f})" in meanings
    assert any(f"Brier score {view['brier']:.3f}" in text for text in meanings)
    assert (axis.get_xlabel(), axis.get_ylabel()) == (
        "probability of the predicted class",
        "share of right predictions",
    )
    first, second = (calibration_figure(found, tmp_path / f"{name}.svg").read_bytes() for name in "ab")
    assert first == second


def test_of_one_class_shares_are_right_for_sure_and_not_minus_nothing(empty):
    rows = [(fold, f"{fold}.{n}", "only", [1.0], "P") for fold in (0, 1) for n in range(2)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("only",), scored="probability"), views="calibration")
    assert {name: str(value) for name, value in found.views["calibration"]["baseline"].items()} == {
        "brier": "0.0",
        "log_loss": "0.0",
    }
