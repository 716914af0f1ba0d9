import io
import subprocess
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io
from scipy.optimize import brentq
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.svm import LinearSVC

from histokit.classifiers import estimators
from histokit.classifiers.estimators import converged, dump, fit, load, scores
from histokit.classifiers.fitting import Fitting, cross_scores, fit_classifier, parallel
from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import CLASSIFIERS, REGRESSORS, check_class_weight
from histokit.errors import DataError, UsageError
from tests.classifiers.earlier_models import as_before
from tests.classifiers.solvers.exact import samples


def make(n=60, d=5, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[:, 0] += 3 * y
    return X, y


SMALL = {"svm": {"C": 0.1}, "et": {"trees": 10, "max_features": "sqrt"}, "fc": {"iterations": 50, "lr": 0.1}}
SMALL |= {"logreg": {"C": 1.0}, "knn": {"k": 3, "metric": "cosine"}, "ridge": {"alpha": 1.0}}
#: Of others, the most complex setting that is tried by default.
SMALL |= {name: make_grid(name)[-1] for name in CLASSIFIERS.keys() - SMALL.keys()}


def test_the_papers_grids_are_the_default():
    assert [s["C"] for s in make_grid("svm")] == pytest.approx([10.0**e for e in range(-10, 2)])
    assert [s["max_features"] for s in make_grid("et")] == [1, "sqrt", 0.5, 1.0]
    assert sorted({s["iterations"] for s in make_grid("fc")}) == [1000, 2500, 5000, 10000]
    assert len(make_grid("fc")) == 16


def test_settings_that_are_tried_by_default():
    tried = {(name, False): make_grid(name) for name in ("logreg", "ridge", "knn")}
    tried |= {(name, True): make_grid(name, numbers=True) for name in ("ridge", "svr", "knn", "et")}
    assert [s["C"] for s in tried["logreg", False]] == [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]
    for numbers in (False, True):
        alphas = [s["alpha"] for s in tried["ridge", numbers]]
        assert alphas == [1e5, 1e4, 1e3, 100, 10, 1, 0.1, 1e-2, 1e-3]
        near = [(s["k"], s["metric"]) for s in tried["knn", numbers]]
        assert near == [(k, metric) for k in (25, 15, 5, 1) for metric in ("cosine", "euclidean")]
    assert {s["epsilon"] for s in tried["svr", True]} == {0.1}
    assert [s["C"] for s in tried["svr", True]] == pytest.approx([10.0**e for e in range(-8, 2)])
    assert [(s["max_features"], s["trees"]) for s in tried["et", True]] == [(m, 100) for m in (1, "sqrt", 0.5, 1.0)]


def test_grid_overrides():
    assert make_grid("svm", {"C": "1e-2,1e-3"}) == [{"C": 1e-3}, {"C": 1e-2}]
    # Of a penalty, the large one is simple.
    assert make_grid("ridge", {"alpha": "1,100,10"}) == [{"alpha": 100.0}, {"alpha": 10.0}, {"alpha": 1.0}]
    chosen = make_grid("et", {"max_features": "sqrt,n/2,n,7,1.0", "trees": 20})
    assert chosen == [{"max_features": m, "trees": 20} for m in ("sqrt", 0.5, 1.0, 7)]
    # Blanks, nothing between two commas and the same again are no values.
    assert make_grid("svm", {"C": "1,0.1,,1,"}) == [{"C": 0.1}, {"C": 1.0}]
    assert [s["metric"] for s in make_grid("knn", {"metric": "cosine, euclidean", "k": 5})] == ["cosine", "euclidean"]
    assert make_grid("et-fl", {"w_min": "0", "w_max": "1"})[0]["w_max"] == 1


def test_wrong_grids():
    with pytest.raises(UsageError) as caught:
        make_grid("knn", {"metrics": "cosine"})
    assert "Did you mean 'metric'" in caught.value.next
    with pytest.raises(UsageError, match="C of svm cannot be 'much'"):
        make_grid("svm", {"C": "much"})
    with pytest.raises(UsageError) as caught:
        make_grid("smv")
    assert "Did you mean 'svm'" in caught.value.next


def test_class_weight():
    assert check_class_weight("svm", "none") is None
    assert check_class_weight("et", "balanced") == "balanced"
    with pytest.raises(UsageError, match="fc takes no class weights"):
        check_class_weight("fc", "balanced")
    with pytest.raises(UsageError):
        check_class_weight("svm", "heavy")


@pytest.mark.parametrize("name", [n for n, entry in CLASSIFIERS.items() if not entry.pixels])
@pytest.mark.parametrize("k", [2, 3])
def test_each_classifier_learns_and_survives_storage(name, k):
    X, y = make(k=k)
    estimator = fit(name, SMALL[name], X, y, seed=1)
    found = scores(name, estimator, X, k)
    assert found.shape == (60, k)
    assert (found.argmax(1) == y).mean() > (0.5 if name in ("knn", "fc") else 0.8)
    again = load(dump({"estimator": estimator, "columns": None, "classes": ["a", "b"]}))
    assert again["classes"] == ["a", "b"]
    np.testing.assert_array_equal(scores(name, again["estimator"], X, k), found)
    if CLASSIFIERS[name].kind == "decision" and k == 2:
        np.testing.assert_array_equal(found[:, 0], -found[:, 1])


@pytest.mark.parametrize("name", [n for n, entry in CLASSIFIERS.items() if not entry.pixels])
def test_each_classifier_takes_a_class_of_one_sample_and_more_columns_than_samples(name):
    X, y = make(n=7, d=9, k=2)
    rows = [0, 1, 2, 4, 6]
    found = scores(name, fit(name, SMALL[name], X[rows], y[rows]), X, 2)
    assert found.shape == (7, 2)
    assert np.isfinite(found).all()


def test_svm_is_scikit_learns():
    X, y = make()
    expected = LinearSVC(C=0.1, dual="auto", random_state=0).fit(X, y)
    found = scores("svm", fit("svm", {"C": 0.1}, X, y), X, 3)
    np.testing.assert_array_equal(found, expected.decision_function(X))


def test_et_has_100_trees_and_is_scikit_learns():
    X, y = make()
    estimator = fit("et", make_grid("et")[1], X, y, seed=3)
    expected = ExtraTreesClassifier(100, random_state=3).fit(X, y)
    np.testing.assert_array_equal(scores("et", estimator, X, 3), expected.predict_proba(X))


def test_a_class_without_training_samples_gets_the_lowest_score():
    X, y = make(k=3)
    seen = y != 1
    decision = scores("svm", fit("svm", SMALL["svm"], X[seen], y[seen]), X, 3)
    assert np.isneginf(decision[:, 1]).all()
    assert np.isfinite(decision[:, [0, 2]]).all()
    probability = scores("et", fit("et", SMALL["et"], X[seen], y[seen]), X, 3)
    np.testing.assert_array_equal(probability[:, 1], 0)


@pytest.mark.parametrize("name", [n for n, entry in CLASSIFIERS.items() if not entry.pixels])
def test_a_single_class_is_always_predicted(name):
    X, y = make()
    estimator = fit(name, SMALL[name], X[y == 2], y[y == 2])
    assert (scores(name, estimator, X, 3).argmax(1) == 2).all()


def test_limits_of_small_data():
    X, y = make(n=4, d=2, k=2)
    assert scores("knn", fit("knn", {"k": 25, "metric": "euclidean"}, X, y), X, 2).shape == (4, 2)
    assert fit("et", {"max_features": 9, "trees": 2}, X, y).max_features == 2


def test_convergence_is_told():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 10)) ** 3, np.arange(40) % 2
    estimator = fit("svm", {"C": 1.0}, X, y)
    assert converged("svm", estimator, X, y)
    estimator.n_iter_ = 1000
    assert not converged("svm", estimator, X, y)
    assert converged("svm", fit("svm", {"C": 1e-10}, X, y), X, y)
    assert converged("fc", fit("fc", SMALL["fc"], *make()), *make())


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("name", ["svm", "logreg", "ridge"])
@pytest.mark.parametrize("k", [2, 3])
def test_weights_are_judged_by_their_gradient(name, k, class_weight):
    X, y = make(k=k)
    y = np.where(np.arange(60) < 30, 0, y)
    estimator = fit_classifier(Fitting(name, class_weight=class_weight), SMALL[name], X, y)
    assert converged(name, estimator, X, y)
    # Of what scales first, by the scaled columns.
    far = 50 * X + 1000
    assert converged(name, fit_classifier(Fitting(name, class_weight, scale=True), SMALL[name], far, y), far, y)
    right = estimator.coef_.copy()
    for other in (0.5 * right, right + 0.5 * np.abs(right).max() * (np.arange(right.size) == 1).reshape(right.shape)):
        estimator.coef_ = other
        assert not converged(name, estimator, X, y)


@pytest.mark.parametrize("k", [2, 3])
def test_weights_of_logistic_regression_are_judged_by_what_there_is_to_gain(k):
    """Of the whole objective, a quarter of a thousandth is little, and four thousandths are too much."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % k
    X = rng.normal(size=(300, 4)) + 0.7 * (y[:, None] == np.arange(4))
    best = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(X, y)
    least = best.coef_.copy()

    def objective(weight):
        best.coef_ = least + weight * (np.arange(least.size) == 1).reshape(least.shape)
        return 0.1 * len(y) * log_loss(y, best.predict_proba(X)) + (best.coef_**2).sum() / 2

    for share, judged in ((0.25e-3, True), (4e-3, False)):
        objective(brentq(lambda weight, share=share: objective(weight) * (1 - share) - objective(0), 0, 10))
        assert converged("logreg", best, X, y) is judged


def test_what_liblinear_takes_for_converged_is_judged_too():
    X, y = samples(100, 30, "scales and offsets")
    theirs = fit("svm", {"C": 10.0}, X, y)
    assert theirs.n_iter_ < 1000
    assert not converged("svm", theirs, X, y)
    tuned = cross_scores(Fitting("svm", solver="sklearn"), X, y, [(np.arange(100), np.arange(5))], [{"C": 10.0}], 2)
    assert [reached for *_, reached in tuned] == [False]
    assert converged("svm", fit_classifier(Fitting("svm"), {"C": 10.0}, X, y), X, y)


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: d[: len(d) // 2], lambda d: d.replace(b"schema", b"scheme")]
)
def test_damaged_models_are_named(damage):
    X, y = samples(40, 3, "scales and offsets")
    data = dump({"estimator": fit_classifier(Fitting("svm"), {"C": 1.0}, X, y)})
    assert load(data)
    with pytest.raises(DataError, match="stored model is damaged") as caught:
        load(damage(data))
    assert "--force" in caught.value.next


def test_models_of_other_types_are_refused():
    with pytest.raises(DataError, match="stored model holds"):
        load(skops.io.dumps({"estimator": Fraction(1, 2)}))


def test_what_could_not_be_read_back_is_not_stored():
    with pytest.raises(TypeError, match=r"holds fractions\.Fraction, which the row .* in stored_types"):
        dump({"estimator": Fraction(1, 2)})


@pytest.mark.parametrize(("rows", "numbers"), [(CLASSIFIERS, False), (REGRESSORS, True)], ids=["classes", "numbers"])
def test_whether_models_can_be_stored_is_known_before_they_are_trained(monkeypatch, rows, numbers):
    monkeypatch.setattr(estimators, "_STORED", set())
    for name in rows:
        estimators.check_stored(name, numbers)
    assert len(estimators._STORED) == sum(not row.pixels for row in rows.values())
    monkeypatch.setitem(rows, "knn", replace(rows["knn"], stored_types=()))
    with pytest.raises(TypeError, match="is to name in stored_types"):
        estimators.check_stored("knn", numbers)


def test_models_of_earlier_versions_are_read():
    X, y = samples(40, 3, "scales and offsets")
    now = fit("knn", {"k": 3, "metric": "cosine"}, X, y)
    before = as_before(dump({"estimator": now}))
    assert b"histokit.protocol.solvers.nearest" in ZipFile(io.BytesIO(before)).read("schema.json")
    found = load(before)["estimator"]
    assert type(found) is type(now)
    assert scores("knn", found, X, 2) == pytest.approx(scores("knn", now, X, 2))
    assert b"histokit.classifiers.solvers.nearest" in ZipFile(io.BytesIO(dump({"it": found}))).read("schema.json")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("svm", "C", "-1"),
        ("svm", "C", [0.1, -1.0]),
        ("svm", "C", "inf"),
        ("logreg", "C", "nan"),
        ("ridge", "alpha", "0"),
        ("knn", "k", "0"),
        ("knn", "k", "2.5"),
        ("knn", "k", -3),
        ("knn", "metric", "cos"),
        ("et", "trees", "0"),
        ("et", "max_features", "1.5"),
        ("fc", "iterations", "0"),
        ("fc", "lr", "0"),
    ],
)
def test_values_that_cannot_be_are_refused(name, key, value):
    with pytest.raises(UsageError, match=f"The parameter {key} of {name} cannot be"):
        make_grid(name, {key: value})


def test_models_are_stored_without_importing_torch():
    code = "import sys; from histokit.classifiers.estimators import dump; dump({'a': 1}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("given", "near"),
    [("cityblock", "Did you mean 'manhattan'? "), ("manhatan", "Did you mean 'manhattan'? "), ("zzz", "")],
)
def test_names_that_a_parameter_may_have_are_listed(given, near):
    with pytest.raises(UsageError, match=f"The parameter metric of knn cannot be '{given}'") as caught:
        make_grid("knn", {"metric": f"cosine,{given}"})
    listed = "cosine,euclidean,manhattan,chebyshev,correlation,braycurtis,canberra"
    assert caught.value.next == f"{near}Use one or several of --grid metric={listed}"


def test_forests_that_grow_in_threads_neither_warn_nor_change_what_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each tree of scikit-learn resets the filters of the process: what one thread finds is chance."""
    monkeypatch.setattr("histokit.classifiers.fitting.cores", lambda: 2)

    def grow(number: int) -> int:
        warnings.resetwarnings()
        warnings.warn("`sklearn.utils.parallel.delayed` should be used with …", UserWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        return number

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with parallel(grow, [(1,), (2,)], True, 0) as results:
            assert list(results) == [1, 2]
        assert warnings.filters == before
    assert {str(each.message) for each in told} == {"another"}
