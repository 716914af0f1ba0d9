import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from histokit.classifiers.estimators import dump, load, scores
from histokit.classifiers.grids import make_grid
from histokit.classifiers.solvers import ridge

SETTINGS = [{"alpha": a} for a in (1e4, 10.0, 0.1, 1e-3)]


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("n", "d"), [(90, 6), (45, 80)])
@pytest.mark.parametrize("classes", [2, 5])
def test_scores_are_scikit_learns(make, cross, expect, agree, n, d, classes, class_weight):
    X, y, folds = make(n, d, classes)
    found = cross(ridge.cross_scores, X, y, folds, SETTINGS, classes, class_weight=class_weight)
    expected = expect(
        "ridge", lambda s: RidgeClassifier(**s, class_weight=class_weight), X, y, folds, SETTINGS, classes
    )
    agree(found, expected, 1e-8)


def test_many_penalties_are_solved_by_one_decomposition(make, cross, agree, monkeypatch):
    X, y, folds = make(60, 9, 3)
    few = cross(ridge.cross_scores, X, y, folds, SETTINGS, 3)
    monkeypatch.setattr(ridge, "_MANY", 0)
    monkeypatch.setattr(ridge, "_cholesky", None)
    agree(cross(ridge.cross_scores, X, y, folds, SETTINGS, 3), few, 1e-8)


@pytest.mark.parametrize("d", [6, 80])
def test_without_penalty_columns_that_say_the_same_do_no_harm(make, cross, d):
    X, y, folds = make(45, d, 2)
    X = np.hstack([X, X])
    found = cross(ridge.cross_scores, X, y, folds, [{"alpha": 0.0}], 2)
    train, test = folds[0]
    design = np.hstack([X[train], np.ones((len(train), 1))])
    solution = np.linalg.lstsq(design, 2.0 * y[train] - 1, rcond=1e-10)[0]
    if d == 6:
        np.testing.assert_allclose(found[0, 0][:, 1], X[test] @ solution[:-1] + solution[-1], atol=1e-6)
    assert np.isfinite(found[0, 0]).all()


def test_folds_need_not_cover_all_rows(make, cross, expect, agree):
    X, y, folds = make(90, 6, 3)
    odd = [(train[::2], test[:3]) for train, test in folds]
    found = cross(ridge.cross_scores, X, y, odd, SETTINGS, 3)
    agree(found, expect("ridge", lambda s: RidgeClassifier(**s), X, y, odd, SETTINGS, 3), 1e-8)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("d", [6, 120])
def test_a_class_missing_from_a_fold(make, cross, expect, agree, d, class_weight):
    X, y, folds = make(90, d, 3)
    folds[0] = (folds[0][0][y[folds[0][0]] != 1], folds[0][1])
    folds[1] = (folds[1][0][y[folds[1][0]] == 2], folds[1][1])
    found = cross(ridge.cross_scores, X, y, folds, SETTINGS, 3, class_weight=class_weight)
    assert np.isneginf(found[0, 0][:, 1]).all()
    assert np.isneginf(found[1, 3][:, :2]).all()
    assert (found[1, 3][:, 2] == 0).all()
    both = expect("ridge", lambda s: RidgeClassifier(**s, class_weight=class_weight), X, y, folds[::2], SETTINGS, 3)
    agree({key: found[2 * key[0], key[1]] for key in both}, both, 1e-8)


def test_a_row_far_away_that_a_fold_leaves_out_takes_no_digits_from_it(make, cross, expect, agree):
    X, y, folds = make(90, 6, 2)
    train, test = folds[0]
    X[test[0], 4] = 1e9
    near = [(train, test[1:])]
    found = cross(ridge.cross_scores, X, y, near, SETTINGS, 2)
    agree(found, expect("ridge", lambda s: RidgeClassifier(**s), X, y, near, SETTINGS, 2), 1e-8)


def test_float32_features_lose_nothing(make, cross, agree):
    X, y, folds = make(90, 30, 2, dtype=np.float32)
    X *= 1000
    found = cross(ridge.cross_scores, X, y, folds, SETTINGS, 2)
    agree(found, cross(ridge.cross_scores, X.astype(np.float64), y, folds, SETTINGS, 2), 1e-9)


def test_fit_is_scikit_learns_and_can_be_stored(make):
    X, y, _ = make(90, 6, 3, dtype=np.float32)
    estimator = ridge.fit(X, y, {"alpha": 0.1}, class_weight="balanced")
    expected = RidgeClassifier(alpha=0.1, class_weight="balanced").fit(X.astype(np.float64), y)
    np.testing.assert_allclose(estimator.coef_, expected.coef_, atol=1e-12)
    again = load(dump({"estimator": estimator}))["estimator"]
    np.testing.assert_allclose(scores("ridge", again, X, 3), expected.decision_function(X), atol=1e-9)


def test_the_grid_goes_from_simple_to_complex():
    values = [s["alpha"] for s in make_grid("ridge")]
    assert values == sorted(values, reverse=True)
    assert make_grid("ridge", {"alpha": "1,10"}) == [{"alpha": 10.0}, {"alpha": 1.0}]
