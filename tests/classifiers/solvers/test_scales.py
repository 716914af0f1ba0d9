"""What is returned is the optimum, whatever the columns are measured in."""

import numpy as np
import pytest

from histokit.classifiers.estimators import converged, scores
from histokit.classifiers.fitting import Fitting, cross_scores, fit_classifier
from histokit.classifiers.grids import make_grid
from histokit.classifiers.solvers import common, logistic, refinement, ridge, squared_hinge, svm
from tests.classifiers.solvers.exact import KINDS, SHAPES, Hinge, Logistic, Squares, optimum, samples


def weights(y, class_weight):
    return common.sample_weights(y, class_weight)


def check_optimum(problem, estimator, row=0):
    """Compare an estimator's objective, and its values of all samples, with the optimum in long double."""
    coefficients, intercepts = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    found, right = np.append(coefficients[row], intercepts[row]), optimum(problem)
    least = problem.objective(right)
    assert problem.objective(found.astype(np.longdouble)) <= least * (1 + 1e-9)
    expected = (problem.A @ right).astype(float)
    np.testing.assert_allclose((problem.A @ found).astype(float), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_svm_of_two_classes(shape, kind):
    X, y = samples(*shape, kind)
    for penalty in (1e-8, 1e-4, 1e-2, 10.0):
        for class_weight in (None, "balanced"):
            estimator = svm.fit(X, y, {"C": penalty}, class_weight=class_weight)
            check_optimum(Hinge(X, 2 * y - 1, penalty, weights(y, class_weight)), estimator)
            assert estimator.n_iter_ < estimator.max_iter


@pytest.mark.parametrize("shape", SHAPES)
def test_svm_of_three_classes(shape):
    X, y = samples(*shape, "scales and offsets", classes=3)
    for class_weight in (None, "balanced"):
        estimator = svm.fit(X, y, {"C": 1.0}, class_weight=class_weight)
        for row in range(3):
            weight = np.where(y == row, weights(y, class_weight), 1.0)
            check_optimum(Hinge(X, np.where(y == row, 1, -1), 1.0, weight), estimator, row)


FREE = {
    "logreg": (logistic.fit, "C", Logistic, (1e-4, 1e-1, 100.0)),
    "ridge": (ridge.fit, "alpha", Squares, (1e5, 1.0, 1e-3)),
}


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["plain", "scales", "offsets", "scales and offsets", "large"])
def test_classifiers_whose_intercept_is_free(kind, shape, class_weight, name):
    fit, parameter, problem, penalties = FREE[name]
    X, y = samples(*shape, kind)
    for penalty in penalties:
        estimator = fit(X, y, {parameter: penalty}, class_weight=class_weight)
        check_optimum(problem(X, 2 * y - 1, penalty, weights(y, class_weight)), estimator)
        assert converged(name, estimator, X, y)


@pytest.mark.parametrize("classes", [2, 3])
def test_losses_much_smaller_than_the_values_that_they_are_of_do_not_keep_from_the_optimum(classes):
    for seed in range(40):
        drawn = np.random.default_rng(seed)
        X = drawn.normal(size=(25, 60)) * np.exp(3 * drawn.normal(size=60))
        y = np.append(np.arange(classes), drawn.integers(0, classes, 25 - classes))
        assert converged("logreg", logistic.fit(X, y, {"C": 1e4}), X, y), seed


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_column_says_nothing_beside_a_free_intercept(shape, name):
    fit, parameter, _, penalties = FREE[name]
    X, y = samples(*shape, "constant")
    for penalty in penalties:
        estimator = fit(X, y, {parameter: penalty})
        others = np.delete(X, 1, axis=1)
        without = scores(name, fit(others, y, {parameter: penalty}), others, 2)
        np.testing.assert_allclose(scores(name, estimator, X, 2), without, atol=1e-6)


@pytest.mark.parametrize("name", ["svm", "logreg", "ridge"])
@pytest.mark.parametrize("kind", ["scales", "offsets", "constant"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_tuning_scores_as_the_model_that_is_kept(class_weight, kind, name):
    X, y = samples(60, 15, kind, classes=3)
    folds = [(np.flatnonzero(np.arange(60) % 3 != k), np.flatnonzero(np.arange(60) % 3 == k)) for k in range(3)]
    folds[0] = (folds[0][0][y[folds[0][0]] != 1], folds[0][1])
    fitting, grid = Fitting(name, class_weight), make_grid(name)[::3]
    for fold, setting, found, _ in cross_scores(fitting, X, y, folds, grid, 3):
        train, test = folds[fold]
        kept = scores(name, fit_classifier(fitting, grid[setting], X[train], y[train]), X[test], 3)
        finite = np.isfinite(kept)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        np.testing.assert_allclose(found[finite], kept[finite], atol=2e-5 * np.abs(kept[finite]).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_without_normal_equations(shape, monkeypatch):
    monkeypatch.setattr(refinement, "_TRUSTED_STEPS", 0)
    monkeypatch.setattr(squared_hinge, "_STEEP", 0.0)
    X, y = samples(*shape, "scales")
    for penalty in (1e-3, 10.0):
        check_optimum(Hinge(X, 2 * y - 1, penalty, np.ones(len(y))), svm.fit(X, y, {"C": penalty}))


def test_dual_coefficients_that_lost_their_digits_are_noticed(monkeypatch):
    monkeypatch.setattr(squared_hinge, "_STEEP", np.inf)
    X, y = samples(60, 15, "scales")
    check_optimum(Hinge(X, 2 * y - 1, 10.0, np.ones(60)), svm.fit(X, y, {"C": 10.0}))
    monkeypatch.setattr(refinement, "_STEPS", 1)
    assert not all(optimal for *_, optimal in svm.cross_scores(X, y, [(np.arange(60), np.arange(3))], [{"C": 10.0}], 2))
    estimator = svm.fit(X, y, {"C": 10.0})
    assert estimator.n_iter_ == estimator.max_iter
