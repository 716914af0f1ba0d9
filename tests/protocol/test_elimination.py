from contextlib import nullcontext
from dataclasses import replace
from itertools import starmap

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import RFE, RFECV

from histokit.errors import DataError
from histokit.protocol import elimination, elimination_paths
from histokit.protocol.elimination import eliminate
from histokit.protocol.folds import inner_folds
from histokit.protocol.subset_sizes import subset_sizes
from histokit.protocol.tuning import Problem

pytestmark = pytest.mark.usefixtures("few_trees")


def make(seed=0, metric="accuracy", d=12, strength=4):
    """Two informative columns, 3 and 7, of 12 or more."""
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, d)).astype(np.float32)
    X[:, 3] += strength * y
    X[:, 7] -= strength * y
    return Problem(X, y, np.arange(120) // 10, 2, None, metric, seed)


def make_weak(d=180):
    """Half of the columns tell a little, so that many are needed."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = rng.normal(size=(90, d)).astype(np.float32)
    X[:, ::2] += 0.35 * y[:, None]
    return Problem(X, y, np.arange(90) // 6, 2, None, "accuracy")


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_the_informative_columns_are_kept_longest(metric):
    problem = make(metric=metric)
    found = eliminate(problem, np.arange(120), step=0.4, tolerance=0.02, folds=3)
    assert {c for c, rank in enumerate(found.ranking) if rank <= 2} == {3, 7}
    assert sorted(found.ranking) == list(range(1, 13))
    assert set(found.columns) <= {3, 7}
    assert len(found.columns) == found.k_min
    assert [point[0] for point in found.curve] == subset_sizes(12, 0.4)


def test_k_min_is_the_smallest_within_the_tolerance():
    found = eliminate(make(), np.arange(120), step=2, tolerance=0.02, folds=3)
    mean = {size: value for size, value, _ in found.curve}
    best = max(mean.values())
    assert found.k_min == min(size for size, value in mean.items() if value >= best - 0.02)
    assert found.k_best == min(size for size, value in mean.items() if value == best)


@pytest.mark.parametrize("step", [4, 1, 0.3])
def test_the_curve_is_that_of_scikit_learn(step):
    problem, rows = make(seed=3, d=18, strength=1), np.arange(110)
    found = eliminate(problem, rows, step=step, folds=3)
    fold, _ = inner_folds(problem.y[rows], problem.groups[rows], 3, problem.seed)
    places = [(np.flatnonzero(fold != n), np.flatnonzero(fold == n)) for n in range(3)]
    trees = ExtraTreesClassifier(5, random_state=3)
    # A fraction is one of all columns there, of those that are left here.
    if step < 1:
        sizes = subset_sizes(18, step)
        curve = [_scores_by_hand(problem, rows, places, sizes)]
        assert np.array(found.scores) == pytest.approx(np.array(curve[0]))
        return
    library = RFECV(trees, step=step, cv=places, scoring="accuracy").fit(problem.X[rows], problem.y[rows])
    results = library.cv_results_
    assert [size for size, _, _ in found.curve] == results["n_features"][::-1].tolist()
    for position in range(3):
        assert [line[position] for line in found.scores] == results[f"split{position}_test_score"][::-1].tolist()
    assert [mean for _, mean, _ in found.curve] == pytest.approx(results["mean_test_score"][::-1])
    assert [std for _, _, std in found.curve] == pytest.approx(results["std_test_score"][::-1])
    assert found.k_best == library.n_features_
    kept = RFE(trees, n_features_to_select=found.k_min, step=step).fit(problem.X[rows], problem.y[rows])
    assert found.columns == np.flatnonzero(kept.support_).tolist()


def _scores_by_hand(problem, rows, places, sizes):
    table = np.empty((len(sizes), len(places)))
    X, y = problem.X[rows], problem.y[rows]
    for position, (train, tested) in enumerate(places):
        left = np.arange(X.shape[1])
        for number in range(len(sizes)):
            trees = ExtraTreesClassifier(5, random_state=problem.seed).fit(X[np.ix_(train, left)], y[train])
            table[number, position] = trees.score(X[np.ix_(tested, left)], y[tested])
            following = sizes[number + 1] if number + 1 < len(sizes) else 0
            left = np.sort(left[np.argsort(-trees.feature_importances_, kind="stable")[:following]])
    return table


def test_importances_are_those_of_the_trees_on_all_columns():
    problem, rows = make(d=22), np.arange(110)
    found = eliminate(problem, rows, folds=2)
    library = ExtraTreesClassifier(5, random_state=0).fit(problem.X[rows], problem.y[rows])
    assert found.importances == library.feature_importances_.tolist()


def test_coarse_to_fine_scores_what_the_papers_step_scores_near_the_knee():
    problem, rows = make_weak(), np.arange(90)
    dense = eliminate(problem, rows, step=4, tolerance=0.01, folds=3)
    found = eliminate(problem, rows, tolerance=0.01, folds=3)
    sizes = [size for size, _, _ in found.curve]
    every = subset_sizes(180, 4)
    assert set(subset_sizes(180, "auto")) < set(sizes) < set(every)
    assert every[every.index(found.k_min) + 1] in sizes, "the next smaller size was tried"
    mean, other = ({size: value for size, value, _ in e.curve} for e in (found, dense))
    assert mean[found.k_min] >= max(mean.values()) - 0.01
    assert sorted(found.ranking) == list(range(1, 181))
    assert sorted(c for c, rank in enumerate(found.ranking) if rank <= found.k_min) == found.columns
    assert mean[180] == other[180]


def test_paths_are_nested_where_the_steps_are_small():
    """The kept columns are those of a path through all sizes of the curve."""
    problem, rows = make_weak(), np.arange(90)
    found = eliminate(problem, rows, tolerance=0.01, folds=3)
    sizes = [size for size, _, _ in found.curve]
    done = elimination_paths.walk(problem, rows, rows[:0], np.arange(180), sizes, elimination._TREES)
    assert found.columns == sorted(done["order"][: found.k_min])
    assert [found.ranking[column] for column in done["order"]] == list(range(1, 181))


def test_same_seed_same_selection_and_other_rows_do_not_matter():
    problem = make()
    before = eliminate(problem, np.arange(80), step=4, folds=2)
    problem.X[80:], problem.y[80:] = np.nan, 5
    assert eliminate(problem, np.arange(80), step=4, folds=2) == before


def test_a_class_missing_from_a_fold_is_scored_as_never_found():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [40, 40, 10])
    # The third class is all in one group, so that the fold that tests it trains without it.
    groups = np.concatenate([np.arange(80) % 4, np.full(10, 4)])
    X = rng.normal(size=(90, 8)).astype(np.float32) + 3 * y[:, None]
    found = eliminate(Problem(X, y, groups, 3, None, "accuracy"), np.arange(90), step=4, folds=5)
    assert min(found.scores[0]) == 0.0
    assert max(found.scores[0]) == 1.0


def test_what_was_done_is_not_done_again(monkeypatch):
    problem, rows = make_weak(), np.arange(90)
    walked, stops = [], []

    def counted(*arguments):
        walked.append(arguments)
        if [len(walked)] == stops:
            raise KeyboardInterrupt
        return paths_walk(*arguments)

    paths_walk = elimination_paths.walk
    monkeypatch.setattr(elimination_paths, "walk", counted)
    # One after the other, so that it is known which were done.
    monkeypatch.setattr(elimination_paths, "parallel", lambda function, work, *_: nullcontext(starmap(function, work)))
    reports: list = []
    whole = eliminate(problem, rows, tolerance=0.01, folds=3, report=reports.append)
    count = len(walked)
    assert sum(reports) == pytest.approx(count)
    assert count >= 8, "two passes of four paths"
    memory: dict = {}
    # Two walks are done, then one more, then one of the second pass.
    for stop, done in ((3, 2), (2, 3), (3, 5)):
        walked.clear()
        stops[:] = [stop]
        with pytest.raises(KeyboardInterrupt):
            eliminate(problem, rows, tolerance=0.01, folds=3, memory=memory)
        assert len(memory) == done
    stops.clear()
    walked.clear()
    assert eliminate(problem, rows, tolerance=0.01, folds=3, memory=memory) == whole
    assert len(walked) == count - 5
    walked.clear()
    assert eliminate(problem, rows, tolerance=0.01, folds=3, memory=memory) == whole
    assert walked == []


def test_it_is_told_while_a_path_is_gone(monkeypatch):
    problem, rows = make(), np.arange(120)
    plain: list = []
    whole = eliminate(problem, rows, step=4, folds=2, report=plain.append)
    monkeypatch.setattr(elimination_paths, "_TOLD_EVERY", 0.0)
    reports: list = []
    assert eliminate(problem, rows, step=4, folds=2, report=reports.append) == whole
    # Three paths through 12, 8, 4 and 1 columns, of five trees at each, and the end of each path.
    assert len(reports) == 3 * (4 * 5 + 1)
    assert sum(reports) == pytest.approx(3)
    assert sum(plain) == pytest.approx(3)
    assert min(reports) >= 0


def test_paths_that_are_gone_at_the_same_time_end_when_all_is_stopped(monkeypatch):
    problem, rows = make(d=60), np.arange(120)
    grown = []
    monkeypatch.setattr(elimination_paths, "_TOLD_EVERY", 0.0)
    monkeypatch.setattr("histokit.classifiers.fitting.cores", lambda: 3)
    tell = elimination_paths._Shares.tell
    monkeypatch.setattr(elimination_paths._Shares, "tell", lambda *given: grown.append(given[1:]) or tell(*given))

    class Stopping(dict):
        def __setitem__(self, key, document):
            raise KeyboardInterrupt

    monkeypatch.setitem(elimination._TREES, "trees", 40)
    paths = [(rows, rows[:0]), (rows, rows), (rows, rows)]
    found = elimination_paths.Paths(problem, paths, elimination._TREES, Stopping(), lambda _: None)
    # The first path tests nothing and has two sizes, the others have thirty.
    with pytest.raises(KeyboardInterrupt):
        found.extend(list(range(60, 0, -2)), [60, 1])
    assert len([walk for walk, _ in grown if walk]) < 2 * 30 * 40


def test_a_single_sample_eliminates_nothing():
    with pytest.raises(DataError, match="a single sample"):
        eliminate(make(), np.array([5]), folds=3)


def test_trees_are_given_row_after_row_at_each_size(monkeypatch):
    given, rank = [], elimination_paths.rank_and_score
    monkeypatch.setattr(
        elimination_paths,
        "rank_and_score",
        lambda X, y, tested, *rest, **how: given.append((X, tested)) or rank(X, y, tested, *rest, **how),
    )
    eliminate(make(), np.arange(120), step=4, folds=2)
    # Twelve, eight, four columns and one, of two folds and of all.
    assert [X.shape[1] for X, _ in given].count(8) == 3
    assert all(array.flags.c_contiguous for pair in given for array in pair)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_tolerance_of_errors_is_in_deviations_of_the_target_that_is_trained_on(metric):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6)).astype(np.float32)
    y = X[:, 1] + X[:, 4] + rng.normal(0, 0.1, 120)
    rows = np.arange(90)
    found = []
    for times, outside in ((1, 1), (1, 1e6), (1024, 1), (1 / 1024, 1)):
        numbers = np.where(np.arange(120) < 90, y, y * outside) * times
        problem = Problem(X, numbers, np.arange(120) // 10, 1, None, metric, numbers=True)
        found.append(eliminate(problem, rows, step=1, tolerance=0.1, folds=3))
    # By one of the two columns alone, errors are larger by a third of a deviation.
    assert [(each.k_min, each.columns) for each in found] == [(2, [1, 4])] * 4
    assert found[1] == found[0], "other rows do not matter"
    assert [mean for _, mean, _ in found[2].curve] == pytest.approx([mean * 1024 for _, mean, _ in found[0].curve])


def test_what_is_to_be_known_of_the_inner_folds_is_told():
    # Samples of even numbers are of one class, those of odd ones of the other: groups of one class each.
    one_class = replace(make(metric="roc_auc"), groups=np.arange(120) % 2)
    found = eliminate(one_class, np.arange(120), step=4, folds=3)
    assert found.notes == [
        "2 folds instead of 3: there are only 2 groups",
        "an inner fold tests all samples of a class and has none to train on",
        "roc_auc is undefined in the inner folds, the accuracy decided",
    ]
