import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from histokit.classifiers.fitting import Fitting
from histokit.classifiers.grids import make_grid
from histokit.protocol.folds import inner_folds
from histokit.protocol.tuning import Problem, tune


def make(n=80, k=2, groups=8, metric="accuracy", seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    X[:, 0] += y
    return Problem(X, y, np.arange(n) % groups, k, None, metric)


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "balanced_accuracy"])
def test_the_search_is_scikit_learns(metric):
    problem = make(metric=metric)
    found = tune(Fitting("svm"), problem, np.arange(80), make_grid("svm", {"C": "1e-4,1e-2,1"}), folds=4)
    fold, _ = inner_folds(problem.y, problem.groups, 4, 0)
    search = GridSearchCV(
        LinearSVC(random_state=0), {"C": [1e-4, 1e-2, 1]}, cv=PredefinedSplit(fold), scoring=metric, refit=False
    ).fit(problem.X, problem.y)
    np.testing.assert_allclose([e["mean"] for e in found.table], search.cv_results_["mean_test_score"])
    assert found.score == pytest.approx(search.cv_results_["mean_test_score"].max())
    assert (found.folds, found.fits) == (4, 12)


def test_of_equal_settings_the_simplest_is_taken():
    problem = make()
    problem.X[:, 0] += 100 * problem.y
    found = tune(Fitting("et"), problem, np.arange(80), make_grid("et", {"trees": "5,10", "max_features": "n"}))
    assert [e["mean"] for e in found.table] == [1.0, 1.0]
    assert found.parameters["trees"] == 5


def test_rows_outside_are_never_looked_at():
    problem = make()
    rows = np.arange(40)
    before = tune(Fitting("svm"), problem, rows, make_grid("svm"))
    problem.X[40:], problem.y[40:] = np.nan, 99
    assert tune(Fitting("svm"), problem, rows, make_grid("svm")).table == before.table


def test_two_groups_make_two_folds_and_one_group_plain_folds():
    grid = make_grid("svm", {"C": "1e-3,1"})
    found = tune(Fitting("svm"), make(groups=2), np.arange(80), grid)
    assert found.folds == 2
    assert found.notes == ["2 folds instead of 5: there are only 2 groups"]
    found = tune(Fitting("svm"), make(groups=1), np.arange(80), grid)
    assert found.folds == 5
    assert found.notes == ["the inner folds cut the only group of the training samples"]


def test_undefined_metric_leaves_the_choice_to_accuracy():
    problem = make(n=40, groups=2, metric="roc_auc")
    problem = Problem(problem.X, np.arange(40) % 2, problem.groups, 2, None, "roc_auc")
    found = tune(Fitting("svm"), problem, np.arange(40), make_grid("svm", {"C": "1e-3,1"}))
    assert found.metric == "accuracy"
    assert found.notes[-1] == "roc_auc is undefined in the inner folds, the accuracy decided"


def test_predictions_that_are_all_alike_in_some_folds_are_not_scored_by_the_others_alone():
    # Without the largest group, the six nearest are all that there are.
    X = np.random.default_rng(29).normal(size=(16, 2))
    problem = Problem(X, X[:, 0] + X[:, 1] / 2, np.repeat([0, 1, 2], [10, 3, 3]), 1, None, "pearson", numbers=True)
    grid = make_grid("knn", {"k": "6,1", "metric": "euclidean"}, numbers=True)
    found = tune(Fitting("knn", numbers=True), problem, np.arange(16), grid, folds=3)
    alike, near = (entry["scores"] for entry in found.table)
    assert alike.count(0.0) == 1
    assert found.table[0]["mean"] == pytest.approx(sum(alike) / 3)
    assert np.mean([score for score in alike if score]) > np.mean(near) > found.table[0]["mean"]
    assert found.parameters["k"] == 1
    # One that is alike everywhere does not let another metric decide about all.
    found = tune(Fitting("knn", numbers=True), problem, np.arange(16), [{**grid[0], "k": 16}, grid[1]], folds=3)
    assert (found.metric, found.table[0]["scores"], found.parameters["k"]) == ("pearson", [0.0] * 3, 1)


def test_nothing_to_choose():
    found = tune(Fitting("svm"), make(), np.arange(80), make_grid("svm", {"C": 1}))
    assert (found.parameters, found.score, found.fits) == ({"C": 1}, None, 0)


def test_processes_give_the_same(monkeypatch):
    problem, grid = make(), make_grid("svm", {"C": "1e-3,1"})
    before = tune(Fitting("svm", solver="sklearn"), problem, np.arange(80), grid)
    monkeypatch.setattr("histokit.classifiers.fitting._WORTH_PROCESSES", 0)
    assert tune(Fitting("svm", solver="sklearn"), problem, np.arange(80), grid) == before


@pytest.mark.parametrize("scale", [False, True])
def test_both_solvers_find_the_same(scale):
    problem, grid = make(), make_grid("svm", {"C": "1e-6,1e-3,1e-2,1e-1"})
    ours, theirs = (tune(Fitting("svm", None, s, scale), problem, np.arange(80), grid) for s in ("auto", "sklearn"))
    assert ours.parameters == theirs.parameters
    assert ours.table == theirs.table


def test_scaling_takes_only_the_training_samples_of_each_fold():
    problem, grid = make(), make_grid("knn", {"k": "5", "metric": "euclidean"})
    problem.X[:, 1] *= 1e3
    problem.X[0] = 1e5
    found = tune(Fitting("knn", scale=True), problem, np.arange(80), grid, scored=True)
    fold, _ = inner_folds(problem.y, problem.groups, 5, 0)
    expected = []
    for number in range(5):
        train = fold != number
        model = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(problem.X[train], problem.y[train])
        expected.append(model.score(problem.X[~train], problem.y[~train]))
    assert found.table[0]["scores"] == pytest.approx(expected)
    assert found.table != tune(Fitting("knn"), problem, np.arange(80), grid, scored=True).table


def test_of_numbers_that_are_alike_in_each_fold_the_mean_absolute_error_decides():
    X = np.arange(20.0)[:, None] + np.zeros((20, 2))
    problem = Problem(X, np.repeat([0.0, 1.0, 5.0, 6.0], 5), np.repeat(np.arange(4), 5), 1, None, "r2", numbers=True)
    grid = make_grid("knn", {"k": "15,1", "metric": "euclidean"}, numbers=True)
    found = tune(Fitting("knn", numbers=True), problem, np.arange(20), grid, folds=4)
    assert (found.metric, found.notes[-1]) == (
        "mae",
        "r2 is undefined in the inner folds, the mean absolute error decided",
    )
    # The mean of the other three is 4, 11/3, 7/3 or 2, and the number next to it 1, 0 or 5, 6 or 1, and 5.
    assert found.table[0]["mean"] == pytest.approx((4 + 8 / 3 + 8 / 3 + 4) / 4)
    assert found.parameters["k"] == 1
