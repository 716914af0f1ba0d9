import hashlib

import numpy as np
import pytest

from histokit.errors import LeakageError
from histokit.protocol import networks_seen
from histokit.protocol.leaks import (
    check_groups,
    conflict_notes,
    duplicate_notes,
    group_notes,
    samples_digest,
    vector_digests,
)
from histokit.protocol.networks_seen import check_networks
from histokit.protocol.outer_folds import find_outer_folds
from histokit.store.split_records import Split, split_rows

ROWS = [(0, 0, "a", "train"), (0, 0, "b", "val"), (0, 0, "c", "test"), (0, 1, "c", "train"), (0, 1, "a", "test")]


def make_split(rows=ROWS, **values):
    return Split("toy", "mine", split_rows(rows), **{"group": "patient"} | values)


def test_groups_on_both_sides_are_refused_by_name():
    with pytest.raises(
        LeakageError, match="In fold 0 of the split 'mine', patient P1 is in training and in test"
    ) as error:
        check_groups(make_split(), {"a": "P0", "b": "P1", "c": "P1"})
    assert error.value.details["patient"] == ["P1"]


def test_groups_apart_pass():
    assert check_groups(make_split(), {"a": 1, "b": 2, "c": 3}) == []
    assert check_groups(make_split(), None) == []


def test_a_declared_leak_passes_with_its_sentence():
    split = make_split(leaks="nuclei of one image on both sides", source="published")
    assert check_groups(split, {"a": 1, "b": 1, "c": 1}) == ["split mine: nuclei of one image on both sides"]


def test_a_sample_on_both_sides_is_always_refused():
    rows = [(0, 0, "a", "train"), (0, 0, "a", "test")]
    with pytest.raises(LeakageError, match="sample a is"):
        check_groups(make_split(rows, leaks="declared"), None)


def test_identical_images_are_counted():
    contents = {"a": b"1", "b": b"2", "c": b"1"}
    (note,) = duplicate_notes(make_split(), contents, {})
    assert note.startswith("2 test samples are byte-identical to training samples (such as c = a)")
    assert duplicate_notes(make_split(), {"a": b"1", "b": b"2", "c": b"3"}, {}) == []


def test_samples_that_a_filter_leaves_out_are_no_duplicates_of_one_another():
    rows = [*ROWS, (0, 0, "left out", "train"), (0, 0, "left out too", "test")]
    (note,) = duplicate_notes(make_split(rows), {"a": b"1", "b": b"2", "c": b"1"}, {})
    assert note.startswith("2 test samples are byte-identical to training samples (such as c = a)")


def test_the_same_pixels_in_other_bytes_are_counted():
    contents = {"a": b"1", "b": b"2", "c": b"3"}
    same, others = (vector_digests(list("abc"), np.array(X)) for X in ([[1.5, 2], [1.5, 3], [1.5, 2]], [[1], [2], [3]]))
    (note,) = duplicate_notes(make_split(), contents, same)
    assert note.startswith("2 test samples are equal in all features to training samples (such as c = a)")
    assert duplicate_notes(make_split(), contents, others) == []
    (note,) = duplicate_notes(make_split(), {**contents, "c": b"1"}, same)
    assert "byte-identical" in note, "told once"


def test_features_that_tell_the_groups_are_named():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(6), 5)
    X = np.stack([rng.normal(size=30), patient * 7 % 6, patient + rng.uniform(0, 0.5, 30), patient % 2], axis=1)
    groups, columns = np.array([f"P{p}" for p in patient], object), ["noise", "number", "near", "shared"]
    (note,) = group_notes(X, groups, columns, "patient")
    assert note.startswith("2 features tell every patient from every other (number, near)")
    assert group_notes(X[:, [0, 3]], groups, ["noise", "shared"], "patient") == []
    lone = np.arange(4, 30)  # one group of a single sample
    assert "(number, near)" in group_notes(X[lone], groups[lone], columns, "patient")[0]
    # In few or small groups ranges lie apart by chance; equal values do not.
    few = np.flatnonzero(patient < 3)
    (note,) = group_notes(X[few], groups[few], columns, "patient")
    assert note.startswith("1 feature tells every patient from every other (number)")


class Taken(np.ndarray):
    """Features that count how many of their numbers are taken."""

    numbers = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        Taken.numbers += found.size
        return np.asarray(found)


def test_columns_that_tell_no_groups_are_not_sought_among_all_samples():
    rng = np.random.default_rng(0)
    patient = rng.permutation(np.repeat(np.arange(6), 500))
    # The last sample of a group touches the next one in f22, and in f23 it only comes nearer.
    X = np.column_stack([rng.normal(size=(3_000, 20)), patient + rng.uniform(0, 0.5, 3_000), patient, patient, patient])
    X[np.flatnonzero(patient == 4)[-1], -2:] = 5, 4.5
    groups, columns = np.array([f"P{p}" for p in patient], object), [f"f{k}" for k in range(24)]
    Taken.numbers = 0
    (note,) = group_notes(X.view(Taken), groups, columns, "patient")
    assert note.startswith("3 features tell every patient from every other (f20, f21, f23)")
    assert Taken.numbers <= 5 * 3_000


def test_groups_of_one_sample_are_named():
    (note,) = group_notes(np.zeros((4, 1)), np.array(list("abcd"), object), ["x"], "slide")
    assert note.startswith("every slide has one sample: folds that keep them together are plain folds; is it the right")
    assert group_notes(np.zeros((4, 1)), None, ["x"], None) == []
    assert group_notes(np.zeros((4, 1)), np.array(list("aaaa"), object), ["x"], "slide") == []


def test_a_twin_in_validation_is_one_of_training():
    # Of fold 0, b is for validation: c is b once more. No sample of fold 1 has a twin.
    (note,) = duplicate_notes(make_split(), {"a": b"1", "b": b"2", "c": b"2"}, {})
    assert note.startswith("1 test sample is byte-identical to training samples (such as c = b)")


def test_the_chance_counts_every_order_of_the_groups():
    # Seven groups of two lie apart by chance in 7! 2!^7 / 14! = 7.4e-6 of all cases (1.5e-9 in one given order), eight
    # of two in 8! 2!^8 / 16! = 4.9e-7: only these are rarer than one in a million.
    for count, told in ((7, False), (8, True)):
        number = np.repeat(np.arange(count), 2)
        X = (number + np.tile([0, 0.5], count))[:, None]
        groups = np.array([f"P{n}" for n in number], object)
        assert bool(group_notes(X, groups, ["apart"], "patient")) == told


class Looked(dict):
    looks = 0

    def __contains__(self, key):
        self.looks += 1
        return super().__contains__(key)

    def __getitem__(self, key):
        self.looks += 1
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.looks += 1
        return super().get(key, default)


def test_a_sample_is_looked_up_once_however_many_folds_it_is_in():
    ids = [f"s{i}" for i in range(50)]
    rows = [(0, fold, i, "test" if n == fold else "train") for fold in range(50) for n, i in enumerate(ids)]
    groups, digests = Looked({i: i for i in ids}), Looked({i: b"x" if i in ("s3", "s7") else i.encode() for i in ids})
    split = make_split(rows)
    assert check_groups(split, groups) == []
    (note,) = duplicate_notes(split, digests, {})
    assert note.startswith("2 test samples are byte-identical to training samples (such as s3 = s7)")
    assert groups.looks <= 150
    assert digests.looks <= 150


def test_samples_of_which_no_two_are_the_same_are_not_looked_up():
    ids = [f"s{i}" for i in range(50)]
    split = make_split([(0, 0, i, "test" if n < 9 else "train") for n, i in enumerate(ids)])
    digests, labels = Looked({i: i.encode() if i != "s3" else None for i in ids}), Looked(dict.fromkeys(ids, "a"))
    assert duplicate_notes(split, digests, digests) == []
    assert conflict_notes(digests, labels) == []
    assert (digests.looks, labels.looks) == (0, 0)
    both = {**digests, "s40": b"s8"}
    assert "s8 = s40" in duplicate_notes(split, both, {})[0]
    assert "such as s8 (a) and s40 (b)" in conflict_notes(both, {**labels, "s40": "b"})[0]


def test_rows_and_images_of_samples_are_looked_up_once_however_many_folds_they_are_in(monkeypatch):
    ids = [f"s{i}" for i in range(50)]
    rows = [(0, fold, i, "test" if n == fold else "train") for fold in range(50) for n, i in enumerate(ids)]
    split, units, contents = make_split(rows), Looked({i: i for i in ids}), Looked({i: i.encode() for i in ids})
    found = find_outer_folds(split, units, ids, [])
    assert [outer.test.tolist() for outer in found] == [[n] for n in range(50)]
    assert found[7].train.tolist() == [n for n in range(50) if n != 7]
    monkeypatch.setattr(networks_seen, "seen_by", lambda *_: {b"s3", b"elsewhere"})
    with pytest.raises(LeakageError, match="has seen 1 of the 1 test samples of fold 3, such as s3"):
        check_networks(None, ["run:abcd"], split, contents)
    assert units.looks <= 150
    assert contents.looks <= 150


def test_a_leak_of_a_later_repeat_says_in_which():
    rows = [(0, 0, "a", "train"), (0, 0, "b", "test"), (1, 0, "a", "train"), (1, 0, "c", "test")]
    with pytest.raises(LeakageError, match="In fold 0 of repeat 1 of the split 'mine', patient P1 is in training"):
        check_groups(make_split(rows), {"a": "P1", "b": "P2", "c": "P1"})


def test_images_without_a_label_or_of_unknown_content_are_in_no_conflict():
    contents = {"a": b"1", "b": b"1", "c": b"1", "d": None, "e": None, "f": b"2", "g": b"2"}
    labels = {"a": "x", "b": "y", "c": None, "d": "x", "e": "y", "f": "x", "g": None}
    assert conflict_notes(contents, labels) == [
        "2 byte-identical samples have different values of label, such as a (x) and b (y): one of each is wrong"
    ]


def test_the_chance_is_that_of_any_column():
    # Eight groups of two lie apart in one column by chance in 4.9e-7 of all cases, in one of three in 1.5e-6.
    number = np.repeat(np.arange(8), 2)
    X = np.column_stack([number + np.tile([0, 0.5], 8), *np.random.default_rng(0).normal(size=(2, 16))])
    groups = np.array([f"P{n}" for n in number], object)
    assert group_notes(X[:, :2], groups, ["apart", "other"], "patient") != []
    assert group_notes(X, groups, ["apart", "other", "another"], "patient") == []


def test_of_many_columns_each_that_tells_the_groups_is_named_once():
    patient = np.repeat(np.arange(6), 5)
    X = np.random.default_rng(0).normal(size=(30, 1_100))
    X[:, [3, 511, 512, 1_099]] = patient[:, None]
    (note,) = group_notes(X, np.array([f"P{p}" for p in patient], object), [f"f{k}" for k in range(1_100)], "patient")
    assert note.startswith("4 features tell every patient from every other (f3, f511, f512, f1099)")


def test_the_digest_of_samples_is_that_of_each_once_in_order_of_their_ids():
    by_hand = hashlib.blake2b(digest_size=16)
    for pair in (b"('s10', None)", b"('s2', b'1')", b"('s3', b'2')"):
        by_hand.update(len(pair).to_bytes(8, "little") + pair)
    for ids in (["s3", "s2", "s10", "s2"], ["s10", "s3", "s2"]):
        assert samples_digest(ids, [{"s2": b"1", "s3": b"2"}.get(i) for i in ids]) == by_hand.hexdigest()
