"""What is returned is the optimum, whatever the columns are measured in."""

import numpy as np
import pytest

from histokit.protocol.estimators import scores
from histokit.protocol.solvers import common, refinement, squared_hinge, svm
from tests.protocol.solvers.exact import KINDS, SHAPES, Hinge, optimum, samples


def weights(y, class_weight):
    return common.sample_weights(y, class_weight)


def check_optimum(problem, estimator, row=0):
    """Compare an estimator's objective, and its values of all samples, with the optimum in long double."""
    found, right = np.append(estimator.coef_[row], estimator.intercept_[row]), optimum(problem)
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


@pytest.mark.parametrize("kind", KINDS)
def test_svm_scores_the_inner_folds_as_the_model_that_is_kept(kind):
    X, y = samples(60, 15, kind)
    folds = [(np.flatnonzero(np.arange(60) % 3 != k), np.flatnonzero(np.arange(60) % 3 == k)) for k in range(3)]
    settings = [{"C": penalty} for penalty in (1e-8, 1e-4, 1e-1, 10.0)]
    for fold, setting, found, optimal in svm.cross_scores(X, y, folds, settings, 2):
        train, test = folds[fold]
        kept = scores("svm", svm.fit(X[train], y[train], settings[setting]), X[test], 2)
        np.testing.assert_allclose(found, kept, atol=1e-5 * np.abs(kept).max())
        assert optimal


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
