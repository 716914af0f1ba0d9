import numpy as np
import pytest

from histokit.classifiers.estimators import scores


def problem(n=90, d=6, classes=3, folds=3, seed=0, dtype=np.float64):
    """Samples of unequal classes, and folds that test every third sample or the like."""
    rng = np.random.default_rng(seed)
    y = np.minimum(rng.geometric(0.4, n) - 1, classes - 1)
    y[: 2 * folds * classes] = np.arange(2 * folds * classes) % classes
    X = rng.normal(size=(n, d)) * np.linspace(0.3, 3, d) + 2
    X[:, :classes] += 1.5 * np.eye(classes)[y][:, : min(d, classes)]
    place = np.arange(n) // classes % folds
    return X.astype(dtype), y, [(np.flatnonzero(place != f), np.flatnonzero(place == f)) for f in range(folds)]


@pytest.fixture
def make():
    return problem


@pytest.fixture
def cross():
    """Runs a solver, and checks that every fold and setting comes once."""

    def run(solver, X, y, folds, settings, classes, **options):
        found = {(f, s): (array, ok) for f, s, array, ok in solver(X, y, folds, settings, classes, **options)}
        assert sorted(found) == [(f, s) for f in range(len(folds)) for s in range(len(settings))]
        for (fold, _), (array, ok) in found.items():
            assert array.shape == (len(folds[fold][1]), classes)
            assert array.dtype == np.float64
            assert isinstance(ok, bool)
        return {key: array for key, (array, _) in found.items()}

    return run


@pytest.fixture
def expect():
    """Scores of scikit-learn's own estimator on each fold."""

    def run(name, build, X, y, folds, settings, classes):
        return {
            (f, s): scores(name, build(setting).fit(X[train], y[train]), X[test], classes)
            for f, (train, test) in enumerate(folds)
            for s, setting in enumerate(settings)
        }

    return run


@pytest.fixture
def agree():
    def check(found, expected, atol):
        assert found.keys() == expected.keys()
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=atol, err_msg=str(key))

    return check
