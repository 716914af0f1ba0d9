"""Weights of linear classifiers give their decision values, whatever lies before and behind."""

import numpy as np
import pytest

from histokit.classifiers.estimators import scores
from histokit.classifiers.fitting import Fitting, fit_classifier
from histokit.classifiers.linear_weights import linear_weights

PARAMETERS = {
    "svm": {"C": 0.1},
    "logreg": {"C": 0.1},
    "ridge": {"alpha": 10.0},
    "fc": {"iterations": 50, "lr": 0.01},
}


def drawn(classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(60) % classes
    return rng.normal(3 * y[:, None], [1, 5, 20, 0.1], (60, 4)).astype(np.float32), y


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("solver", ["auto", "sklearn"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_give_the_decision_values(name, classes, solver, scale):
    X, y = drawn(classes)
    estimator = fit_classifier(Fitting(name, solver=solver, scale=scale), PARAMETERS[name], X, y)
    found = linear_weights(estimator, classes)
    values = X.astype(np.float64) @ found.weights.T + found.intercepts
    expected = scores(name, estimator, X, classes)
    if name in ("logreg", "fc"):
        # Of two classes, the odds of the second.
        values = 1 / (1 + np.exp(-values)) if classes == 2 else np.exp(values) / np.exp(values).sum(1, keepdims=True)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "parameters"), [("ridge", {"alpha": 1.0}), ("svr", {"C": 1.0, "epsilon": 0.1})])
def test_weights_give_the_predicted_numbers(name, parameters):
    X, y = drawn(3)
    estimator = fit_classifier(Fitting(name, numbers=True, scale=True), parameters, X, 7.0 * y + 100)
    found = linear_weights(estimator, 0)
    np.testing.assert_allclose(
        X.astype(np.float64) @ found.weights.T + found.intercepts, scores(name, estimator, X, 0, True), rtol=1e-4
    )


def test_classes_without_training_samples_and_columns_that_were_not_kept():
    X, y = drawn(2)
    estimator = fit_classifier(Fitting("svm"), {"C": 0.1}, X, 2 * y)
    found = linear_weights(estimator, 3)
    assert found.intercepts[1] == -np.inf
    np.testing.assert_array_equal(found.weights[0], -found.weights[2])
    whole = found.over(np.array([5, 0, 2, 3]), 7).weights
    np.testing.assert_array_equal(whole[:, [5, 0, 2, 3]], found.weights)
    assert not whole[:, [1, 4, 6]].any()


def test_neighbours_have_no_weights():
    X, y = drawn(2)
    assert linear_weights(fit_classifier(Fitting("knn"), {"k": 1, "metric": "cosine"}, X, y), 2) is None
    assert linear_weights(fit_classifier(Fitting("svm"), {"C": 0.1}, X, y * 0), 2) is None
