"""Folds and hold-outs against every assignment that there is."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from histokit.protocol.folds import assign_folds, inner_folds
from histokit.protocol.holdouts import draw_test
from histokit.protocol.splits import make_split
from tests.protocol.test_splits import make_record, make_samples


def drawn_groups(seed, groups, classes):
    """Return labels and groups of a few samples: each group holds one to three classes."""
    rng = np.random.default_rng(seed)
    pairs = [
        (label, group)
        for group in range(int(rng.integers(2, groups + 1)))
        for label in rng.choice(classes, rng.integers(1, 4), replace=False)
        for _ in range(rng.integers(1, 9))
    ]
    return np.array([f"c{label}" for label, _ in pairs]), np.array([group for _, group in pairs])


def lost(labels, groups, part):
    """Count the classes of several groups that are all in one part."""
    several = [c for c in set(labels) if len(set(groups[labels == c])) > 1]
    return sum(len(set(part[labels == c])) == 1 for c in several)


def fewest(labels, groups, folds):
    """Count the classes that are lost at least, over all assignments of groups to folds of which none is empty."""
    every = product(range(folds), repeat=groups.max() + 1)
    return min(lost(labels, groups, np.array(a)[groups]) for a in every if len(set(a)) == folds)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_no_fold_loses_a_class_that_other_folds_keep():
    mended = 0
    for seed in range(90):
        labels, groups = drawn_groups(seed, 6, 5)
        folds = 2 + seed % 2
        for assign in (assign_folds, inner_folds):
            fold, _ = assign(labels, groups, folds, seed % 3)
            assert all(len(set(fold[groups == g])) == 1 for g in groups)
            missing = lost(labels, groups, fold)
            if missing:
                assert missing == fewest(labels, groups, fold.max() + 1)
        first = first_draw(labels, groups, folds, seed % 3)
        if first is not None and not lost(labels, groups, first):
            assert (fold == first).all(), "folds that lose nothing stay as they were drawn"
        mended += first is not None and lost(labels, groups, first) > missing
    assert mended > 2, "the draws are to hold some that had to be mended"


def first_draw(labels, groups, folds, seed):
    """Return the folds of scikit-learn; none where one of them is empty."""
    splitter, fold = StratifiedGroupKFold(folds, shuffle=True, random_state=seed), np.zeros(len(labels), int)
    if len(set(groups)) < folds or max(Counter(labels).values()) < folds:
        return None
    for number, (_, test) in enumerate(splitter.split(labels, labels, groups)):
        fold[test] = number
    return fold if len(set(fold)) == folds else None


def test_only_classes_that_folds_lack_are_told():
    labels, groups = np.array(list("aabbabcc")), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    notes = assign_folds(labels, groups, 2, 0)[1]
    assert notes == ["class c is in a single group: no sample of it is in training when it is tested"]
    assert inner_folds(labels, groups, 2, 0)[1] == [
        "an inner fold tests all samples of a class and has none to train on"
    ]
    # Three classes, each in two of three groups: in two folds, one of them is always together.
    labels, groups = np.array(list("abbcca")), np.array([0, 0, 1, 1, 2, 2])
    (note,) = assign_folds(labels, groups, 2, 0)[1]
    assert "is in groups that were not parted: no sample of it is in training when it is tested" in note
    (note,) = assign_folds(labels, groups, 3, 0)[1]
    assert note == "the folds are not stratified: every class has fewer samples than there are folds"


def test_few_samples_without_groups_keep_their_classes():
    # Two samples of each class in five folds: drawn at random, both would be in one fold now and then.
    labels = np.array(list("aabbccdd"))
    for seed in range(60):
        fold, _ = assign_folds(labels, None, 5, seed)
        assert set(fold) == set(range(5))
        assert lost(labels, np.arange(8), fold) == 0


def sides(labels, groups, test, fraction):
    """Count what a hold-out does wrong, the worst first."""
    several = [c for c in set(labels) if len(set(groups[labels == c])) > 1]
    no_training, no_test = ([c for c in several if not side[labels == c].any()] for side in (~test, test))
    return len(no_training), bool(test.sum() > 2 * fraction * len(test)), len(no_test)


def test_a_holdout_has_each_class_on_both_sides_where_one_can():
    better = 0
    for seed in range(45):
        labels, groups = drawn_groups(seed, 6, 4)
        fraction = (0.2, 0.3, 0.5)[seed % 3]
        test, notes = draw_test(labels, groups, fraction, seed)
        every = (np.array(a, bool)[groups] for a in product((0, 1), repeat=groups.max() + 1) if 0 < sum(a) < len(a))
        found, best = sides(labels, groups, test, fraction), min(sides(labels, groups, t, fraction) for t in every)
        assert found == best
        better += best == (0, False, 0)
        absent = [c for c in set(labels) if len(set(test[labels == c])) == 1]
        assert bool(absent) == bool(notes)
        assert all(any(c in note for note in notes) for c in absent)
    assert better > 10


def test_a_holdout_without_groups_has_each_class_on_both_sides():
    labels = np.array(list("a" * 20 + "bb" + "c"))
    for fraction, b in ((0.1, 1), (0.5, 1), (0.9, 1)):
        test, notes = draw_test(labels, None, fraction, 0)
        assert (test[labels == "a"].sum(), test[labels == "b"].sum()) == (round(fraction * 20), b)
        assert any("class c is in a single sample" in note for note in notes)
    assert sorted(draw_test(np.array(["a", "b"]), None, 0.5, 0)[0]) == [False, True]
    pairs = np.repeat(np.arange(20), 2)
    assert draw_test(pairs, None, 0.1, 0)[0].sum() == 8, "not the half of all, for the sake of rare classes"


def test_limited_training_holds_all_classes_where_some_groups_do():
    # Forty slides of a; b, c, d and e are in one slide each. Of the 36 slides that one of ten folds may train on, a
    # random draw of four finds all of them once in 58,905.
    samples = make_samples(list("a" * 40 + "bcde"), [f"g{i}" for i in (*range(40), 3, 7, 9, 20)])
    label = dict(zip(samples["id"].to_pylist(), samples["label"].to_pylist(), strict=True))
    split = make_split(samples, make_record(), "k", folds=10, train_groups=4, seed=1)
    tested = [{label[i] for i in fold.test} for fold in split.folds()]
    trained = [{label[i] for i in fold.train} for fold in split.folds()]
    groups = dict(zip(samples["id"].to_pylist(), samples["slide"].to_pylist(), strict=True))
    assert [len({groups[i] for i in fold.train}) for fold in split.folds()] == [4] * 10
    assert trained == [set("abcde") - (t - {"a"}) for t in tested]
    assert not any("with samples of all classes" in note for note in split.params["notes"])
    few = make_split(samples, make_record(), "k", folds=2, train_groups=1, seed=1)
    assert any("no group was found with samples of all classes" in note for note in few.params["notes"])


def test_seeds_of_repeats_go_round_at_the_largest():
    last = make_split(make_samples(list("ab") * 6, [f"g{i // 2}" for i in range(12)]), make_record(), "s", folds=3,
                      repeats=2, seed=2**32 - 1)  # fmt: skip
    first = make_split(make_samples(list("ab") * 6, [f"g{i // 2}" for i in range(12)]), make_record(), "s", folds=3)
    assert [f.test for f in last.folds() if f.repeat == 1] == [f.test for f in first.folds()]


def test_a_holdout_that_loses_nothing_stays_as_the_seed_draws_it():
    i = np.arange(397)
    labels, groups = np.array(list("abc"))[(i * i // 7 + i // 3) % 3], i * i // 5 % 41
    drawn = [sorted(set(groups[draw_test(labels, groups, 0.3, seed)[0]])) for seed in range(2)]
    expected = [[1, 2, 4, 13, 20, 21, 23, 25, 26, 27, 29, 32, 33, 39], [7, 11, 20, 24, 26, 27, 33, 36, 39, 40]]
    assert drawn == expected, "as in the versions before"


def test_folds_that_lose_a_class_are_drawn_anew_before_any_group_is_moved():
    labels, groups = drawn_groups(26, 6, 5)
    assert lost(labels, groups, first_draw(labels, groups, 2, 2))
    seeds = [int(np.random.SeedSequence([2, attempt]).generate_state(1)[0]) for attempt in range(5)]
    draws = [first_draw(labels, groups, 2, seed) for seed in seeds]
    expected = next(fold for fold in draws if fold is not None and not lost(labels, groups, fold))
    assert (assign_folds(labels, groups, 2, 2)[0] == expected).all()
