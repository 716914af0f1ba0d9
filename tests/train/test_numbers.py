"""Runs that predict numbers: trained, stored, predicted with, and apart from those of classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from histokit import evaluate, predictions, select, train
from histokit.errors import DataError, UsageError
from histokit.select.importances import importance_shares
from histokit.store import Store
from histokit.store.split_records import Split, split_rows
from histokit.train.predict import predict_features
from tests.toy import make_samples, make_store


def make(folder, n=60, slides=6, seed=0, name="toy", layers=None, **columns):
    """A store whose samples have an ``age`` that two columns tell, and slides that shift it."""
    samples, X = make_samples(n, slides, seed=seed)
    rng = np.random.default_rng(seed)
    shift = 4.0 * np.arange(n) % slides
    samples["age"] = (60 + 5 * X[:, 0] - 3 * X[:, 1] + shift + rng.normal(size=n)).tolist()
    samples["grade"] = np.digitize(X[:, 0], [-1, 0, 1]).tolist()
    layers = layers or {"early": X[:, :3], "last": X}
    return make_store(folder, samples | columns, layers, name=name), samples, X


@pytest.fixture
def toy(tmp_path):
    return make(tmp_path / "store")[0]


def test_folds_are_scored_and_predictions_kept(tmp_path):
    store, samples, X = make(tmp_path)
    (run,) = train(store, "toy", "net/last", "ridge", target="age", grid={"alpha": 1.0})
    assert (run.metric, run.classes, run.numbers, run.split) == ("r2", (), True, "cv.age.number")
    found = store.predictions(run.id).to_pylist()
    row = {sample_id: number for number, sample_id in enumerate(samples["id"])}
    age = np.array(samples["age"])
    for fold in run.folds:
        here = [entry for entry in found if entry["fold"] == fold["fold"]]
        tested = [row[entry["id"]] for entry in here]
        training = np.setdiff1d(np.arange(60), tested)
        assert not {samples["slide"][i] for i in tested} & {samples["slide"][i] for i in training}
        known = Ridge(1.0).fit(X[training].astype(np.float32), age[training])
        expected = known.predict(X[tested].astype(np.float32))
        assert [entry["predicted_value"] for entry in here] == pytest.approx(expected, rel=1e-5)
        assert [entry["true_value"] for entry in here] == age[tested].tolist()
        assert fold["scores"]["r2"] == pytest.approx(r2_score(age[tested], expected), rel=1e-4)
    assert {entry["kind"] for entry in found} == {"value"}
    assert train(store, "toy", "net/last", "ridge", target="age", grid={"alpha": 1.0})[0].id == run.id


def test_a_grid_is_searched_by_the_error_where_it_is_lowest(toy):
    (run,) = train(toy, "toy", "net/last", "ridge", target="age", metric="mae", grid={"alpha": "1e4,1"})
    for part in [*run.folds, run.found["final"]]:
        table = {entry["parameters"]["alpha"]: entry["mean"] for entry in part["tuning"]["table"]}
        assert table[1.0] < table[1e4]
        assert part["parameters"] == {"alpha": 1.0}
        assert part["tuning"]["score"] == table[1.0]


@pytest.mark.usefixtures("few_trees")
def test_the_units_of_the_target_decide_nothing(tmp_path):
    # A picomole in moles: as small as what two means that are equal may differ by.
    found = []
    for place, unit in (("a", 1.0), ("b", 2.0**-40), ("c", 2.0**40)):
        _, samples, _ = make(tmp_path / place)
        store, *_ = make(tmp_path / f"{place}s", age=(unit * np.array(samples["age"])).tolist())
        how = {"target": "age", "metric": "mae", "split": "holdout", "inner_folds": 3}
        grids = {"ridge": {"alpha": "1e5,1"}, "knn": {"k": "40,3"}, "et": {"trees": 5, "max_features": "1,n"}}
        chosen = []
        for name, grid in grids.items():
            *runs, best = train(store, "toy", ["net/last", "net/early"], name, grid=grid, choose="inner", **how)
            chosen.append([run.folds[0]["parameters"] for run in runs])
            chosen[-1] += [best.folds[0]["address"], round(runs[0].folds[0]["scores"]["mae"] / unit, 1)]
            *_, best = train(store, "toy", ["net/last", "net/early"], name, grid=grid, choose="test", **how)
            chosen[-1].append(best.folds[0]["address"])
        kept = select(store, "toy", "net/last", **how).kept
        found.append([*chosen, kept["columns"], kept["k_best"]])
    assert found[0] == found[1] == found[2]
    assert found[0][0][0] == {"alpha": 1.0}
    assert found[0][1][0]["k"] == 3


def test_features_whose_errors_are_huge_do_not_make_those_of_others_the_same(tmp_path):
    *_, X = make(tmp_path)
    wild = X.copy()
    wild[0, 0] = 1e16
    store, *_ = make(tmp_path / "wild", layers={"few": X[:, 1:3], "many": X, "wild": wild})
    how = {"target": "age", "metric": "rmse", "grid": {"alpha": 1.0}, "inner_folds": 3}
    for choose in ("inner", "test"):
        few, many, worst, found = train(store, "toy", "net/each", "ridge", choose=choose, **how)
        errors = [np.mean([fold["scores"]["rmse"] for fold in run.folds]) for run in (many, few, worst)]
        assert errors[0] < 0.9 * errors[1] < 1e-13 * errors[2]
        assert {fold["address"] for fold in found.folds} == {"net/many"}


@pytest.mark.parametrize(("unit", "offset"), [(1e-9, 0.0), (1e-5, 0.0), (1e-9, 1.0)])
def test_trees_of_small_numbers_are_those_of_large_ones(tmp_path, unit, offset):
    # scikit-learn's take numbers whose variance is below 2e-16 for one number.
    scores, fitted = [], []
    for place, unit_here, offset_here in (("a", 1.0, 0.0), ("b", unit, offset)):
        _, samples, _ = make(tmp_path / place)
        age = np.array(samples["age"])
        store, *_ = make(tmp_path / f"{place}s", age=(offset_here + unit_here * age).tolist())
        (run,) = train(store, "toy", "net/last", "et", target="age", grid={"trees": 30}, split="holdout")
        model = predict_features(store, run, store.features("toy", "net/last"))
        found = {row["id"]: row["predicted_value"] for row in store.predictions(model.id).to_pylist()}
        fitted.append((np.array([found[i] for i in samples["id"]]) - offset_here) / unit_here - age)
        scores.append(run.folds[0]["scores"]["r2"])
    assert scores[0] > 0.4
    assert scores[1] == pytest.approx(scores[0], abs=0.1)
    tested = np.abs(fitted[0]) > 1e-6
    # Trees that are fully grown know what they were grown on.
    assert 5 < tested.sum() < 20
    np.testing.assert_allclose(fitted[1][~tested], 0, atol=1e-4)


def test_the_layer_with_the_lowest_error_is_chosen(toy):
    how = {"target": "age", "metric": "rmse", "grid": {"alpha": "10,1"}}
    for choose in ("inner", "test"):
        *runs, chosen = train(toy, "toy", ["net/early", "net/last"], "ridge", choose=choose, **how)
        mean = {run.address: np.mean([fold["scores"]["rmse"] for fold in run.folds]) for run in runs}
        assert chosen.found["final"]["address"] == min(mean, key=mean.get)


def test_missing_values_are_unlabelled_and_infinite_ones_refused(tmp_path):
    _, samples, _ = make(tmp_path / "a")
    ages = [None if i < 3 else np.nan if i < 5 else age for i, age in enumerate(samples["age"])]
    store, *_ = make(tmp_path / "b", age=ages)
    (run,) = train(store, "toy", "net/last", "knn", target="age", grid={"k": 3})
    assert len(store.predictions(run.id)) == 55
    assert "5 samples without a value of 'age' are left out" in run.notes
    store, *_ = make(tmp_path / "c", age=[float("inf"), *samples["age"][1:]])
    with pytest.raises(DataError, match="1 sample has an infinite value of 'age': s0"):
        train(store, "toy", "net/last", "ridge", target="age")
    assert train(store, "toy", "net/last", "ridge", target="age", where="id <> 's0'")
    store, *_ = make(tmp_path / "d", age=[7.5] * 60)
    with pytest.raises(DataError, match=r"All values of 'age' are 7\.5"):
        train(store, "toy", "net/last", "ridge", target="age")


def test_whole_numbers_are_classes_unless_asked(toy):
    (classes,) = train(toy, "toy", "net/last", "ridge", target="grade", grid={"alpha": 1.0})
    assert classes.classes == ("0", "1", "2", "3")
    assert any("grade holds whole numbers, which are taken as classes" in note for note in classes.notes)
    (numbers,) = train(toy, "toy", "net/last", "ridge", target="grade", target_type="number", grid={"alpha": 1.0})
    assert numbers.numbers
    assert numbers.id != classes.id
    assert numbers.split == "cv.grade.number"
    (again,) = train(toy, "toy", "net/last", "ridge", target="grade", target_type="class", grid={"alpha": 1.0})
    assert again.id == classes.id
    assert not any("whole numbers" in note for note in numbers.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classifier": "svm", "target": "age"}, "The classifier svm predicts classes, and the target is a number"),
        ({"classifier": "svr"}, "svr predicts numbers, and the target is a class"),
        ({"classifier": "svr", "target": "grade"}, "svr predicts numbers, and the target is a class"),
        ({"classifier": "ridge", "target": "age", "metric": "accuracy"}, "The metric accuracy is for classes"),
        ({"classifier": "ridge", "target": "grade", "metric": "mae"}, "The metric mae is for numbers"),
        ({"classifier": "ridge", "target": "age", "class_weight": "balanced"}, "no classes that could weigh more"),
        ({"classifier": "ridge", "target_type": "number"}, "label holds texts, not numbers"),
        ({"classifier": "ridge", "target": "years"}, "no column 'years'"),
        ({"classifier": "ridge", "target": "age", "target_type": "float"}, "no type of target 'float'"),
    ],
)
def test_what_does_not_fit_is_refused(toy, options, says):
    with pytest.raises(UsageError, match=says):
        train(toy, "toy", "net/last", **options)
    assert not toy.runs()


@pytest.mark.parametrize("metric", ["r2", "mae"])
def test_columns_are_eliminated_by_how_well_they_predict(tmp_path, metric):
    rng = np.random.default_rng(0)
    samples, X = make_samples(90, 9)
    X = rng.normal(size=(90, 8))
    samples["age"] = (50 + 4 * X[:, 5] + 0.1 * rng.normal(size=90)).tolist()
    store = make_store(tmp_path, samples, {"last": X})
    how = {"target": "age", "metric": metric, "step": 1, "inner_folds": 3, "split": "holdout"}
    selection = select(store, "toy", "net/last", tolerance=0.005, **how)
    assert selection.kept["columns"] == [5]
    shares = importance_shares(store, ["toy"], "net/last", target="age")
    assert shares.layers[0]["columns_in_bands"][0] == 1
    assert shares.layers[0]["bands"][0] > 0.5
    how = {"selection": selection.id, "split": "holdout", "target": "age"}
    (run,) = train(store, "toy", "net/last", "ridge", **how, grid={"alpha": 1.0})
    assert run.folds[0]["columns"] == [5]


def test_the_tolerance_of_errors_is_in_deviations_of_the_target(tmp_path):
    rng = np.random.default_rng(0)
    samples, _ = make_samples(90, 9)
    X = rng.normal(size=(90, 6))
    years = 50 + 4 * X[:, 5] + 1.5 * X[:, 2] + 0.5 * rng.normal(size=90)
    samples |= {"years": years.tolist(), "days": (365 * years).tolist()}
    store = make_store(tmp_path, samples, {"last": X})
    how = {"metric": "mae", "step": 1, "inner_folds": 3, "tolerance": 0.2, "split": "holdout"}
    found = [select(store, "toy", "net/last", target=target, **how).kept for target in ("years", "days")]
    assert found[0]["columns"] == found[1]["columns"] == [5]
    strict = select(store, "toy", "net/last", target="days", **how | {"tolerance": 0.01}).kept
    assert strict["columns"] == [2, 5]


def test_the_tolerance_knows_nothing_of_the_numbers_of_test_samples(tmp_path):
    rng = np.random.default_rng(0)
    samples, _ = make_samples(90, 9)
    X = rng.normal(size=(90, 6))
    years = 50 + 4 * X[:, 5] + 1.5 * X[:, 2] + 0.5 * rng.normal(size=90)
    tested = np.isin(samples["slide"], ["P0", "P1", "P2"])
    rows = [(0, 0, i, "test" if test else "train") for i, test in zip(samples["id"], tested, strict=True)]
    how = {"metric": "mae", "step": 1, "inner_folds": 3, "tolerance": 0.05, "split": "three"}
    kept = []
    for name, values in (("near", years), ("far", np.where(tested, 100 * years, years))):
        store = make_store(tmp_path / name, samples | {"years": values.tolist()}, {"last": X})
        store.save_split(Split("toy", "three", split_rows(rows), "slide"))
        kept.append(select(store, "toy", "net/last", target="years", **how).kept["columns"])
    assert kept == [[2, 5], [2, 5]]


def test_units_are_trained_on_where_they_share_a_value(tmp_path):
    store, *_ = make(tmp_path / "a")
    with pytest.raises(DataError, match="holds samples of 10 ages"):
        train(store, "toy", "net/last", "ridge", target="age", aggregate="slide:mean")
    patient = [f"Q{i // 3}" for i in range(60)]
    by_patient = [float(40 + i // 3) for i in range(60)]
    store, *_ = make(tmp_path / "b", patient=patient, age=by_patient, slide=[f"P{i // 12}" for i in range(60)])
    (run,) = train(store, "toy", "net/last", "ridge", target="age", aggregate="patient:mean", grid={"alpha": 1.0})
    assert len(store.predictions(run.id)) == 20
    # Of what is predicted, labels do not matter either: those of a patient differ.
    done = predict_features(store, run, store.features("toy", "net/last"))
    assert store.predictions(done.id)["true_value"].to_pylist() == [40.0 + i for i in range(20)]


def test_other_data_are_predicted_and_scored_where_they_have_values(tmp_path):
    store, *_ = make(tmp_path)
    (run,) = train(store, "toy", "net/last", "svr", target="age", grid={"C": 1.0})
    make(
        store.uri,
        n=30,
        seed=5,
        name="new",
        id=[f"n{i}" for i in range(30)],
        age=[None] * 10 + [50.0 + i for i in range(20)],
    )
    done = predict_features(store, run, store.features("new", "net/last"))
    assert done.numbers
    assert store.predictions(done.id)["true_value"].null_count == 10
    (found,) = evaluate(store, done.id)
    assert found.n == 20
    assert any("10 samples without a value are not scored" in note for note in found.notes)
    assert predictions(store, done.id, wrong=True)["true"].null_count == 0
    strange = [f"m{i}" for i in range(30)]
    make(store.uri, n=30, seed=6, name="texts", id=strange, age=["old"] * 30)
    texts = predict_features(store, run, store.features("texts", "net/last"))
    assert texts.notes == ["age holds no numbers here: nothing is known of the true values"]
    with pytest.raises(DataError, match="has a true value"):
        evaluate(store, texts.id)


def test_runs_of_both_kinds_live_in_one_table(tmp_path):
    store, *_ = make(tmp_path)
    (classes,) = train(store, "toy", "net/last", "knn", grid={"k": 3})
    before = store.predictions(classes.id)
    (numbers,) = train(store, "toy", "net/last", "knn", target="age", grid={"k": 3})
    (later,) = train(store, "toy", "net/early", "knn", grid={"k": 3})
    again = Store(store.uri)
    assert again.predictions(classes.id).equals(before)
    assert again.predictions(classes.id).schema == again.predictions(later.id).schema
    assert again.predictions(numbers.id).column_names[-2:] == ["true_value", "predicted_value"]
    both = again.predictions_of([classes, numbers])
    assert {name: len(rows.column_names) for name, rows in both.items()} == {classes.id: 11, numbers.id: 13}
    other, *_ = make(tmp_path / "first")
    train(other, "toy", "net/last", "knn", target="age", grid={"k": 3})
    (last,) = train(other, "toy", "net/last", "knn", grid={"k": 3})
    assert last.id == classes.id
    assert other.predictions(last.id).drop_columns("run").equals(before.drop_columns("run"))
