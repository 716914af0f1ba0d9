import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from histokit.classifiers.estimators import dump, load, scores
from histokit.classifiers.solvers import adam, perceptron
from histokit.classifiers.table import CLASSIFIERS

SETTINGS = [{"iterations": i, "lr": lr} for i in (3, 40) for lr in (1e-3, 1e-1)]


def build(setting):
    given = {"max_iter": setting["iterations"], "learning_rate_init": setting["lr"], "random_state": 5}
    return MLPClassifier(**CLASSIFIERS["fc"].fixed, **given)


@pytest.fixture
def stopping(monkeypatch):
    """Lets the perceptron stop where its loss does not fall any more, as scikit-learn's does by default."""
    monkeypatch.setitem(CLASSIFIERS["fc"].fixed, "n_iter_no_change", 3)
    monkeypatch.setitem(CLASSIFIERS["fc"].fixed, "tol", 3e-3)


pytestmark = [pytest.mark.filterwarnings(f"ignore:{text}") for text in ("Stochastic Optimizer", "Got `batch_size`")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 5])
def test_fit_has_scikit_learns_weights(make, classes, dtype):
    X, y, _ = make(700, 8, classes, dtype=dtype)
    for setting in SETTINGS:
        found, expected = perceptron.fit(X, y, setting, seed=5), build(setting).fit(X, y)
        atol = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=0, atol=atol)
        np.testing.assert_allclose(found.intercepts_[0], expected.intercepts_[0], rtol=0, atol=atol)


@pytest.mark.parametrize(("n", "d"), [(150, 6), (45, 80)])
@pytest.mark.parametrize("classes", [2, 5])
def test_where_a_batch_holds_all_scores_are_scikit_learns(make, cross, expect, agree, n, d, classes):
    X, y, folds = make(n, d, classes)
    found = cross(perceptron.cross_scores, X, y, folds, SETTINGS, classes, seed=5)
    agree(found, expect("fc", build, X, y, folds, SETTINGS, classes), 1e-9)


def test_folds_that_share_batches_do_not_disturb_each_other(make, cross, expect, agree):
    X, y, _ = make(700, 8, 3)
    folds = [(np.arange(700), np.arange(f, 700, 7)) for f in range(3)]
    found = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 3, seed=5)
    agree(found, expect("fc", build, X, y, folds, SETTINGS, 3), 1e-9)


def test_shared_batches_score_as_well_as_scikit_learns_own(make, cross, expect):
    X, y, folds = make(1500, 8, 3, folds=5)
    settings = [{"iterations": 50, "lr": lr} for lr in (1e-2, 1e-1)]
    found = cross(perceptron.cross_scores, X, y, folds, settings, 3, seed=5)
    expected = expect("fc", build, X, y, folds, settings, 3)
    for setting in range(2):
        ours, theirs = (
            np.mean([(one[f, setting].argmax(1) == y[folds[f][1]]).mean() for f in range(5)])
            for one in (found, expected)
        )
        assert theirs > 0.6
        assert abs(ours - theirs) < 0.01


def test_a_test_sample_is_never_learnt(make, cross, agree):
    X, y, folds = make(500, 6, 2)
    before = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 2)
    for number, (_, test) in enumerate(folds):
        other = y.copy()
        other[test] = 1 - other[test]
        after = cross(perceptron.cross_scores, X, other, folds, SETTINGS, 2)
        same = {key: value for key, value in before.items() if key[0] == number}
        # Other folds stop elsewhere, so that products have other shapes, which may round otherwise.
        agree({key: after[key] for key in same}, same, 1e-9)


@pytest.mark.usefixtures("stopping")
@pytest.mark.parametrize("classes", [2, 3])
def test_training_stops_where_scikit_learns_does(make, cross, expect, agree, classes):
    X, y, folds = make(180, 6, classes)
    settings = [{"iterations": i, "lr": lr} for i in (10, 100) for lr in (1e-3, 3e-2, 1e-1)]
    one = build(settings[-1]).fit(X[folds[0][0]], y[folds[0][0]])
    assert 10 < one.n_iter_ < 100
    found = cross(perceptron.cross_scores, X, y, folds, settings, classes, seed=5)
    agree(found, expect("fc", build, X, y, folds, settings, classes), 1e-9)


def test_classes_missing_from_folds(make, cross, expect, agree):
    X, y, folds = make(150, 6, 4, folds=4)
    for number, missing in enumerate([[1], [2], [0, 1, 3]]):
        train, test = folds[number]
        folds[number] = (train[~np.isin(y[train], missing)], test)
    found = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 4, seed=5)
    assert (found[0, 0][:, 1] == 0).all()
    assert (found[2, 0] == [0, 0, 1, 0]).all()
    used = [0, 1, 3]
    expected = expect("fc", build, X, y, [folds[f] for f in used], SETTINGS, 4)
    agree({(f, s): found[used[f], s] for f, s in expected}, expected, 1e-9)


def test_the_same_seed_gives_the_same_and_another_another(make, cross, agree):
    X, y, folds = make(500, 6, 2)
    one = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 2, seed=1)
    agree(cross(perceptron.cross_scores, X, y, folds, SETTINGS, 2, seed=1), one, 0)
    other = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 2, seed=2)
    assert not np.array_equal(one[0, 0], other[0, 0])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fitted_perceptron_predicts_as_scikit_learns_and_can_be_stored(make, classes):
    X, y, _ = make(300, 6, classes, dtype=np.float32)
    y = y + 1
    estimator = load(dump({"estimator": perceptron.fit(X, y, SETTINGS[3], seed=5)}))["estimator"]
    expected = build(SETTINGS[3]).fit(X, y)
    np.testing.assert_array_equal(estimator.predict(X), expected.predict(X))
    np.testing.assert_allclose(scores("fc", estimator, X, 5), scores("fc", expected, X, 5), atol=1e-5)


def test_sure_probabilities_keep_their_order(make, cross):
    X, y, folds = make(100, 6, 2, dtype=np.float32)
    X[:, 0] += 30 * y
    found = cross(perceptron.cross_scores, X, y, folds, [{"iterations": 300, "lr": 0.1}], 2)[0, 0]
    estimator = perceptron.fit(X, y, {"iterations": 300, "lr": 0.1})
    for column in (found[:, 1], estimator.predict_proba(X)[:, 1]):
        sure = column[column > 1 - 1e-5]
        assert len(sure) > 10
        assert len(np.unique(sure)) == len(sure)


def test_threads_change_nothing(make, cross, agree, monkeypatch):
    X, y, folds = make(500, 6, 3)
    before = cross(perceptron.cross_scores, X, y, folds, SETTINGS, 3)
    monkeypatch.setattr(adam, "_WORTH_THREADS", 0)
    monkeypatch.setattr(adam, "cores", lambda: 5)
    agree(cross(perceptron.cross_scores, X, y, folds, SETTINGS, 3), before, 1e-9)
