import numpy as np
import pytest

from histokit.errors import UsageError
from histokit.protocol.subset_sizes import finer_sizes, knee, parse_step, subset_sizes


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
    # A fifth of 140 is 28, of 112 is 22 and so 20, of 92 is 18 and so 16, and so on.
    assert subset_sizes(140, "auto")[:8] == [140, 112, 92, 76, 64, 52, 44, 36]
    assert subset_sizes(128, "auto") == subset_sizes(128, 4)
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


def test_a_subset_that_is_worse_by_just_the_tolerance_is_as_good_whatever_its_mean_is_rounded_to():
    # The shares of right ones in five folds of forty samples, one less, and two less: .920, .915 and .910.
    right = np.array([[36, 39, 37, 33, 39], [36, 39, 37, 32, 39], [35, 39, 37, 32, 39]]) / 40
    assert right[0].mean() - 0.005 > right[1].mean(), "as numbers are rounded"
    assert knee(right.mean(1), 0.005) == (0, 1)
    # As many right ones in other folds are as good.
    equal = np.array([[0.7, 0.9, 0.8], [0.7, 0.8, 0.9], [0.1, 0.1, 0.1]]).mean(1)
    assert equal[0] > equal[1], "as numbers are rounded"
    assert knee(equal, 0.0) == (1, 1)


def test_finer_sizes_lie_around_the_knee_down_to_what_is_clearly_worse():
    sizes = [200, 160, 128, 104, 84, 64, 52, 44, 36, 1]
    # 64 is within 0.005 of the best; 52 is worse by less than twice that, 44 is clearly worse.
    means = np.array([0.90, 0.90, 0.90, 0.90, 0.90, 0.896, 0.892, 0.88, 0.87, 0.5])
    first = finer_sizes(sizes, means, 0.005, {200})
    # At first 32 sizes above 64, then all down to 44.
    assert first == [*range(192, 63, -4), 60, 56, 52, 48]
    fine = {200, *first}
    done = sorted({*sizes, *first}, reverse=True)
    means = np.array([0.9 if size >= 64 else 0.89 for size in done])
    assert finer_sizes(done, means, 0.005, fine) == []
    # Nothing else is to be done where 48 has become the smallest: 44 had been reached by a large step.
    means = np.array([0.9 if size >= 48 else 0.88 for size in done])
    assert finer_sizes(done, means, 0.005, fine) == [44]


def test_a_wide_knee_is_thinned_and_closed_in_a_few_rounds():
    sizes, best = subset_sizes(4152, "auto"), 1033

    def mean(size):
        return 0.9 - 0.005 * max(0, best - size) / best - 1e-7 * size

    means = np.array([mean(size) for size in sizes])
    least = sizes[knee(means, 0.0004)[1]]
    fine, rounds = {4152}, 0
    while finer := finer_sizes(sizes, means, 0.0004, fine):
        assert len(finer) <= 46
        assert finer == sorted(finer, reverse=True)
        fine.update(finer)
        sizes = sorted({*sizes, *finer}, reverse=True)
        means, rounds = np.array([mean(size) for size in sizes]), rounds + 1
    assert rounds <= 4
    every = subset_sizes(4152, 4)
    smallest = every[knee(np.array([mean(size) for size in every]), 0.0004)[1]]
    assert sizes[knee(means, 0.0004)[1]] == smallest < least
