import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from histokit.protocol.estimators import dump, load, scores
from histokit.protocol.solvers import common, neighbours

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
