import numpy as np
import pytest

from histokit.errors import UsageError
from histokit.protocol.elimination import eliminate
from histokit.protocol.sizes import subset_sizes
from histokit.protocol.tuning import Problem


def make(seed=0, metric="accuracy"):
    """Two informative columns, 3 and 7, of 12."""
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 12)).astype(np.float32)
    X[:, 3] += 4 * y
    X[:, 7] -= 4 * y
    return Problem(X, y, np.arange(120) // 10, 2, None, metric)


def test_sizes():
    assert subset_sizes(10, 4) == [10, 6, 2, 1]
    assert subset_sizes(10, 0.5) == [10, 5, 3, 2, 1]
    assert subset_sizes(1, 0.2) == [1]
    for wrong in (0, -1, 1.5):
        with pytest.raises(UsageError):
            subset_sizes(10, wrong)


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


def test_same_seed_same_selection_and_other_rows_do_not_matter():
    problem = make()
    before = eliminate(problem, np.arange(80), step=4, folds=2)
    problem.X[80:], problem.y[80:] = np.nan, 5
    assert eliminate(problem, np.arange(80), step=4, folds=2) == before
