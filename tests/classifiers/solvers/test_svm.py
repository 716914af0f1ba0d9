import numpy as np
import pytest
from sklearn.svm import LinearSVC

from histokit.classifiers.estimators import dump, load, scores
from histokit.classifiers.solvers import newton_systems, squared_hinge, svm

PENALTIES = [10.0**e for e in range(-8, 2)]


def make(n, d, k, seed=0):
    """Columns that hang together and are never negative, as those of a network; classes that overlap."""
    rng = np.random.default_rng(seed)
    factors, mixing = rng.normal(size=(n, 8)), rng.normal(size=(8, d))
    X = np.maximum(0.3 * factors @ mixing + 0.5 * rng.normal(size=(n, d)) + 0.3, 0).astype(np.float32)
    y = (0.7 * factors @ rng.normal(size=(8, k)) + 1.5 * rng.normal(size=(n, k))).argmax(1)
    return X, y


def thirds(n):
    return [(np.flatnonzero(np.arange(n) % 3 != k), np.flatnonzero(np.arange(n) % 3 == k)) for k in range(3)]


def library(X, y, penalty, class_weight=None):
    return LinearSVC(C=penalty, dual=False, tol=1e-10, max_iter=20_000, class_weight=class_weight).fit(
        X.astype(float), y
    )


def check(X, y, k, class_weight=None, penalties=PENALTIES, folds=None):
    folds = folds or thirds(len(y))
    settings = [{"C": penalty} for penalty in penalties]
    seen = set()
    for fold, setting, found, optimal in svm.cross_scores(X, y, folds, settings, k, class_weight=class_weight):
        seen.add((fold, setting))
        train, test = folds[fold]
        model = library(X[train], y[train], penalties[setting], class_weight)
        expected = scores("svm", model, X[test].astype(float), k)
        assert optimal
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isfinite(found), finite)
        assert np.abs(found[finite] - expected[finite]).max() <= 1e-4 * np.abs(expected[finite]).max()
    assert seen == {(f, s) for f in range(len(folds)) for s in range(len(settings))}


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(("n", "d", "k"), [(240, 30, 2), (120, 200, 2), (240, 40, 4), (120, 200, 3)])
def test_the_optimum_is_that_of_scikit_learn(n, d, k, class_weight):
    check(*make(n, d, k), k, class_weight)


def test_the_columns_serve_where_there_are_too_many_pairs(monkeypatch):
    monkeypatch.setattr(squared_hinge, "_MOST_PAIRS", 0)
    check(*make(240, 30, 3), 3)
    check(*make(90, 120, 2), 2)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_sums_over_most_samples_are_made_once_for_all_classes(monkeypatch, class_weight):
    monkeypatch.setattr(squared_hinge, "_MOST_PAIRS", 0)
    monkeypatch.setattr(squared_hinge, "_CG_STEPS", 0)
    summed, whole = [], []
    products, once = newton_systems.System._products, squared_hinge.Matrix._scatter.func
    monkeypatch.setattr(newton_systems.System, "_products", lambda *a: summed.append(a[1].sum()) or products(*a))
    monkeypatch.setattr(squared_hinge.Matrix._scatter, "func", lambda self: whole.append(len(self.A)) or once(self))
    check(*make(300, 20, 4), 4, class_weight, penalties=[1e-3, 1e-1, 10.0])
    # Of each of 4 classes and 3 folds, 200 samples are trained on and nearly all of them inside at first.
    first = sum(count > 150 for count in summed)
    if class_weight is None:
        assert (first, whole) == (0, [300])
    else:
        # A class of 50 of the 200 has the weight 1.
        assert first >= 8


def test_without_conjugate_gradients(monkeypatch):
    monkeypatch.setattr(squared_hinge, "_CG_STEPS", 0)
    check(*make(120, 200, 2), 2)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_factorisation_is_updated_for_few_other_rows(monkeypatch, share):
    monkeypatch.setattr(squared_hinge, "_CG_STEPS", 0)
    monkeypatch.setattr(newton_systems, "_CHANGED", share)
    changed = []
    whole = newton_systems._Factor.changed
    monkeypatch.setattr(
        newton_systems._Factor, "changed", lambda self, *a: changed.append(len(a[3]) + len(a[4])) or whole(self, *a)
    )
    check(*make(150, 300, 2, seed=2), 2)
    assert bool(changed) == (share > 0)
    assert not changed or max(changed) > 3


def test_a_step_goes_on_beyond_its_end_while_that_descends(monkeypatch):
    """Most samples leave the margin: each step to the minimum on those inside leaves half of them."""
    monkeypatch.setattr(squared_hinge, "_CG_STEPS", 0)
    solved, solve = [], newton_systems.System.solve
    monkeypatch.setattr(newton_systems.System, "solve", lambda *a: solved.append(a[1].sum()) or solve(*a))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = (rng.normal(size=(600, 40)) + 0.7 * (2 * y - 1)[:, None]).astype(np.float32)
    check(X, y, 2, penalties=[1.0], folds=[(np.arange(400), np.arange(400, 600))])
    assert solved[0] == 400
    assert len(solved) <= 10
    assert solved[1] < 60


def test_few_samples_inside_are_solved_for_without_all_pairs(monkeypatch):
    monkeypatch.setattr(squared_hinge, "_MOST_PAIRS", 0)
    monkeypatch.setattr(squared_hinge, "_CG_STEPS", 0)
    summed, factors = [], []
    products, factor = newton_systems.System._products, squared_hinge.columns_factor
    monkeypatch.setattr(newton_systems.System, "_products", lambda *a: summed.append(a[1].sum()) or products(*a))
    monkeypatch.setattr(squared_hinge, "columns_factor", lambda *a: factors.append(1) or factor(*a))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    X = (rng.normal(size=(600, 120)) + 2.0 * rng.normal(size=(3, 120))[y]).astype(np.float32)
    check(X, y, 3, penalties=[1e-3], folds=[(np.arange(400), np.arange(400, 600))])
    # The sums over all of them serve three classes, and so does their factor; then samples are solved for.
    assert (summed, factors) == ([], [1])


def test_conjugate_gradients_that_get_nowhere_are_given_up(monkeypatch):
    X, y = make(240, 30, 2)
    asked, values = [], squared_hinge.Matrix.values
    monkeypatch.setattr(squared_hinge.Matrix, "values", lambda *a: asked.append(1) or values(*a))
    check(X, y, 2, penalties=[10.0])
    assert len(asked) < 30


def test_settings_in_any_order_and_twice():
    X, y = make(90, 20, 2)
    check(X, y, 2, penalties=[1.0, 1e-3, 1.0, 1e-6])


def test_classes_that_are_missing_in_training():
    X, y = make(90, 20, 3)
    rows = np.arange(90)
    folds = [(rows[y != 1], rows[y == 1]), (rows[y == 2], rows[y != 2]), (rows[:60], rows[60:])]
    check(X, y, 3, folds=[folds[0], folds[2]])
    found = {fold: values for fold, _, values, _ in svm.cross_scores(X, y, folds, [{"C": 1.0}], 3)}
    assert (found[1].argmax(1) == 2).all()
    np.testing.assert_array_equal(found[1][:, :2], -np.inf)


def test_a_column_without_scale_does_not_stop_it():
    X, y = make(200, 20, 2)
    X[:, 3] *= 1e5
    crossed = list(svm.cross_scores(X, y, thirds(200)[:1], [{"C": 1e-6}, {"C": 1e-2}], 2))
    assert sorted(setting for _, setting, *_ in crossed) == [0, 1]
    for _, setting, found, _ in crossed:
        train, test = thirds(200)[0]
        model = library(X[train], y[train], [1e-6, 1e-2][setting])
        agree = (model.decision_function(X[test].astype(float)) > 0) == (found[:, 1] > 0)
        assert agree.mean() > 0.98


@pytest.mark.parametrize("k", [2, 3])
def test_the_estimator_is_scikit_learns(k):
    X, y = make(120, 200, k)
    found, expected = svm.fit(X, y, {"C": 0.01}), library(X, y, 0.01)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-5 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(found.intercept_, expected.intercept_, atol=1e-5)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    again = load(dump({"estimator": found}))["estimator"]
    np.testing.assert_array_equal(again.decision_function(X), found.decision_function(X))


def test_the_same_bytes_twice():
    X, y = make(120, 200, 3)
    runs = [
        [values.tobytes() for *_, values, _ in svm.cross_scores(X, y, thirds(120), [{"C": 1e-4}, {"C": 1}], 3)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
