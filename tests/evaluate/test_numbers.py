"""Evaluation of predicted numbers, where pooled scores and means over folds differ."""

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from histokit import evaluate, predictions, report
from histokit.errors import DataError, UsageError
from histokit.evaluate.listing import write_predictions
from histokit.evaluate.pooled import pooled_scores
from histokit.figures import scores_figure
from histokit.figures.scores import draw_scores
from tests.cli.command_line import CommandLine
from tests.evaluate.made_up_numbers import save_numbers
from tests.toy import make_samples, make_store


def made(count=48, groups=12):
    """Predictions whose folds lie apart: each is hardly ordered inside, all together are."""
    rng = np.random.default_rng(2)
    fold = np.arange(count) % 3
    true = 20.0 * fold + rng.normal(size=count)
    predicted = 18.0 * fold + rng.normal(size=count)
    owners = [f"P{i % groups:02}" for i in range(count)]
    return fold, true, predicted, owners


@pytest.fixture
def store(tmp_path):
    samples, X = make_samples(48, 12, half=[f"H{i % 2}" for i in range(48)])
    return make_store(tmp_path / "store", samples, {"last": X})


def rows_of(fold, true, predicted, owners, *levels):
    ids = [f"s{i}" for i in range(len(fold))]
    return list(zip(fold.tolist(), ids, true, predicted, owners, *levels, strict=True))


def reference(true, predicted):
    return {
        "r2": r2_score(true, predicted),
        "pearson": stats.pearsonr(true, predicted).statistic,
        "spearman": stats.spearmanr(true, predicted).statistic,
        "mae": mean_absolute_error(true, predicted),
        "rmse": root_mean_squared_error(true, predicted),
    }


def test_scores_are_pooled_and_by_fold(store):
    fold, true, predicted, owners = made()
    (found,) = evaluate(store, save_numbers(store, rows_of(fold, true, predicted, owners)))
    assert found.metrics == pytest.approx(reference(true, predicted))
    each = [reference(true[fold == k], predicted[fold == k]) for k in range(3)]
    assert found.folds["mean"] == pytest.approx({name: np.mean([e[name] for e in each]) for name in each[0]})
    assert found.metrics["r2"] > 0.9 > 0 > found.folds["mean"]["r2"]
    assert found.target_type == "number"
    assert (found.per_class, found.confusion, found.groups) == ({}, {}, 12)
    guess = np.full(48, true.mean())
    assert found.baseline["value"] == pytest.approx(true.mean())
    assert found.baseline["mae"] == pytest.approx(mean_absolute_error(true, guess))
    assert found.baseline["r2"] == pytest.approx(0)
    assert "points" not in json.loads(json.dumps(found.to_json(), allow_nan=False))


def test_intervals_resample_groups(store):
    fold, true, predicted, owners = made()
    # Groups that are right or wrong as a whole: samples drawn one by one would give narrow intervals.
    predicted = true + np.array([8.0 * (int(owner[1:]) % 2) for owner in owners])
    (found,) = evaluate(store, save_numbers(store, rows_of(fold, true, predicted, owners)), bootstrap=2000, seed=3)
    names, unit = np.unique(owners, return_inverse=True)
    drawn = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=2000)
    values = [np.average(np.abs(predicted - true), weights=times[unit]) for times in drawn]
    assert found.intervals["metrics"]["mae"] == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert found.intervals["groups"] == len(names)
    assert found.intervals["unit"] == "slide"
    assert found.intervals["metrics"]["mae"][0] < 2.5 < 5.5 < found.intervals["metrics"]["mae"][1]


def test_units_of_a_level_have_the_mean_or_median_of_their_predictions(store):
    predicted = made()[2].copy()
    wells = [f"W{i // 3:02}" for i in range(48)]
    true = np.repeat(np.arange(16.0) ** 2, 3)
    predicted[::3] += 50
    rows = rows_of(np.repeat(np.arange(16) % 3, 3), true, predicted, [f"P{i // 12}" for i in range(48)], wells)
    run = save_numbers(store, rows, levels=("well",))
    units, errors = predicted.reshape(16, 3), {}
    for how, reduce in (("mean", np.mean), ("median", np.median)):
        (found,) = evaluate(store, run, by=f"well:{how}")
        entry = found.by[f"well:{how}"]
        errors[how] = entry["metrics"]["mae"]
        assert entry["units"] == 16
        assert entry["metrics"] == pytest.approx(reference(np.arange(16.0) ** 2, reduce(units, axis=1)))
        assert found.points[f"well:{how}"]["true"] == (np.arange(16.0) ** 2).tolist()
    assert errors["mean"] > errors["median"]
    with pytest.raises(UsageError, match="Numbers cannot vote"):
        evaluate(store, run, by="well:vote")


def test_a_unit_of_several_true_values_is_an_error(store):
    fold, true, predicted, owners = made()
    true = np.round(true, 1)
    run = save_numbers(store, rows_of(fold, true, predicted, owners, [f"W{i // 2}" for i in range(48)]), levels=("w",))
    with pytest.raises(DataError, match="The w 'W0' holds samples of several true values"):
        evaluate(store, run, by="w:mean")


def test_metrics_inside_units_are_averaged(store):
    fold, true, predicted, owners = made()
    run = save_numbers(store, rows_of(fold, true, predicted, owners))
    (found,) = evaluate(store, run, by="half:mean")
    halves = [reference(true[k::2], predicted[k::2]) for k in range(2)]
    expected = {name: np.mean([half[name] for half in halves]) for name in halves[0]}
    assert found.by["half:mean"]["metrics"] == pytest.approx(expected)
    assert found.by["half:mean"]["kind"] == "per-unit"


def test_metrics_of_classes_are_refused(store):
    run = save_numbers(store, rows_of(*made()))
    with pytest.raises(UsageError, match=f"What the run {run} predicts is a number") as caught:
        evaluate(store, run, metric="accuracy")
    assert "Use one of r2, pearson, spearman, mae, rmse" in caught.value.next
    assert evaluate(store, run, metric="mae")[0].metric == "mae"


def test_samples_without_a_true_value_are_not_scored(store):
    fold, true, predicted, owners = made()
    holed = [None if i < 6 else value for i, value in enumerate(true.tolist())]
    (found,) = evaluate(store, save_numbers(store, rows_of(fold, holed, predicted, owners)))
    assert found.n == 42
    assert found.metrics["mae"] == pytest.approx(mean_absolute_error(true[6:], predicted[6:]))
    assert "6 samples without a value are not scored" in found.notes
    nothing = save_numbers(store, rows_of(fold, [None] * 48, predicted, owners), classifier="et")
    with pytest.raises(DataError, match="has a true value"):
        evaluate(store, nothing)


def test_predictions_have_residuals_and_the_largest_come_first(store, tmp_path):
    rows = [(0, "s0", 5.0, 4.5, "P0"), (0, "s1", 1.0, 4.0, "P1"), (1, "s2", None, 2.0, "P2"), (1, "s3", 9.0, 7.0, "P3")]
    run = save_numbers(store, rows)
    every = predictions(store, run)
    assert every["residual"].to_pylist() == [0.5, -3.0, None, 2.0]
    assert every["true"].to_pylist() == [5.0, 1.0, None, 9.0]
    assert predictions(store, run, wrong=True, limit=2)["id"].to_pylist() == ["s1", "s3"]
    boxed = every.set_column(every.column_names.index("box"), "box", [["0,0,8,8"] * 4])
    write_predictions(boxed, run, tmp_path / "p.geojson")
    features = json.loads((tmp_path / "p.geojson").read_text())["features"]
    assert features[1]["properties"]["measurements"] == {"true": 1.0, "predicted": 4.0, "residual": -3.0}
    assert features[2]["properties"]["measurements"] == {"predicted": 2.0}
    assert "classification" not in features[0]["properties"]


def test_lists_show_the_score_of_numbers(store):
    fold, true, predicted, owners = made()
    run = save_numbers(store, rows_of(fold, true, predicted, owners))
    missed: list[Exception] = []
    found = pooled_scores(store, [store.run(run)], missed.append)
    assert found == {run: ("r2", pytest.approx(r2_score(true, predicted)))}
    assert not missed


def test_the_figure_draws_predicted_against_true(store, tmp_path):
    fold, true, predicted, owners = made(groups=4)
    found = evaluate(store, save_numbers(store, rows_of(fold, true, predicted, owners)), bootstrap=50)
    sheet = draw_scores(found)
    scatter, folds = sheet.axes
    drawn = np.asarray(np.concatenate([np.asarray(part.get_offsets()) for part in scatter.collections]))
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(np.column_stack([true, predicted]), axis=0))
    assert [text.get_text() for text in scatter.get_legend().get_texts()] == ["P00", "P01", "P02", "P03"]
    assert (scatter.get_xlabel(), scatter.get_ylabel()) == ("true", "predicted")
    low, _ = folds.get_ylim()
    assert low < min(fold["metrics"]["r2"] for fold in found[0].folds["each"]) < 0
    assert scores_figure(found, tmp_path / "numbers.png").stat().st_size > 5000
    plt.close("all")


def test_units_that_lie_in_several_groups_are_called_so(store):
    rows = [(i % 2, f"s{i}", i // 4, i % 3, f"P{i // 4 if i < 8 else i // 2}", f"p{i // 4}") for i in range(16)]
    (found,) = evaluate(store, save_numbers(store, rows, levels=("patient",)), by="patient", bootstrap=20)
    *_, units, _ = draw_scores(found).axes
    assert [text.get_text() for text in units.get_legend().get_texts()] == ["P0", "P1", "several groups"]
    intervals = found.by["patient:mean"]["intervals"]
    assert (intervals["unit"], intervals["groups"], found.intervals["unit"]) == ("patient", 4, "slide")


def test_the_commands_show_numbers(store, tmp_path, capsys):
    histokit = CommandLine(capsys)
    run = save_numbers(store, rows_of(*made()))
    at = ("--store", store.uri)
    shown = histokit.ok(*at, "evaluate", run, "--bootstrap", 20).out
    assert "spearman" in shown
    assert "always" in shown
    assert "confusion" not in shown
    assert "residual" in histokit.ok(*at, "predictions", run, "--wrong", "--limit", 3).out
    listed = histokit.ok(*at, "list", "runs", "--json").document["runs"][0]
    assert (listed["scored_by"], listed["classes"]) == ("r2", [])
    assert histokit.ok(*at, "evaluate", run, "--json").document["runs"][0]["target_type"] == "number"


def test_errors_of_small_numbers_are_no_zeros(store, tmp_path, capsys):
    fold, true, predicted, owners = made()
    small = rows_of(fold, 1e-6 * true, 1e-6 * predicted, owners)
    better = rows_of(fold, 1e-6 * true, 1e-6 * (0.9 * predicted + 0.1 * true), owners)
    runs = [save_numbers(store, rows, run_id=name) for rows, name in ((small, "a" * 12), (better, "b" * 12))]
    error = 1e-6 * mean_absolute_error(true, predicted)
    command = CommandLine(capsys)
    base = ["--store", store.uri]
    shown = command.ok("evaluate", runs[0], "--metric", "mae", "--figure", tmp_path / "f.svg", *base).out
    assert f" {error:.3g} " in shown
    assert "0.0000" not in shown
    scores = command.ok("compare", *runs, "--metric", "mae", *base).out
    assert f"{error:.3g} (2)" in scores
    assert f"{0.9 * error:.3g} (1)" in scores
    listed = command.ok("predictions", runs[0], "--wrong", "--limit", 1, *base).out
    assert f"{1e-6 * np.abs(true - predicted).max():.3g}" in listed
    (found,) = evaluate(store, runs[0], metric="mae")
    names = [text.get_text() for text in draw_scores(found).axes[1].get_legend().get_texts()]
    assert names[0] == f"pooled {error:.4g}"
    page = report(store, runs[0], out=tmp_path / "r.html", bootstrap=0, samples=0).file.read_text()
    assert f">{error:.3g}</td>" in page


def test_a_line_that_is_worse_than_all_folds_is_inside_the_figure(store):
    rng = np.random.default_rng(0)
    rows = [(n, f"s{n}", rng.normal(), rng.normal(), f"P{n}") for n in range(12)]
    (found,) = evaluate(store, save_numbers(store, rows))
    assert found.folds["undefined"]["r2"] == 12
    assert found.metrics["r2"] < 0
    assert draw_scores(found).axes[1].get_ylim()[0] < found.metrics["r2"]
