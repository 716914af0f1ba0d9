"""What predicts numbers is scikit-learn's, whoever solves it, and is stored without pickle."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR

from histokit.classifiers.estimators import converged, dump, load
from histokit.classifiers.fitting import Fitting, cross_scores, fit_classifier
from histokit.classifiers.forest import rank_and_score
from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import REGRESSORS, check_class_weight, classifier
from histokit.errors import UsageError

GRIDS = {
    "ridge": [{"alpha": 100.0}, {"alpha": 1e-3}],
    "svr": [{"C": 1e-3, "epsilon": 0.1}, {"C": 1.0, "epsilon": 0.5}],
    "et": [{"max_features": "sqrt", "trees": 10}],
    "knn": [{"k": 7, "metric": "euclidean"}, {"k": 500, "metric": "euclidean"}],
}


def reference(name: str, setting: dict[str, object], rows: int) -> object:
    if name == "ridge":
        return Ridge(alpha=setting["alpha"])
    if name == "svr":
        svr = LinearSVR(**setting, loss="squared_epsilon_insensitive", dual=False, random_state=0)
        return TransformedTargetRegressor(svr, transformer=StandardScaler())
    if name == "et":
        return ExtraTreesRegressor(10, max_features="sqrt", random_state=0)
    return KNeighborsRegressor(min(int(str(setting["k"])), rows))


def make(n: int = 90, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(3, 1, size=(n, d)).astype(np.float32)
    return X, 400 + 25 * X[:, 0].astype(float) - 8 * X[:, 1] + rng.normal(0, 5, n)


@pytest.mark.parametrize("solver", ["auto", "sklearn"])
@pytest.mark.parametrize("shape", [(90, 6), (40, 80)])
@pytest.mark.parametrize("name", GRIDS)
def test_each_is_that_of_scikit_learn(name: str, shape: tuple[int, int], solver: str) -> None:
    X, y = make(*shape)
    fold = np.arange(len(y)) % 3
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    fitting = Fitting(name, solver=solver, numbers=True)
    crossed = list(cross_scores(fitting, X, y, folds, GRIDS[name], 1))
    assert len(crossed) == 3 * len(GRIDS[name])
    for number, setting, found, reached in crossed:
        train, test = folds[number]
        known = reference(name, GRIDS[name][setting], len(train)).fit(X[train].astype(float), y[train])
        assert reached
        assert found.shape == (len(test), 1)
        assert found[:, 0] == pytest.approx(known.predict(X[test].astype(float)), rel=2e-3, abs=0.05)
        fitted = load(dump({"estimator": fit_classifier(fitting, GRIDS[name][setting], X[train], y[train])}))
        again = fitted["estimator"].predict(X[test])
        assert again == pytest.approx(found[:, 0], rel=1e-4)
        # Of all neighbours the mean is the same, in whatever order they are.
        assert GRIDS[name][setting].get("k") != 500 or np.ptp([*again, *found[:, 0]]) == 0


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_svr_is_at_its_optimum_on_columns_of_very_different_scales(penalty: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 60))
    y = X[:, :10].sum(1) + rng.normal(size=200)
    X = (X * np.geomspace(1e-3, 1e3, 60)[rng.permutation(60)]).astype(np.float32)
    setting = {"C": penalty, "epsilon": 0.1}
    estimator = fit_classifier(Fitting("svr", numbers=True), setting, X, y)
    expected = reference("svr", setting, 200)
    expected.regressor.set_params(tol=1e-12, max_iter=100_000)
    wanted = expected.fit(X.astype(float), y).predict(X.astype(float))
    np.testing.assert_allclose(estimator.predict(X), wanted, atol=1e-3 * y.std())
    assert converged("svr", estimator, X, y, numbers=True)
    # As far as scikit-learn goes by itself, which is told.
    short = fit_classifier(Fitting("svr", numbers=True), setting, X, y)
    short.tol = 1e-2
    short.fit(X, y)
    assert short.n_iter_ < short.max_iter
    assert not converged("svr", short, X, y, numbers=True)


@pytest.mark.parametrize("name", GRIDS)
def test_the_units_of_the_target_do_not_matter(name: str) -> None:
    X, y = make()
    fitting = Fitting(name, numbers=True, scale=True)
    plain = fit_classifier(fitting, GRIDS[name][0], X, y).predict(X)
    other = fit_classifier(fitting, GRIDS[name][0], X, 1e4 * y - 7).predict(X)
    assert other == pytest.approx(1e4 * plain - 7, rel=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_a_training_set_of_one_value_predicts_it(name: str) -> None:
    X, _ = make()
    fitted = fit_classifier(Fitting(name, numbers=True), GRIDS[name][0], X, np.full(len(X), 0.1))
    assert fitted.predict(X) == pytest.approx(np.full(len(X), 0.1))


def test_importances_of_numbers_are_those_of_scikit_learn() -> None:
    X, y = make()
    importances, found = rank_and_score(X, y, X[:5], None, trees=12, seed=4)
    trees = ExtraTreesRegressor(12, max_features="sqrt", random_state=4).fit(X, y)
    assert importances == pytest.approx(trees.feature_importances_, rel=1e-12)
    assert found[:, 0] == pytest.approx(trees.predict(X[:5]), rel=1e-12)
    # Trees lose variances below 2e-16, and those beside a mean whose square has no digits left for them.
    small, values = rank_and_score(X, 2.0**-30 * y, X[:5], None, trees=12, seed=4)
    assert small == pytest.approx(importances, rel=1e-12)
    assert 2.0**30 * values == pytest.approx(found, rel=1e-12)
    _, values = rank_and_score(X, y + 1e10, X[:5], None, trees=12, seed=4)
    assert values - 1e10 == pytest.approx(found, rel=1e-4)


def test_what_predicts_the_other_kind_is_refused_with_what_to_type() -> None:
    for name in ("svm", "logreg", "fc", "et-fl"):
        with pytest.raises(UsageError, match=f"{name} predicts classes, and the target is a number") as caught:
            make_grid(name, None, True)
        assert "Use --classifier ridge, svr, et, knn; or" in caught.value.next
    with pytest.raises(UsageError, match="svr predicts numbers, and the target is a class") as caught:
        make_grid("svr", None, False)
    assert "--target-type number" in caught.value.next
    with pytest.raises(UsageError, match="no classes that could weigh more"):
        check_class_weight("ridge", "balanced", True)
    with pytest.raises(UsageError, match="epsilon of svr cannot be '-1'"):
        make_grid("svr", {"epsilon": "-1"}, True)
    assert all(classifier(name, True).kind == "value" for name in REGRESSORS)
