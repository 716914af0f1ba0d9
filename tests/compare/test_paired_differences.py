"""Paired differences and when they are to be relied on, against the distributions that they sample."""

import json

import numpy as np
import pytest
from scipy import stats

from histokit.compare.compare import compare
from histokit.compare.paired_differences import share_beyond_zero
from histokit.errors import UsageError
from histokit.features import FeatureStore
from tests.evaluate.made_up import DRAWS, save_groups, save_run


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_runs_on_one_split_are_paired(empty):
    rng = np.random.default_rng(0)
    truth = [(i % 4, str(i), "ab"[i % 2], f"P{i % 20}") for i in range(80)]
    good = [(f, i, t, (1.0 if t == "b" else -1.0), g) for f, i, t, g in truth]
    noisy = [(f, i, t, (1.0 if t == "b" else -1.0) * (1 if rng.random() < 0.7 else -1), g) for f, i, t, g in truth]
    ids = [save_run(empty, good, run_id="aaaa"), save_run(empty, noisy[::-1], run_id="bbbb")]
    ids.append(save_run(empty, good, run_id="cccc", digest="other"))
    found = compare(empty, ids, bootstrap=200)
    (pair,) = found.pairs
    wrong = 1 - np.mean([(row[3] > 0) == (row[2] == "b") for row in noisy])
    assert (pair["first_runs"], pair["second_runs"], pair["groups"]) == (["aaaa"], ["bbbb"], 20)
    assert pair["difference"] == pytest.approx(wrong)
    assert 0 < pair["interval"][0] < wrong < pair["interval"][1]
    assert [row["score"] for row in found.rows] == pytest.approx([1, 1 - wrong, 1])
    assert any("several splits" in note for note in found.notes)
    area = compare(empty, ids[:2], metric="roc_auc", bootstrap=50)
    assert area.pairs[0]["metric"] == "roc_auc_fold_mean"
    json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(UsageError, match="two runs"):
        compare(empty, ["aaaa", "aaaa"])


def test_pairs_share_their_draws(empty):
    # Both are right in half of the groups, the second in one more: with draws of their own, some resamples would turn
    # the difference over; with the same ones it is the share of that one group, and never negative.
    ids = [save_groups(empty, 20, wrong, run_id=name) for name, wrong in (("aaaa", 10), ("bbbb", 9))]
    (pair,) = compare(empty, ids, bootstrap=DRAWS).pairs
    assert pair["difference"] == pytest.approx(-1 / 20)
    assert pair["interval"] == pytest.approx([-stats.binom.ppf(0.975, 20, 1 / 20) / 20, 0])


def p_of(store, groups, wrong, bootstrap):
    ids = [save_groups(store, groups, 0, run_id="aaaa"), save_groups(store, groups, wrong, run_id="bbbb")]
    (pair,) = compare(store, ids, bootstrap=bootstrap).pairs
    return pair["p"]


def test_p_of_a_difference_in_every_resample_is_the_smallest_there_is(empty):
    # No resample of 99 lies at or below zero: 2 (1 + 0) / (1 + 99).
    assert p_of(empty, 12, 12, 99) == pytest.approx(0.02)
    assert p_of(empty, 12, 12, 1) == 1.0, "2 (1 + 0) / (1 + 1)"


def test_p_is_twice_the_share_of_resamples_without_a_difference(empty):
    # Of ten groups two are wrong in one run: a resample misses both with the probability 0.8 ** 10, all others differ.
    assert p_of(empty, 10, 2, DRAWS) == pytest.approx(2 * 0.8**10, rel=0.05)


def test_p_counts_the_resamples_alone_in_which_there_is_a_difference():
    # Of four known ones one is below zero: 2 (1 + 1) / (1 + 4).
    found = share_beyond_zero(np.array([[1.0, np.nan, 2.0, -1.0, np.nan, 3.0], [np.nan] * 6]))
    np.testing.assert_allclose(found, [0.8, np.nan])


def test_p_without_a_difference_is_one(empty):
    assert p_of(empty, 10, 0, 50) == 1.0


@pytest.mark.parametrize("size", [7, 10])
def test_what_rounding_leaves_is_no_difference(empty, size):
    # In each of 12 groups the recalls of three classes are 1, 2 and 3 of `size`, or 3, 2 and 1: their means are one.
    ids = []
    for name, rights in (("aaaa", (1, 2, 3)), ("bbbb", (3, 2, 1))):
        places = [(group, k, i) for group in range(12) for k in range(3) for i in range(size)]
        rows = [
            (0, f"{group}.{k}.{i}", "abc"[k], np.eye(3)[k if i < rights[k] else (k + 1) % 3].tolist(), f"P{group:02}")
            for group, k, i in places
        ]
        ids.append(save_run(empty, rows, classes=("a", "b", "c"), run_id=name))
    (pair,) = compare(empty, ids, metric="balanced_accuracy", bootstrap=50).pairs
    assert (pair["difference"], pair["interval"], pair["p"]) == (0, [0, 0], 1)


def test_p_does_not_depend_on_which_run_comes_first(empty):
    ids = [save_groups(empty, 10, wrong, run_id=name) for name, wrong in (("aaaa", 1), ("bbbb", 3))]
    (one,), (other,) = (compare(empty, order, bootstrap=500).pairs for order in (ids, ids[::-1]))
    assert (one["first_runs"], other["first_runs"]) == (["aaaa"], ["bbbb"])
    assert one["p"] == other["p"] < 1
    assert one["interval"] == pytest.approx([-bound for bound in other["interval"][::-1]])


def test_two_groups_have_an_interval(empty):
    (pair,) = compare(
        empty, [save_groups(empty, 2, w, run_id=n) for n, w in (("aaaa", 0), ("bbbb", 1))], bootstrap=500
    ).pairs
    # None, one or both of the two draws are of the wrong group, with the probabilities 1/4, 1/2 and 1/4.
    assert pair["interval"] == [0, 1]
    assert pair["p"] == pytest.approx(2 / 4, abs=0.1)


def test_runs_of_fewer_groups_have_draws_of_their_own(empty):
    sizes = [(20, 10), (12, 6), (2, 1)]
    ids = [save_groups(empty, n, w, run_id=f"run{n}", digest=f"of {n}") for n, w in sizes]
    rows = compare(empty, ids, bootstrap=DRAWS).rows
    assert [row["groups"] for row in rows] == [20, 12, 2]
    # Half of the groups are wrong: the share of right ones is that of fair coins.
    assert [row["interval"] for row in rows] == [
        pytest.approx(stats.binom.ppf([0.025, 0.975], n, 0.5) / n) for n, _ in sizes
    ]


def right_and_wrong(store, run_id, wrong, groups=None, repeats=1, turn=1):
    """A run of 20 samples of a hold-out, those with these numbers wrong; stored the other way round with -1."""
    names = groups or [None] * 20
    rows = [(0, str(i), "ab"[i % 2], (1.0 if i % 2 else -1.0) * (-1 if i in wrong else 1), names[i]) for i in range(20)]
    return save_run(store, [row for row in rows[::turn] for _ in range(repeats)], run_id=run_id)


@pytest.mark.parametrize(
    ("first", "second", "alone", "p"),
    [
        ({0, 1}, {1, 2, 3, 4, 5, 6, 7, 8}, (7, 1), 2 * (1 + 8) / 2**8),
        ({0, 1, 2, 3, 4}, set(), (0, 5), 2 / 2**5),
        ({0, 1, 2}, {2, 4, 6}, (2, 2), 1.0),
        ({3}, {3}, (0, 0), 1.0),
        (set(), set(range(20)), (20, 0), 2 / 2**20),
    ],
)
def test_mcnemar_counts_the_samples_that_only_one_got_right(empty, first, second, alone, p):
    ids = [right_and_wrong(empty, "aaaa", first), right_and_wrong(empty, "bbbb", second)]
    found = compare(empty, ids, bootstrap=20)
    (pair,) = found.pairs
    expected = {"first_alone": alone[0], "second_alone": alone[1], "p": pytest.approx(p)}
    assert pair["mcnemar"] == expected
    if sum(alone):
        assert pair["mcnemar"]["p"] == pytest.approx(stats.binomtest(alone[0], sum(alone)).pvalue)
    (turned,) = compare(empty, ids[::-1], bootstrap=20).pairs
    assert turned["mcnemar"] == {"first_alone": alone[1], "second_alone": alone[0], "p": pytest.approx(p)}
    sheet = found.sheets()[1]
    assert sheet.columns[-2:] == ["right alone", "McNemar's p"]
    assert sheet.rows[0][-2] == f"{alone[0]} : {alone[1]}"
    json.dumps(found.to_json(), allow_nan=False)


def test_mcnemar_compares_samples_by_their_ids_in_whatever_order_they_are(empty):
    ids = [right_and_wrong(empty, "aaaa", {0, 1}), right_and_wrong(empty, "bbbb", {1, 2, 3}, turn=-1)]
    (pair,) = compare(empty, ids, bootstrap=20).pairs
    # Only the second is right in sample 0, only the first in samples 2 and 3: two of three, as likely as not.
    assert pair["mcnemar"] == {"first_alone": 2, "second_alone": 1, "p": 1.0}


def test_samples_that_are_not_independent_have_no_mcnemar(empty):
    groups = [f"P{i // 2}" for i in range(20)]
    ids = [right_and_wrong(empty, name, wrong, groups) for name, wrong in (("aaaa", {1}), ("bbbb", {2, 3}))]
    found = compare(empty, ids, bootstrap=20)
    assert found.pairs[0]["mcnemar"] is None
    assert found.sheets()[1].columns[-1] == "p"
    # Groups of one sample each are as good as none.
    moved = right_and_wrong(empty, "gggg", {2, 3}, groups[1:] + groups[:1])
    assert compare(empty, [ids[0], moved], bootstrap=20).pairs == [], "the same samples in other groups"
    single = [right_and_wrong(empty, name, {1}, [f"P{i}" for i in range(20)]) for name in ("cccc", "dddd")]
    assert compare(empty, single, bootstrap=20).pairs[0]["mcnemar"] == {"first_alone": 0, "second_alone": 0, "p": 1.0}
    often = [right_and_wrong(empty, name, {1}, repeats=2) for name in ("eeee", "ffff")]
    assert compare(empty, often, bootstrap=20).pairs[0]["mcnemar"] is None
