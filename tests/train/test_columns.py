import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier

from histokit.errors import DataError
from histokit.train import outer
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.classifiers.solvers.exact import samples as draw
from tests.toy import make_samples, make_store

GRIDS = {
    "svm": {"C": "1e-3,10"},
    "logreg": {"C": "1e-3,1"},
    "ridge": {"alpha": "10,1e-3"},
    "knn": {"k": 3, "metric": "cosine,euclidean,manhattan"},
    "et": {"trees": 5, "max_features": "sqrt"},
    "fc": {"iterations": 30, "lr": 0.1},
}


def store_of(tmp_path, factors=None, constant=None):
    samples, X = make_samples()
    if factors is not None:
        X = X * np.asarray(factors, X.dtype)[: X.shape[1]]
    if constant is not None:
        X = np.column_stack([X, np.full(len(X), constant, X.dtype)])
    return make_store(tmp_path / "store", samples, {"last": X})


def test_spreads_that_differ_much_are_told_with_both_columns(tmp_path):
    _, X = make_samples()
    spread = X.std(0)
    # The third column spreads exactly 400 times as much as the first, all others as much as the first.
    toy = store_of(tmp_path, spread[0] / spread * np.where(np.arange(X.shape[1]) == 2, 400, 1))
    names = toy.features("toy", "net/last").column_names
    (run,) = train(toy, "toy", "net/last", grid={"C": 0.1}, split="holdout")
    (note,) = [note for note in run.notes if "spread" in note]
    assert repr(names[2]) in note
    assert "--scale" in note
    ratio = float(note.split(" times")[0].split()[-1])
    assert ratio == pytest.approx(400, rel=0.15)
    for options in ({"classifier": "et", "grid": GRIDS["et"]}, {"grid": {"C": 0.1}, "scale": True}):
        (run,) = train(toy, "toy", "net/last", split="holdout", **options)
        assert not [note for note in run.notes if "spread" in note]


@pytest.mark.parametrize("name", ["logreg", "ridge", "knn", "fc"])
def test_spreads_that_differ_much_are_told_for_each_classifier_that_looks_at_sizes(tmp_path, name):
    _, X = make_samples()
    toy = store_of(tmp_path, X.std(0)[0] / X.std(0) * np.where(np.arange(X.shape[1]) == 2, 400, 1))
    options = {"split": "holdout", "grid": GRIDS[name]}
    (run,) = train(toy, "toy", "net/last", name, **options)
    (note,) = [note for note in run.notes if "spread" in note]
    assert f"hardly count in {name}; --scale standardises all" in note
    (run,) = train(toy, "toy", "net/last", name, scale=True, **options)
    assert not [note for note in run.notes if "spread" in note]


def test_spreads_that_differ_little_are_not_told(tmp_path):
    _, X = make_samples()
    toy = store_of(tmp_path, X.std(0)[0] / X.std(0) * np.where(np.arange(X.shape[1]) == 2, 60, 1), constant=1.0)
    (run,) = train(toy, "toy", "net/last", grid={"C": 0.1}, split="holdout")
    assert not [note for note in run.notes if "spread" in note]


@pytest.mark.parametrize("solver", ["auto", "sklearn"])
@pytest.mark.parametrize("name", GRIDS)
def test_a_constant_column_of_any_size_gives_the_same_scores_or_an_error_that_names_it(tmp_path, name, solver):
    options = {"grid": GRIDS[name], "inner_folds": 2, "split": "holdout", "solver": solver}
    plain = store_of(tmp_path / "plain", constant=0.0)
    toy = store_of(tmp_path / "huge", constant=1e30)
    (expected,) = train(plain, "toy", "net/last", name, **options)
    names = toy.features("toy", "net/last").column_names
    if name == "fc" or (solver == "sklearn" and name in ("svm", "logreg", "ridge")):
        with pytest.raises(DataError, match=r"numbers as large as 1.0e\+30") as caught:
            train(toy, "toy", "net/last", name, **options)
        assert repr(names[-1]) in str(caught.value)
        assert "--scale" in caught.value.next
    else:
        (run,) = train(toy, "toy", "net/last", name, **options)
        if name != "svm" and not (name == "knn" and run.folds[0]["parameters"]["metric"] == "cosine"):
            assert run.folds[0]["scores"] == expected.folds[0]["scores"]
        assert run.folds[0]["scores"]["accuracy"] > 0.6
    scaled = [train(store, "toy", "net/last", name, **options, scale=True)[0] for store in (plain, toy)]
    assert scaled[0].folds[0]["scores"] == scaled[1].folds[0]["scores"]
    assert predict_features(toy, scaled[1], toy.features("toy", "net/last")).kind == "predict"


def test_fits_that_end_before_their_optimum_are_counted(tmp_path, monkeypatch):
    # On these columns liblinear stops far from the optimum of C = 10 and at that of C = 1e-12.
    X, y = draw(100, 30, "scales and offsets")
    samples = {"id": [f"s{i}" for i in range(100)], "label": ["ab"[k] for k in y]}
    toy = make_store(tmp_path / "store", samples | {"slide": [f"P{i % 4}" for i in range(100)]}, {"last": X})
    options = {"split": "leave-one-group-out", "inner_folds": 2, "solver": "sklearn"}
    (run,) = train(toy, "toy", "net/last", grid={"C": "1e-12,10"}, **options)
    chosen = [part["parameters"]["C"] for part in (*run.folds, run.found["final"])]
    # Each of five training sets takes two fits of each C in its inner folds, and one more of the C that is chosen.
    stopped = 5 * 2 + chosen.count(10)
    (note,) = [note for note in run.notes if "converged" in note]
    assert note.startswith(f"{stopped} of 25 fits of svm have not converged to the optimum: ")
    assert "--scale helps" in note
    (run,) = train(toy, "toy", "net/last", grid={"C": 1e-12}, **options)
    assert not any("converged" in note for note in run.notes)
    monkeypatch.setattr(outer, "converged", lambda *_: False)
    (run,) = train(toy, "toy", "net/last", grid={"C": 1}, scale=True, **options)
    (note,) = [note for note in run.notes if "converged" in note]
    assert note.startswith("5 of 5 fits of svm have not")
    assert "--scale" not in note


ALONE = {
    "ridge": RidgeClassifier(alpha=1),
    "logreg": LogisticRegression(C=1, solver="newton-cholesky", tol=1e-10),
    "ridge of numbers": Ridge(alpha=1),
}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("more", [0, 100])
def test_a_sample_that_is_tested_and_lies_far_away_changes_no_score_of_others(tmp_path, more, name):
    samples, X = make_samples()
    X = np.column_stack([X, np.random.default_rng(0).normal(size=(len(X), more))]).astype(np.float32)
    X[0, 1] = 1e9
    samples["value"] = np.random.default_rng(1).normal(size=len(X)).tolist()
    toy = make_store(tmp_path, samples, {"last": X})
    numbers, classifier = " of numbers" in name, name.split()[0]
    options = {"split": "leave-one-group-out", "grid": {"C" if name == "logreg" else "alpha": 1}}
    options |= {"target": "value"} if numbers else {}
    (run,) = train(toy, "toy", "net/last", classifier, **options)
    own = np.array(samples["slide"]) == samples["slide"][0]
    y = np.array(samples["value"] if numbers else samples["label"])
    alone = ALONE[name].fit(X[~own].astype(float), y[~own])
    ask = getattr(alone, {"logreg": "predict_log_proba", "ridge": "decision_function"}.get(name, "predict"))
    found = {row["id"]: row for row in toy.predictions(run.id).to_pylist()}
    rows = np.flatnonzero(own)[1:]
    expected = ask(X[rows].astype(float))
    got = [found[samples["id"][row]] for row in rows]
    if numbers:
        np.testing.assert_allclose([row["predicted_value"] for row in got], expected, rtol=1e-4, atol=1e-4)
    elif name == "ridge":
        np.testing.assert_allclose([row["scores"][1] for row in got], expected, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_allclose(np.log([row["scores"] for row in got]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("grid", ["1", "1e-3,1"])
def test_logreg_of_columns_that_say_nothing_gives_all_classes_the_same(tmp_path, grid):
    samples, _ = make_samples()
    samples["label"] = ["ab"[i // 6 % 2] for i in range(60)]
    toy = make_store(tmp_path, samples, {"last": np.full((60, 4), 3.0)})
    (run,) = train(toy, "toy", "net/last", "logreg", grid={"C": grid})
    assert {tuple(row) for row in toy.predictions(run.id)["scores"].to_pylist()} == {(0.5, 0.5)}
    assert not any("converged" in note for note in run.notes)
