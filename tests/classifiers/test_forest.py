import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from histokit.classifiers.forest import rank_and_score


def make(classes, n=60, d=9):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[:, 2] += y
    return X, y, rng.normal(size=(20, d)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("max_features", ["sqrt", 1, 0.5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_same_trees_as_the_ensemble_bit_for_bit(classes, max_features, order):
    X, y, tested = make(classes)
    library = ExtraTreesClassifier(15, max_features=max_features, random_state=7).fit(X, y)
    given = np.array(X, order=order)
    found, scores = rank_and_score(given, y, tested, classes, trees=15, max_features=max_features, seed=7)
    assert (found == library.feature_importances_).all()
    assert (scores == library.predict_proba(tested)).all()
    assert rank_and_score(given, y, tested[:0], classes, trees=15, seed=7)[1].shape == (0, classes)


def test_a_class_without_training_sample_has_probability_0():
    X, y, tested = make(3)
    rows = y != 1
    _, scores = rank_and_score(X[rows], y[rows], tested, 3, trees=5)
    library = ExtraTreesClassifier(5, random_state=0).fit(X[rows], y[rows])
    assert (scores[:, [0, 2]] == library.predict_proba(tested)).all()
    assert (scores[:, 1] == 0).all()


def test_one_class_is_certain_and_no_column_tells_more_than_another():
    X, _, tested = make(2)
    importances, scores = rank_and_score(X, np.ones(len(X), int), tested, 2, trees=5)
    assert importances == pytest.approx(np.full(9, 1 / 9))
    assert (scores == [0, 1]).all()
