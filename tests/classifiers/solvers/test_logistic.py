import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from histokit.classifiers.estimators import converged, dump, load, scores
from histokit.classifiers.solvers import common, logistic, newton

SETTINGS = [{"C": c} for c in (1e-6, 1e-3, 0.1, 10.0, 100.0)]


def build(class_weight=None):
    return lambda s: LogisticRegression(
        C=s["C"], class_weight=class_weight, solver="newton-cholesky", tol=1e-10, max_iter=1000
    )


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("n", "d"), [(90, 6), (45, 80)])
@pytest.mark.parametrize("classes", [2, 5])
def test_scores_are_scikit_learns(make, cross, expect, agree, n, d, classes, class_weight):
    X, y, folds = make(n, d, classes)
    found = cross(logistic.cross_scores, X, y, folds, SETTINGS, classes, class_weight=class_weight)
    agree(found, expect("logreg", build(class_weight), X, y, folds, SETTINGS, classes), 1e-5)


def test_the_order_of_scores_survives_strong_penalties(make, cross, expect):
    X, y, folds = make(90, 6, 2)
    settings = [{"C": 1e-10}]
    found = cross(logistic.cross_scores, X, y, folds, settings, 2)
    expected = expect("logreg", build(), X, y, folds, settings, 2)
    for key, one in expected.items():
        np.testing.assert_allclose(np.ptp(found[key], 0), np.ptp(one, 0), rtol=1e-3)
        assert found[key][:, 1].argsort().tolist() == one[:, 1].argsort().tolist()


def test_folds_are_looked_at_for_rows_far_away_by_the_columns_alone_that_reach_so_far(make, cross, monkeypatch):
    X, y, folds = make(90, 6, 2)
    asked, variation = [], logistic._variation
    monkeypatch.setattr(logistic, "_variation", lambda *a: asked.append(a[2].tolist()) or variation(*a))
    cross(logistic.cross_scores, X, y, folds, [{"C": 1.0}], 2)
    X[folds[0][1][0], 4] = 1e7
    cross(logistic.cross_scores, X, y, folds, [{"C": 1.0}], 2)
    each = len(folds)
    assert asked == [[*range(6)], *[[]] * each, [*range(6)], *[[4]] * each]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_very_different_scales(make, cross, expect, agree, dtype):
    X, y, folds = make(120, 30, 3)
    X = (X * np.geomspace(1e-2, 1e4, 30) + 1e4).astype(dtype)
    X[:, 5] = 0
    X[:, 7] = X[:, 8]
    found = cross(logistic.cross_scores, X, y, folds, SETTINGS[:4], 3)
    exact = X.astype(np.float64) - X.mean(0, dtype=np.float64)
    agree(found, expect("logreg", build(), exact, y, folds, SETTINGS[:4], 3), 1e-4)


def test_a_start_far_away(make):
    X, y, _ = make(90, 6, 2)
    rotated, targets, strength = newton.Rotated(X), (y == 1)[None].astype(float), np.ones((1, len(X)))
    start = np.zeros((1, 1, 7))
    expected = newton.Newton(rotated, targets, strength, start).run()
    far = newton.Newton(rotated, targets, strength, np.where(np.arange(7) % 2, 6.0, -6.0)[None, None]).run()
    assert far.reached.all()
    np.testing.assert_allclose(far.weights, expected.weights, atol=1e-4)


def test_groups_of_problems_of_any_size_give_the_same(make, cross, agree, monkeypatch):
    X, y, folds = make(90, 6, 3)
    before = cross(logistic.cross_scores, X, y, folds, SETTINGS, 3)
    monkeypatch.setattr(logistic, "_TOGETHER", 4)
    agree(
        cross(logistic.cross_scores, X, y, folds, SETTINGS[::-1], 3),
        {(f, 4 - s): v for (f, s), v in before.items()},
        1e-5,
    )


def test_separable_classes(make, cross, expect, agree):
    X, y, folds = make(90, 6, 2)
    X[:, 0] += 40 * y
    found = cross(logistic.cross_scores, X, y, folds, SETTINGS, 2)
    agree(found, expect("logreg", build(), X, y, folds, SETTINGS, 2), 1e-5)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("d", [6, 120])
def test_classes_missing_from_folds(make, cross, expect, agree, d, class_weight):
    X, y, folds = make(90, d, 3)
    folds[0] = (folds[0][0][y[folds[0][0]] != 1], folds[0][1])
    folds[1] = (folds[1][0][y[folds[1][0]] == 2], folds[1][1])
    found = cross(logistic.cross_scores, X, y, folds, SETTINGS, 3, class_weight=class_weight)
    assert (found[0, 0][:, 1] == 0).all()
    assert (found[1, 0] == [0, 0, 1]).all()
    expected = expect("logreg", build(class_weight), X, y, folds[::2], SETTINGS, 3)
    agree({(f, s): found[2 * f, s] for f, s in expected}, expected, 1e-5)


def test_what_stops_early_is_told(make, monkeypatch):
    X, y, folds = make(90, 6, 2)
    monkeypatch.setattr(newton, "_STEPS", 4)
    told = {s: reached for _, s, _, reached in logistic.cross_scores(X, y, folds[:1], [{"C": 1e-9}, {"C": 100.0}], 2)}
    assert told == {0: True, 1: False}
    # Also of a fold whose rows are turned alone, since another one lies far away.
    far = X.copy()
    far[folds[0][1][0], 4] = 1e7
    told = {s: ok for _, s, _, ok in logistic.cross_scores(far, y, folds[:1], [{"C": 1e-9}, {"C": 100.0}], 2)}
    assert told == {0: True, 1: False}
    assert not converged("logreg", logistic.fit(X, y, {"C": 100.0}), X, y)
    monkeypatch.undo()
    assert converged("logreg", logistic.fit(X, y, {"C": 100.0}), X, y)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("n", "d"), [(90, 6), (45, 80)])
@pytest.mark.parametrize("classes", [2, 3])
def test_fit_has_scikit_learns_weights_and_can_be_stored(make, n, d, classes, class_weight):
    X, y, _ = make(n, d, classes)
    y = y + 1
    estimator = logistic.fit(X, y, {"C": 0.3}, class_weight=class_weight)
    expected = build(class_weight)({"C": 0.3}).fit(X, y)
    np.testing.assert_allclose(estimator.coef_, expected.coef_, atol=1e-5)
    again = load(dump({"estimator": estimator}))["estimator"]
    np.testing.assert_allclose(scores("logreg", again, X, 5), scores("logreg", expected, X, 5), atol=1e-5)
    np.testing.assert_array_equal(again.predict(X), expected.predict(X))


def test_rows_that_are_turned_take_three_times_their_memory(monkeypatch):
    monkeypatch.setattr(common, "BLOCK", 2**14)
    X = np.random.default_rng(0).normal(size=(8000, 64)).astype(np.float32)
    newton.Rotated(X[:100])
    tracemalloc.start()
    rotated = newton.Rotated(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Double precision while they are turned, and single precision that is kept.
    assert rotated.rows.dtype == np.float32
    assert peak <= 3.5 * X.nbytes
