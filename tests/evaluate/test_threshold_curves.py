"""ROC and precision-recall curves against scikit-learn's, by hand, by fold and over resamples."""

import json
import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from histokit.errors import UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.evaluate.views import VIEWS
from histokit.features import FeatureStore
from histokit.figures.threshold_curves import draw_threshold_curves
from tests.cli.command_line import CommandLine
from tests.evaluate.made_up import save_run
from tests.evaluate.made_up_numbers import save_numbers

BOTH = ["roc", "precision-recall"]


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def made_rows(count, classes, folds=1, groups=10, digits=1):
    """Rows of drawn scores, many of them equal, of groups that lie in one fold each."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(count):
        true, group = int(rng.integers(len(classes))), int(rng.integers(groups))
        scores = rng.normal(0, 1, len(classes)) + 1.2 * np.eye(len(classes))[true]
        scores = scores if len(classes) > 2 else [-scores[1], scores[1]]
        rows.append((group % folds, str(i), classes[true], np.round(scores, digits).tolist(), f"P{group}"))
    return rows


def of_rows(rows, classes, k):
    return np.array([row[2] == classes[k] for row in rows]), np.array([row[3][k] for row in rows])


def pairs(x, y):
    return {*zip(np.round(x, 9).tolist(), np.round(y, 9).tolist(), strict=True)}


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c", "d")], ids=len)
def test_curves_and_their_values_are_those_of_scikit_learn(empty, classes):
    rows = made_rows(300, classes)
    (found,) = evaluate(empty, save_run(empty, rows, classes=classes), views=BOTH)
    roc, recalls = (found.views[name]["curves"] for name in BOTH)
    shown = range(len(classes)) if len(classes) > 2 else [1]
    assert [curve["class"] for curve in roc] == [curve["class"] for curve in recalls] == [classes[k] for k in shown]
    for k, curve, recall in zip(shown, roc, recalls, strict=True):
        true, score = of_rows(rows, classes, k)
        assert (curve["positives"], curve["negatives"]) == (true.sum(), (~true).sum())
        # Theirs has points on the straight lines, too, so that ours are some of them, with the same area.
        assert pairs(curve["x"], curve["y"]) <= pairs(*roc_curve(true, score, drop_intermediate=False)[:2])
        assert auc(curve["x"], curve["y"]) == pytest.approx(curve["value"])
        assert curve["value"] == pytest.approx(roc_auc_score(true, score))
        precision, wide, _ = precision_recall_curve(true, score)
        # Of equal recalls theirs has all, of which the first is the highest; recall 0 has none of ours.
        assert pairs(recall["x"], recall["y"]) <= pairs(wide, precision)
        assert recall["x"] == pytest.approx(sorted(set(wide.tolist()) - {0}))
        assert recall["value"] == pytest.approx(average_precision_score(true, score))
        assert np.dot(np.diff(recall["x"], prepend=0), recall["y"]) == pytest.approx(recall["value"])
    assert found.views["roc"]["average"]["value"] == pytest.approx(found.metrics["roc_auc"])
    assert [c["value"] for c in roc] == pytest.approx([found.per_class[c["class"]]["roc_auc"] for c in roc])
    for name in BOTH:
        view = found.views[name]
        assert view["average"]["value"] == pytest.approx(np.mean([curve["value"] for curve in view["curves"]]))
        assert (view["folds"], view["band"], view["scores"]) == (None, None, "decision")
    json.dumps(found.to_json())


def test_a_curve_of_many_thresholds_has_few_points_and_nearly_its_area(empty):
    rows = made_rows(6000, ("a", "b"), digits=9)
    (found,) = evaluate(empty, save_run(empty, rows), views=BOTH)
    true, score = of_rows(rows, ("a", "b"), 1)
    (roc,), (recall,) = (found.views[name]["curves"] for name in BOTH)
    x, y, _ = roc_curve(true, score, drop_intermediate=False)
    assert len(x) > 6000
    assert len(roc["x"]) <= 200 >= len(recall["x"])
    assert pairs(roc["x"], roc["y"]) <= pairs(x, y)
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1], recall["x"][-1]) == (0, 0, 1, 1, 1)
    assert auc(roc["x"], roc["y"]) == pytest.approx(roc_auc_score(true, score), abs=2e-3)
    assert auc(recall["x"], recall["y"]) == pytest.approx(average_precision_score(true, score), abs=1e-2)
    # The values themselves are those of all thresholds.
    assert roc["value"] == pytest.approx(roc_auc_score(true, score), abs=1e-12)


def test_heights_at_fixed_places_by_hand(empty):
    # From the highest score down: b, a, b, then an a and a b with the same score, then two of a.
    scores = {"1": ("b", 9), "2": ("a", 8), "3": ("b", 7), "4": ("a", 6), "5": ("b", 6), "6": ("a", 5), "7": ("a", 4)}
    rows = [(0, name, true, float(score), "P") for name, (true, score) in scores.items()]
    (found,) = evaluate(empty, save_run(empty, rows), views=BOTH)
    roc, recall = (found.views[name] for name in BOTH)
    assert roc["curves"][0]["x"] == pytest.approx([0, 0, 1 / 4, 1 / 4, 1 / 2, 1])
    assert roc["curves"][0]["y"] == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    at = dict(zip(roc["grid"], roc["average"]["y"], strict=True))
    assert [at[x] for x in (0, 0.2, 0.25, 0.4, 0.5, 1)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3 + 0.2, 1, 1])
    at = dict(zip(recall["grid"], recall["average"]["y"], strict=True))
    # The first b is right; two of three; three of five.
    assert [at[x] for x in (0.01, 0.33, 0.34, 0.66, 0.67, 1)] == pytest.approx([1, 1, 2 / 3, 2 / 3, 3 / 5, 3 / 5])
    assert recall["average"]["value"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_folds_are_averaged_where_they_are_defined(empty):
    rows = [(0, "1", "b", 2.0, "P"), (0, "2", "a", 1.0, "P"), (1, "3", "a", 9.0, "Q"), (1, "4", "b", 8.0, "Q")]
    rows += [(2, "5", "a", 0.0, "R")]
    (found,) = evaluate(empty, save_run(empty, rows), views=BOTH)
    folds = found.views["roc"]["folds"]
    # One fold is all right, one all wrong, one has no b.
    assert (folds["count"], folds["undefined"], folds["mean"]["value"], folds["mean"]["std"]) == (3, 1, 0.5, 0.5)
    assert folds["mean"]["value"] == found.metrics["roc_auc_fold_mean"]
    assert [(fold["fold"], fold["value"], fold["y"][50]) for fold in folds["each"]] == [(0, 1, 1), (1, 0, 0)]
    assert folds["mean"]["y"] == pytest.approx([0.5] * 100 + [1])
    folds = found.views["precision-recall"]["folds"]
    assert (folds["mean"]["value"], folds["mean"]["y"][0]) == (0.75, 0.75)


def test_no_more_than_fifty_folds_are_kept(empty):
    rows = [(f, f"{f}{t}", t, float("ab".index(t)), f"P{f}") for f in range(60) for t in "ab"]
    folds = evaluate(empty, save_run(empty, rows), views="roc")[0].views["roc"]["folds"]
    assert (folds["count"], len(folds["each"]), folds["each"][-1]["fold"]) == (60, 50, 59)


def test_a_class_without_samples_has_no_curve_and_no_say(empty):
    rows = [row for row in made_rows(90, ("a", "b", "c")) if row[2] != "b"]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")), views=BOTH)
    for name in BOTH:
        view = found.views[name]
        assert view["curves"][1] == {
            "class": "b", "positives": 0, "negatives": len(rows), "value": None, "undefined": "no such sample"
        }  # fmt: skip
        assert view["average"]["classes"] == ["a", "c"]
    assert found.views["roc"]["average"]["value"] == pytest.approx(found.metrics["roc_auc"])
    (found,) = evaluate(empty, save_run(empty, [(0, "1", "b", 1.0, "P")], run_id="eeee"), views=BOTH, bootstrap=5)
    view = found.views["roc"]
    assert (view["curves"][0]["undefined"], view["average"]["y"]) == ("all samples are of this class", None)
    assert (view["band"]["metrics"], view["band"]["low"]) == ({"roc_auc": None}, None)
    # Of a single group all resamples are the same.
    rows = [(0, name, name, float(place), "P") for place, name in enumerate("ab")]
    (found,) = evaluate(empty, save_run(empty, rows, run_id="ffff"), views="roc", bootstrap=5)
    assert found.views["roc"]["band"]["unit"] == "slide"
    ungrouped = [(*row[:4], None) for row in made_rows(30, ("a", "b"))]
    (alone,) = evaluate(empty, save_run(empty, ungrouped, run_id="aaaa", group=None), views="roc", bootstrap=5)
    assert (alone.views["roc"]["band"]["unit"], alone.views["roc"]["band"]["groups"]) == ("sample", 30)
    assert (found.views["roc"]["average"]["value"], found.views["roc"]["band"]["low"]) == (1.0, None)


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")], ids=len)
def test_bands_are_those_of_resampled_groups(empty, classes, digits):
    rows = made_rows(200, classes, folds=3, groups=12, digits=digits)
    (found,) = evaluate(empty, save_run(empty, rows, classes=classes), views=BOTH, bootstrap=60, seed=5)
    band = found.views["roc"]["band"]
    assert band["metrics"]["roc_auc"] == pytest.approx(found.intervals["metrics"]["roc_auc"])
    assert (band["unit"], band["groups"], band["resamples"], band["level"]) == ("slide", 12, 60, 0.95)
    # The same draws, one resample at a time: rows of a group as often as it was drawn.
    names = sorted({row[4] for row in rows})
    drawn = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=60)
    shown = range(len(classes)) if len(classes) > 2 else [1]
    heights, precisions = [], []
    for times in drawn:
        again = [row for row in rows for _ in range(times[names.index(row[4])])]
        curves = [of_rows(again, classes, k) for k in shown]
        heights.append(np.mean([at_rate(*roc_curve(*curve)[:2], 0.3) for curve in curves]))
        precisions.append(np.mean([average_precision_score(*curve) for curve in curves]))
    low, high = np.quantile(heights, [0.025, 0.975])
    assert (band["low"][30], band["high"][30]) == pytest.approx((low, high))
    interval = found.views["precision-recall"]["band"]["metrics"]["average_precision"]
    assert interval == pytest.approx(np.quantile(precisions, [0.025, 0.975]).tolist())


@pytest.mark.parametrize("name", BOTH)
def test_bands_hold_few_numbers_for_each_sample_and_resample(empty, name):
    rows = made_rows(2_000, ("a", "b", "c"), groups=12, digits=9)
    run = save_run(empty, rows, classes=("a", "b", "c"))
    evaluate(empty, run, views=[name], bootstrap=10)
    tracemalloc.start()
    evaluate(empty, run, views=[name], bootstrap=400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * (8 * 2_000 * 400)


def test_of_more_than_fifty_classes_there_is_no_band_and_a_reason(empty):
    names = [f"c{k:02d}" for k in range(51)]
    for count in (50, 51):
        classes = tuple(names[:count])
        run = save_run(empty, made_rows(300, classes, groups=12), classes=classes, run_id=f"eeee{count}")
        (found,) = evaluate(empty, run, views=BOTH, bootstrap=5)
        for name in BOTH:
            view, why = found.views[name], "of more than 50 classes"
            assert (view["band"] is None, view["unbanded"]) == ((True, why) if count > 50 else (False, None))
            legend = draw_threshold_curves(found, name).axes[0].get_legend()
            assert (f"no band: {why}" in [text.get_text() for text in legend.get_texts()]) == (count > 50)
    (found,) = evaluate(empty, run, views=BOTH)
    assert found.views["roc"]["unbanded"] is None


def at_rate(x, y, rate):
    last = np.flatnonzero(x <= rate)[-1]
    return y[last] + (rate - x[last]) / (x[last + 1] - x[last]) * (y[last + 1] - y[last])


def test_units_of_levels_have_curves_of_their_own(empty):
    rows = [(0, "1", "a", -1.0, "P", "X"), (0, "2", "a", 3.0, "P", "X"), (0, "3", "b", 2.0, "Q", "Y")]
    run = save_run(empty, rows, levels=("slide",))
    (found,) = evaluate(empty, run, by="slide:mean", views="roc")
    # The mean of X is 1, less than that of Y.
    assert (found.views["roc"]["average"]["value"], found.by["slide:mean"]["views"]["roc"]["average"]["value"]) == (
        0.5,
        1.0,
    )
    assert "views" not in evaluate(empty, run, by="slide:mean")[0].by["slide:mean"]


def test_views_are_asked_for_by_name_and_of_classes(empty):
    run = save_run(empty, made_rows(20, ("a", "b")))
    assert "views" not in evaluate(empty, run)[0].to_json()
    assert list(evaluate(empty, run, views=["roc", "roc"])[0].to_json()["views"]) == ["roc"]
    with pytest.raises(UsageError, match="no view 'rok'") as error:
        evaluate(empty, run, views="rok")
    assert "Did you mean 'roc'" in error.value.next
    assert all(name in error.value.next for name in VIEWS)
    with pytest.raises(UsageError, match="predicts numbers, and roc is"):
        evaluate(empty, save_numbers(empty, [(0, "1", 1.0, 2.0, "P"), (0, "2", 2.0, 3.0, "Q")]), views="roc")


def test_the_command_draws_several_figures_and_json_holds_their_data(empty, tmp_path, capsys):
    histokit = CommandLine(capsys)
    run = save_run(empty, made_rows(40, ("a", "b"), folds=2))
    files = {name: tmp_path / f"{name}.svg" for name in ("scores", *BOTH)}
    plain = ["--store", empty.uri, "evaluate", run, "--bootstrap", 20]
    call = [*plain, "--json"]
    asked = [part for name, file in files.items() for part in ("--figure", f"{name}:{file}")]
    found = histokit.ok(*call, *asked)
    assert list(found.document["runs"][0]["views"]) == BOTH
    assert all(file.exists() for file in files.values())
    assert "<!-- true positive rate -->" in files["roc"].read_text()
    (made,) = evaluate(empty, run, views=BOTH, bootstrap=20)
    assert found.document["runs"] == [made.to_json()]
    assert "views" not in histokit.ok(*call, "--figure", files["scores"]).document["runs"][0]
    twice = ["--figure", f"roc:{files['roc']}", "--figure", f"scores:{files['roc']}"]
    assert "Two figures" in histokit.fails(*plain, *twice, code=2).err
    assert "Did you mean 'roc'" in histokit.fails(*plain, "--figure", "rok:x.svg", code=2).err
