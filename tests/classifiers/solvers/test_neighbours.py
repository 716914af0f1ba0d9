import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from histokit.classifiers.estimators import dump, fit, load, scores
from histokit.classifiers.fitting import Fitting, cross_scores, fit_classifier
from histokit.classifiers.solvers import common, neighbours
from histokit.classifiers.solvers.distances import NearestSamples
from histokit.classifiers.table import DISTANCES

SETTINGS = [{"k": k, "metric": m} for k in (25, 4, 1) for m in ("cosine", "euclidean")]


def build(setting):
    return KNeighborsClassifier(setting["k"], metric=setting["metric"])


@pytest.mark.parametrize(("n", "d"), [(90, 6), (45, 80)])
@pytest.mark.parametrize("classes", [2, 5])
def test_scores_are_scikit_learns(make, cross, expect, agree, n, d, classes):
    X, y, folds = make(n, d, classes)
    found = cross(neighbours.cross_scores, X, y, folds, SETTINGS, classes)
    agree(found, expect("knn", build, X, y, folds, SETTINGS, classes), 1e-15)


def test_small_blocks_give_the_same(make, cross, agree, monkeypatch):
    X, y, folds = make()
    before = cross(neighbours.cross_scores, X, y, folds, SETTINGS, 3)
    monkeypatch.setattr(common, "BLOCK", 130)
    agree(cross(neighbours.cross_scores, X, y, folds, SETTINGS, 3), before, 0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "correlation"])
def test_small_blocks_do_not_measure_the_training_samples_anew(make, metric, monkeypatch):
    X, y, folds = make()
    train, test = folds[0]
    squared, einsum = [], np.einsum
    monkeypatch.setattr(np, "einsum", lambda how, first, *more: squared.append(len(first)) or einsum(how, first, *more))
    # Five queries in each block.
    monkeypatch.setattr(common, "BLOCK", 5 * len(train))
    settings = [{"k": k, "metric": metric} for k in (5, 1)]
    list(neighbours.cross_scores(X, y, [folds[0]], settings, 3))
    assert sum(squared) <= len(train) + 2 * len(test)
    squared.clear()
    scores("knn", neighbours.fit(X[train], y[train], settings[0]), X[test], 3)
    assert sum(squared) <= len(train) + 2 * len(test)


def test_another_distance(make, cross, expect, agree):
    X, y, folds = make()
    settings = [{"k": 3, "metric": "manhattan"}, {"k": 3, "metric": "cosine"}]
    found = cross(neighbours.cross_scores, X, y, folds, settings, 3)
    agree(found, expect("knn", build, X, y, folds, settings, 3), 1e-15)


def test_never_more_neighbours_than_samples(make, cross, expect, agree):
    X, y, folds = make(n=18)
    settings = [{"k": 100, "metric": "cosine"}, {"k": 12, "metric": "euclidean"}]
    found = cross(neighbours.cross_scores, X, y, folds, settings, 3)
    fewer = [{**s, "k": 12} for s in settings]
    agree(found, expect("knn", build, X, y, folds, fewer, 3), 1e-15)
    assert neighbours.fit(X, y, settings[0]).n_neighbors == 18


def test_a_class_missing_from_a_fold_and_a_fold_of_one_class(make, cross):
    X, y, folds = make()
    folds[0] = (folds[0][0][y[folds[0][0]] != 1], folds[0][1])
    folds[1] = (folds[1][0][y[folds[1][0]] == 2], folds[1][1])
    found = cross(neighbours.cross_scores, X, y, folds, SETTINGS, 3)
    assert (found[0, 0][:, 1] == 0).all()
    np.testing.assert_allclose(found[0, 0].sum(1), 1)
    np.testing.assert_array_equal(found[1, 4], np.tile([0.0, 0.0, 1.0], (len(folds[1][1]), 1)))


def test_large_features_of_single_precision_keep_their_order(cross):
    # 1000 + x in float32; squares of 1e8 would hide distances of 1e-3 in single precision.
    steps = np.array([0.0, 0.5, -0.25, 0.125, -1.0], np.float32) / 8
    X = np.column_stack([10_000 + steps, np.full(5, 10_000, np.float32)]).astype(np.float32)
    y = np.array([0, 0, 1, 2, 3])
    fold = [(np.arange(1, 5), np.array([0]))]
    found = cross(neighbours.cross_scores, X, y, fold, [{"k": 1, "metric": "euclidean"}], 4)
    assert found[0, 0].argmax() == 2


def test_of_equally_near_samples_the_first_are_taken(cross):
    X = np.array([[0.0], [1.0], [-1.0], [1.0], [-1.0], [5.0]])
    y = np.array([0, 1, 2, 1, 2, 0])
    fold = [(np.arange(1, 6), np.array([0]))]
    settings = [{"k": k, "metric": "euclidean"} for k in (1, 2, 3)]
    found = cross(neighbours.cross_scores, X, y, fold, settings, 3)
    assert [found[0, s][0].tolist() for s in range(3)] == [[0, 1, 0], [0, 0.5, 0.5], [0, 2 / 3, 1 / 3]]


def test_many_ties(cross):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 4, (200, 2)).astype(float), rng.integers(0, 3, 200)
    train, test = np.arange(40, 200), np.arange(40)
    found = cross(neighbours.cross_scores, X, y, [(train, test)], [{"k": 7, "metric": "euclidean"}], 3)
    distances = ((X[test][:, None] - X[train]) ** 2).sum(2)
    first = np.lexsort((np.broadcast_to(np.arange(160), distances.shape), distances))[:, :7]
    np.testing.assert_allclose(found[0, 0], np.eye(3)[y[train][first]].mean(1))


def test_a_row_of_zeros_is_no_nearer_to_one_than_to_another(cross):
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.5]])
    y = np.array([0, 1, 2, 3])
    fold = [(np.array([1, 2, 3]), np.array([0])), (np.array([0, 2, 3]), np.array([1]))]
    found = cross(neighbours.cross_scores, X, y, fold, [{"k": 1, "metric": "cosine"}], 4)
    assert [found[f, 0].argmax() for f in range(2)] == [1, 0]


def test_fit_is_scikit_learns_and_can_be_stored(make):
    X, y, _ = make(dtype=np.float32)
    estimator = load(dump({"estimator": neighbours.fit(X, y, SETTINGS[2])}))["estimator"]
    np.testing.assert_array_equal(scores("knn", estimator, X, 3), build(SETTINGS[2]).fit(X, y).predict_proba(X))


def blank_tiles(seed=0):
    """Positive vectors of two classes; some of the first are blank, some of the second flat."""
    rng = np.random.default_rng(seed)
    y = np.arange(60) % 2
    X = rng.exponential(size=(60, 7)) + np.outer(y, np.linspace(0, 1.5, 7))
    X[0:36:4] = 0.0
    X[[5, 21, 47]] = 0.1
    return X.astype(np.float32), y, [(np.flatnonzero(np.arange(60) % 3 != k), np.arange(k, 60, 3)) for k in range(3)]


@pytest.mark.parametrize("below", [0, 0.6])
@pytest.mark.parametrize("metric", DISTANCES)
def test_every_distance_is_scikit_learns(cross, expect, metric, below):
    X, y, folds = blank_tiles()
    X[X.any(1)] -= np.float32(below)
    settings = [{"k": k, "metric": metric} for k in (5, 3, 1)]
    flat = np.ptp(X, axis=1) == 0
    if metric == "correlation":
        # scikit-learn has no number for what is flat.
        folds = [(train[~flat[train]], test[~flat[test]]) for train, test in folds]
    found = cross(neighbours.cross_scores, X, y, folds, settings, 2)
    expected = expect("knn", build, X.astype(float), y, folds, settings, 2)
    for key, one in expected.items():
        test = folds[key[0]][1]
        # To a blank tile all others are equally near by cosine: of these, scikit-learn takes any.
        clear = X[test].any(1) if metric == "cosine" else np.full(len(test), True)
        np.testing.assert_allclose(found[key][clear], one[clear], atol=1e-15, err_msg=str(key))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("solver", ["auto", "sklearn"])
@pytest.mark.parametrize("metric", DISTANCES)
def test_tuning_scores_as_the_model_that_is_kept(metric, solver, scale):
    X, y, folds = blank_tiles()
    fitting, grid = Fitting("knn", solver=solver, scale=scale), [{"k": k, "metric": metric} for k in (30, 3, 1)]
    seen = 0
    for fold, setting, found, _ in cross_scores(fitting, X, y, folds, grid, 2):
        train, test = folds[fold]
        kept = load(dump({"it": fit_classifier(fitting, grid[setting], X[train], y[train])}))["it"]
        np.testing.assert_array_equal(found, scores("knn", kept, X[test], 2))
        np.testing.assert_array_equal(kept.predict(X[test]), found.argmax(1))
        seen += 1
    assert seen == 9


@pytest.mark.parametrize(
    ("metric", "order"),
    [
        # Of (0, 0, 0): the other one of zeros is at distance 0 or, by angles, at 1 like all others: the first.
        ("cosine", [0, 1, 2, 3]),
        ("correlation", [0, 1, 2, 3]),
        ("braycurtis", [2, 0, 1, 3]),
        ("canberra", [2, 3, 0, 1]),
        ("euclidean", [2, 3, 1, 0]),
    ],
)
def test_the_neighbours_of_zeros(metric, order):
    samples = np.array([[2.0, 2, 2], [1, 2, 1], [0, 0, 0], [0, 0, 1]])
    row = np.zeros((1, 3))
    found = [NearestSamples(samples, metric).nearest(row, k)[0].tolist() for k in (1, 2, 3, 4)]
    assert found == [order[:k] for k in (1, 2, 3, 4)]


def test_a_flat_vector_correlates_with_nothing_though_its_mean_is_rounded():
    samples = np.array([[2.0, 2, 3], [3, 1, 1], [0.7, 0.7, 0.7], [0, 0, 1]])
    assert NearestSamples(samples, "correlation").nearest(np.full((1, 3), 0.1), 4).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_zeros_are_further_than_a_sharp_angle_and_nearer_than_a_blunt_one(metric):
    samples = np.array([[-1.0, 0, 1], [5.0, 5, 5] if metric == "correlation" else [0.0, 0, 0], [1, 0, -0.5]])
    assert NearestSamples(samples, metric).nearest(np.array([[3.0, 0, -3]]), 3).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("factor", [1e19, 1e30, 1e36, 1e-30, 1e-200, 1e200])
def test_large_and_small_features_keep_their_neighbours(metric, factor):
    X, y, folds = blank_tiles()
    train, test = folds[0]
    expected = scores("knn", neighbours.fit(X[train], y[train], {"k": 3, "metric": metric}), X[test], 2)
    larger = X.astype(float) * factor
    larger = larger.astype(np.float32) if 1e-40 < factor < 1e40 else larger
    for model in (
        neighbours.fit(larger[train], y[train], {"k": 3, "metric": metric}),
        fit("knn", {"k": 3, "metric": metric}, larger[train], y[train]),
    ):
        np.testing.assert_array_equal(scores("knn", model, larger[test], 2), expected)
    for _, _, found, _ in neighbours.cross_scores(larger, y, [folds[0]], [{"k": 3, "metric": metric}], 2):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_a_constant_column_says_nothing_however_large(metric):
    X, y, folds = blank_tiles()
    train, test = folds[0]
    with_one = np.column_stack([np.full(60, 1e30, np.float32), X])
    expected = scores("knn", neighbours.fit(X[train], y[train], {"k": 3, "metric": metric}), X[test], 2)
    model = neighbours.fit(with_one[train], y[train], {"k": 3, "metric": metric})
    np.testing.assert_array_equal(scores("knn", model, with_one[test], 2), expected)


def test_samples_far_from_the_origin_keep_their_order(cross):
    # Squares of 1e18 hide distances of 1 in double precision.
    X = np.array([[0.0, 0], [1e9 + 1, 3], [1e9 - 2, 0], [1e9, 1.5], [1e9, 0]])
    fold = [(np.arange(4), np.array([4]))]
    found = cross(neighbours.cross_scores, X, np.arange(5), fold, [{"k": 1, "metric": "euclidean"}], 5)
    assert found[0, 0].argmax() == 3
