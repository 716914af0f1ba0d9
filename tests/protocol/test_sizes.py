import numpy as np
import pytest

from histokit.errors import UsageError
from histokit.protocol.sizes import finer_sizes, knee, parse_step, subset_sizes


def test_counts_and_fractions():
    assert subset_sizes(10, 4) == [10, 6, 2, 1]
    assert subset_sizes(10, "4") == [10, 6, 2, 1]
    assert subset_sizes(10, 0.5) == [10, 5, 3, 2, 1]
    assert subset_sizes(1, 0.2) == [1]
    assert subset_sizes(1, "auto") == [1]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, float("nan"), float("inf"), "4 columns", ""])
def test_what_is_no_step(wrong):
    with pytest.raises(UsageError, match="is no step"):
        parse_step(wrong)


def test_large_steps_are_sizes_of_the_papers_step():
    # A fifth of 60 is 12, of 48 is 9 and so 8, of 40 is 8, of 32 is 6 and so 4.
    assert subset_sizes(60, "auto") == [60, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4, 1]
    for columns in (1, 2, 7, 320, 1280, 4151):
        sizes = subset_sizes(columns, "auto")
        assert set(sizes) <= set(subset_sizes(columns, 4))
        assert sizes[-1] == 1
        assert len(sizes) <= 33


def test_the_knee_by_hand():
    means = np.array([0.90, 0.92, 0.92, 0.916, 0.914, 0.80])
    assert knee(means, 0.005) == (2, 3)
    assert knee(means, 0.0) == (2, 2)
    assert knee(means, 1.0) == (2, 5)


def test_finer_sizes_lie_below_the_knee_down_to_what_is_clearly_worse():
    sizes = [100, 80, 64, 52, 44, 36, 1]
    # 64 is within 0.005 of the best; 52 is worse by less than twice that, 44 is clearly worse.
    means = np.array([0.90, 0.90, 0.896, 0.892, 0.88, 0.87, 0.5])
    assert finer_sizes(sizes, means, 0.005) == [60, 56, 48]
    done = sorted([*sizes, 60, 56, 48], reverse=True)
    means = np.array([0.90, 0.90, 0.896, 0.89, 0.89, 0.892, 0.88, 0.88, 0.87, 0.5])
    assert finer_sizes(done, means, 0.005) == []
    # 56 has become the smallest: what lies below it was scored.
    means[4] = 0.896
    assert finer_sizes(done, means, 0.005) == []


def test_a_wide_knee_is_thinned_and_closed_in_a_few_rounds():
    sizes, best = subset_sizes(4152, "auto"), 1033

    def mean(size):
        return 0.9 - 0.005 * max(0, best - size) / best - 1e-7 * size

    means = np.array([mean(size) for size in sizes])
    least = sizes[knee(means, 0.0004)[1]]
    rounds = 0
    while finer := finer_sizes(sizes, means, 0.0004):
        assert len(finer) <= 12
        sizes = sorted({*sizes, *finer}, reverse=True)
        means, rounds = np.array([mean(size) for size in sizes]), rounds + 1
    assert rounds <= 4
    every = subset_sizes(4152, 4)
    smallest = every[knee(np.array([mean(size) for size in every]), 0.0004)[1]]
    assert sizes[knee(means, 0.0004)[1]] == smallest < least
