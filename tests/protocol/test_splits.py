import gc
import hashlib
import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from histokit.errors import DataError, HistokitError, LeakageError, StoreError, UsageError
from histokit.features import open_store
from histokit.protocol import split_drawing
from histokit.protocol.splits import make_split, resolve_split
from histokit.store.records import DatasetRecord
from histokit.store.repeat_commands import split_command
from histokit.store.split_records import Split, split_rows
from tests.evaluate.made_up import save_dataset
from tests.toy import make_store


def make_record(group="slide", **changes):
    values = {"name": "toy", "plugin": "folder", "plugin_version": "1", "distribution": "histokit", "root": "/x"}
    values |= {"options": {}, "classes": ("a", "b"), "positive": "b", "metric": "accuracy", "channels": ("R",)}
    values |= {"columns": {"slide": "str"}, "group": group, "levels": (), "state": None, "count": 0, "created": ""}
    return DatasetRecord(**values | changes)


def make_samples(labels, groups, **columns):
    n = len(labels)
    table = {"id": [f"s{i}" for i in range(n)], "image": [[f"{i}.png"] for i in range(n)]}
    return pa.table(table | {"label": pa.array(labels, pa.string()), "slide": pa.array(groups, pa.string())} | columns)


SAMPLES = make_samples(list("aabbaabb") * 3, [f"g{i // 2}" for i in range(24)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(0, 7)), min_size=4, max_size=40),
    st.integers(2, 12),
    st.integers(1, 2),
    st.integers(0, 3),
)
def test_no_group_is_cut_and_every_labelled_sample_is_tested_once_per_repeat(pairs, folds, repeats, seed):
    samples = make_samples([label for label, _ in pairs], [f"g{g}" for _, g in pairs])
    groups = {f"s{i}": g for i, (label, g) in enumerate(pairs) if label is not None}
    if len(set(groups.values())) < 2:
        with pytest.raises(DataError):
            make_split(samples, make_record(), "cv", folds=folds)
        return
    split = make_split(samples, make_record(), "cv", folds=folds, repeats=repeats, seed=seed)
    tested = Counter()
    for fold in split.folds():
        assert fold.train
        assert fold.test
        assert {*fold.train, *fold.test} == set(groups)
        assert {groups[i] for i in fold.train}.isdisjoint(groups[i] for i in fold.test)
        tested.update((fold.repeat, i) for i in fold.test)
    assert set(tested.values()) == {1}
    assert len(tested) == repeats * len(groups)
    assert len(split.folds()) == repeats * min(folds, len(set(groups.values())))


def test_folds_are_stratified_where_groups_allow():
    # 12 slides, six purely "a" and six purely "b": each of 3 folds gets two of each.
    samples = make_samples(["a", "b"] * 24, [f"g{i % 12}" for i in range(48)])
    label = dict(zip(samples["id"].to_pylist(), samples["label"].to_pylist(), strict=True))
    for fold in make_split(samples, make_record(), "s", folds=3).folds():
        assert Counter(label[i] for i in fold.test) == {"a": 8, "b": 8}


def test_without_group_samples_are_stratified_on_their_own():
    samples = make_samples(["a"] * 8 + ["b"] * 4, ["g"] * 12)
    folds = make_split(samples, make_record(group=None), "s", folds=4).folds()
    assert [len(f.test) for f in folds] == [3, 3, 3, 3]
    assert all(sum(int(i[1:]) >= 8 for i in f.test) == 1 for f in folds)


def test_seed_decides():
    digests = [make_split(SAMPLES, make_record(), "s", folds=3, seed=seed).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_each_repeat_of_a_holdout_draws_anew_as_the_next_seed_does():
    drawn = make_split(SAMPLES, make_record(), "h", test=0.25, repeats=4, seed=7).folds()
    alone = [make_split(SAMPLES, make_record(), "h", test=0.25, seed=seed).folds()[0] for seed in range(7, 11)]
    assert [set(fold.test) for fold in drawn] == [set(fold.test) for fold in alone]
    assert len({frozenset(fold.test) for fold in drawn}) == 4


def test_no_fold_is_empty_where_stratifying_would_leave_one_so():
    # scikit-learn's StratifiedGroupKFold puts nothing into one of four folds of these four slides.
    samples = make_samples(list("aaabbbaaa"), [f"g{slide}" for slide in (3, 2, 0, 2, 1, 1, 3, 2, 0)])
    split = make_split(samples, make_record(), "s", folds=4)
    assert sorted(map(sorted, (fold.test for fold in split.folds()))) == [
        ["s0", "s6"], ["s1", "s3", "s7"], ["s2", "s8"], ["s4", "s5"]
    ]  # fmt: skip
    assert "the folds are not stratified: one of them would be empty" in split.params["notes"]


def test_folds_are_capped_and_say_so():
    split = make_split(SAMPLES, make_record(), "s", folds=20, repeats=2)
    assert len(split.folds()) == 2 * 12
    assert split.params["notes"] == ["12 folds instead of 20: there are only 12 groups"]


def test_unlabelled_samples_are_left_out_with_a_note():
    samples = make_samples(["a", "b", None, "a"], ["1", "2", "3", "4"])
    split = make_split(samples, make_record(), "s", folds=3)
    assert "s2" not in split.rows["id"].to_pylist()
    assert "1 sample without a label is left out" in split.params["notes"]
    with pytest.raises(DataError, match="None of the 1 samples"):
        make_split(make_samples([None], ["g"]), make_record(), "s", folds=2)


def test_holdout_is_near_the_fraction_of_each_class():
    samples = make_samples(["a"] * 80 + ["b"] * 20, [f"g{i // 5}" for i in range(100)])
    (fold,) = make_split(samples, make_record(), "h", test=0.25).folds()
    assert sum(int(i[1:]) < 80 for i in fold.test) == 20
    assert sum(int(i[1:]) >= 80 for i in fold.test) == 5


def test_leave_one_group_out_has_a_fold_for_each_group():
    folds = make_split(SAMPLES, make_record(), "l", leave_one_group_out=True).folds()
    assert len(folds) == 12
    assert all(len(f.test) == 2 for f in folds)


def test_more_groups_than_folds_can_be_numbered(monkeypatch):
    assert split_drawing.MOST_FOLDS == 2**15 - 1
    for most, right in ((12, True), (11, False)):
        monkeypatch.setattr(split_drawing, "MOST_FOLDS", most)
        if right:
            make_split(SAMPLES, make_record(), "l", leave_one_group_out=True)
            continue
        with pytest.raises(DataError, match="There are 12 groups; a split has at most 11 folds") as caught:
            make_split(SAMPLES, make_record(), "l", leave_one_group_out=True)
        assert "--folds 10" in caught.value.next


@pytest.mark.parametrize("how", [{"folds": 5}, {"test": 0.5}, {"leave_one_group_out": True}])
def test_of_a_single_group_the_advice_is_one_that_leads_on(how):
    """Folds over a finer column than the group of the data are refused: they cut it."""
    samples = make_samples(list("abababab"), ["g"] * 8, site=pa.array(list("xxxxyyyy")))
    record = make_record(columns={"slide": "str", "site": "str"})
    with pytest.raises(DataError, match="There is only one") as caught:
        make_split(samples, record, "l", **how)
    assert "when the data are ingested (-o group=COLUMN)" in caught.value.next
    with pytest.raises(LeakageError):
        make_split(samples, record, "l", **how, group="site")


def test_train_groups_limits_training_and_covers_the_classes():
    split = make_split(SAMPLES, make_record(), "k", folds=4, train_groups=2)
    group, label = (
        dict(zip(SAMPLES["id"].to_pylist(), SAMPLES[c].to_pylist(), strict=True)) for c in ("slide", "label")
    )
    for fold in split.folds():
        assert len({group[i] for i in fold.train}) == 2
        assert {label[i] for i in fold.train} == {"a", "b"}
    assert sum(len(f.test) for f in split.folds()) == 24


def test_groups_of_validation_count_as_training(tmp_path):
    file = tmp_path / "f.csv"
    roles = ["train"] * 12 + ["val"] * 8 + ["test"] * 4
    file.write_text("\n".join(["id,role", *(f"s{i},{role}" for i, role in enumerate(roles))]))
    (fold,) = make_split(SAMPLES, make_record(), "k", from_file=file, train_groups=3).folds()
    assert len({int(i[1:]) // 2 for i in (*fold.train, *fold.val)}) == 3
    assert len(fold.test) == 4


def test_a_file_is_checked_by_the_groups_that_are_named(tmp_path):
    patients = SAMPLES.append_column("patient", pa.array([f"p{i % 2}" for i in range(24)]))
    file = tmp_path / "f.csv"
    file.write_text("\n".join(["id,role", *(f"s{i},{'train' if i < 12 else 'test'}" for i in range(24))]))
    make_split(patients, make_record(), "f", from_file=file)
    for record in (make_record(), make_record(group=None)):
        with pytest.raises(LeakageError, match="patient p0, p1 are in training and in test"):
            make_split(patients, record, "f", from_file=file, group="patient")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"folds": 3, "test": 0.2},
        {"folds": 1},
        {"test": 1.5},
        {"folds": 2, "group": "slid"},
        {"folds": 3, "repeats": 0},
        {"leave_one_group_out": True, "repeats": 2},
        {"folds": 3, "train_groups": 0},
    ],
)
def test_wrong_use(how):
    with pytest.raises(UsageError):
        make_split(SAMPLES, make_record(), "s", **how)


def test_unknown_group_column_is_guessed():
    with pytest.raises(UsageError) as caught:
        make_split(SAMPLES, make_record(), "s", folds=2, group="slid")
    assert "Did you mean 'slide'" in caught.value.next


def test_finer_group_than_the_datasets_is_a_leak():
    samples = make_samples(["a", "b"] * 6, ["one", "two"] * 6, patch=[str(i) for i in range(12)])
    with pytest.raises(LeakageError, match="slide one, two are in training and in test"):
        make_split(samples, make_record(), "s", folds=3, group="patch")


def test_coarser_group_than_the_datasets_is_no_leak():
    samples = make_samples(["a", "b"] * 6, [f"g{i}" for i in range(12)], patient=[str(i // 4) for i in range(12)])
    assert make_split(samples, make_record(), "s", folds=3, group="patient").group == "patient"


def test_missing_group_value_is_an_error():
    with pytest.raises(DataError, match="1 sample has no value of the group 'slide'"):
        make_split(make_samples(["a", "b"], ["g", None]), make_record(), "s", folds=2)


def write(path, text):
    path.write_text(text)
    return path


def test_from_file_by_id(tmp_path):
    path = write(tmp_path / "s.csv", "id,role,fold\ns0,train,0\ns2,test,0\ns4,val,0\ns2,train,1\ns0,test,1\n")
    split = make_split(SAMPLES, make_record(), "f", from_file=path)
    assert split.source == "file"
    first, second = split.folds()
    assert (first.train, first.val, first.test) == (["s0"], ["s4"], ["s2"])
    assert (second.train, second.test) == (["s2"], ["s0"])


def test_a_file_of_unlabelled_samples_alone_has_neither_side(tmp_path):
    path = write(tmp_path / "s.csv", "id,role\ns0,train\ns1,test\n")
    samples = make_samples([None, None, "a", "b"], list("ghij"))
    with pytest.raises(DataError, match="no train and no test samples with a label"):
        make_split(samples, make_record(), "f", from_file=path)


def test_from_file_by_image(tmp_path):
    path = write(tmp_path / "s.csv", "\ufeffimage, role\n0.png,Training\n2.png,TEST\n")
    (fold,) = make_split(SAMPLES, make_record(), "f", from_file=path).folds()
    assert (fold.train, fold.test) == (["s0"], ["s2"])


@pytest.mark.parametrize(
    "text",
    [
        "id;role;fold\n s0 ;train;0.0\ns2;test;0.0\ns0;test;1.0\ns2;train;1.0\n",
        "id\tROLE\tFold\r\ns0\ttrain\t0\r\ns2\ttest\t0\r\ns0\ttest\t1\r\ns2\ttrain\t1\r\n",
        ",id,role,fold\n0,s0,train,0\n1,s2,test,0\n2,s0,test,1\n3,s2,train,1\n",
    ],
)
def test_files_as_other_programs_write_them(tmp_path, text):
    first, second = make_split(SAMPLES, make_record(), "f", from_file=write(tmp_path / "s.csv", text)).folds()
    assert (first.train, first.test, second.train, second.test) == (["s0"], ["s2"], ["s2"], ["s0"])


@pytest.mark.parametrize(
    "text",
    [
        "train,valid,test\ns0,s2,s4\ns1,,s5\n",
        "name,Training,Validation,Testing\nx,0.png,2.png,4.png\ny,1.png,,5.png\n",
    ],
)
def test_a_file_with_a_column_for_each_part(tmp_path, text):
    (fold,) = make_split(SAMPLES, make_record(), "f", from_file=write(tmp_path / "s.csv", text)).folds()
    assert (fold.train, fold.val, fold.test) == (["s0", "s1"], ["s2"], ["s4", "s5"])


@pytest.mark.parametrize(
    "text",
    [
        "Slide,split\n007,training\n8,valid\n9,test\n007,training\n",
        "slide,role,fold\n007,train,0\n8,val,0\n9,test,0\n",
        "train,val,test\n007,8,9\n",
        "image,split\n/data/0.png,train\n1.png,train\n/data/2.png,val\n3.png,val\n/data/4.png,test\n5.png,test\n",
        "train,val,test\n/data/0.png,/data/2.png,/data/4.png\n/data/1.png,/data/3.png,/data/5.png\n",
    ],
)
def test_files_that_list_groups_or_whole_paths(tmp_path, text):
    samples = make_samples(["a", "b"] * 3, ["007", "007", "8", "8", "9", "9"])
    record = make_record(root="/data")
    (fold,) = make_split(samples, record, "f", from_file=write(tmp_path / "s.csv", text)).folds()
    assert (fold.train, fold.val, fold.test) == (["s0", "s1"], ["s2", "s3"], ["s4", "s5"])
    message = "names 1 unknown slide: '7'.*" if text[0] in "Ss" else "unknown"
    path = write(tmp_path / "s.csv", text.replace("007", "7").replace("/d", "/e"))
    with pytest.raises(DataError, match=message):
        make_split(samples, record, "f", from_file=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train,test\ns0,s2\nx9,\n", "names 1 unknown id: 'x9'"),
        ("train,test\n0.png,2.png\nx9.png,\n", "names 1 unknown image: 'x9.png'"),
        ("train,test\ns0,s0\n", "names the sample 's0' twice"),
    ],
)
def test_mistakes_in_such_a_file(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        make_split(SAMPLES, make_record(), "f", from_file=write(tmp_path / "s.csv", text))


def test_ids_that_differ_in_blanks_or_accents_are_found(tmp_path):
    samples = make_samples(["a", "b"] * 2, ["g", "h"] * 2)
    samples = samples.set_column(0, "id", pa.array(["x ", "y", "y ", "o\u0308"]))
    path = write(tmp_path / "s.csv", "id,role\nx,train\ny,test\n\u00f6,val\n")
    (fold,) = make_split(samples, make_record(None), "f", from_file=path).folds()
    assert (fold.train, fold.test, fold.val) == (["x "], ["y"], ["o\u0308"])


def test_a_parquet_file(tmp_path):
    columns = {"id": ["s0", "s2"], "role": pa.array(["train", "test"]).dictionary_encode(), "fold": [None, None]}
    parquet.write_table(pa.table(columns), tmp_path / "s.parquet")
    (fold,) = make_split(SAMPLES, make_record(), "f", from_file=tmp_path / "s.parquet").folds()
    assert (fold.train, fold.test) == (["s0"], ["s2"])


@pytest.mark.parametrize(
    ("text", "message", "next_step"),
    [
        ("id,role\ns0,train\ns200,test\n", "1 unknown id: 's200'", "Did you mean 's20'"),
        ("id,role\ns0,train\ns2,tset\n", "1 unknown role: 'tset'", "Did you mean 'test'"),
        ("name,role\ns0,train\n", "has the columns name, role", "id, image or slide, and role"),
        ("id,role\ns0,train\ns0,test\n", "'s0' twice", "one role"),
        ("id,role\ns0,train\n", "no test samples", "both train and test"),
        (
            "id,role,fold\ns0,train,0\ns2,test,0\ns2,train,1\n",
            "Fold 1 of repeat 0 in .* has no test samples",
            "each fold both",
        ),
        ("id,role,fold\ns0,train,x\n", "has the fold 'x' in row 1", "whole numbers"),
        ("id,role,fold\ns0,train,1\ns2,test,NA\n", "has no fold in row 2", "whole numbers"),
        ("id,role,fold\ns0,train,0\ns2,test,32768\n", "has the fold 32,768 in row 2", "0 to 32,767"),
        ("id,role,repeat\ns0,train,-1\n", "has the repeat '-1' in row 1", "whole numbers"),
        ("id,role\ns0,train\nNA,test\n", "1 unknown id: ''", "One of"),
        ("id,Role,role\ns0,train,test\n", "several columns named 'role'", "Keep one"),
        ("id,role\ns0,train\ns2,test,x\n", "row 2 has 3 cells, and the header 2", "as many cells"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, message, next_step):
    with pytest.raises(DataError, match=message) as caught:
        make_split(SAMPLES, make_record(), "f", from_file=write(tmp_path / "s.csv", text))
    assert re.search(next_step, caught.value.next)


def test_file_that_cuts_a_group_names_it(tmp_path):
    path = write(tmp_path / "s.csv", "id,role\ns0,train\ns1,test\ns2,test\n")
    with pytest.raises(LeakageError, match="slide g0 is in training and in test") as caught:
        make_split(SAMPLES, make_record(), "f", from_file=path)
    assert caught.value.code == 6
    assert "s.csv" in caught.value.next


class MemoryStore:
    """The methods of a store that splits need."""

    def __init__(self, samples, record, splits=()):
        self.table, self.record, self.kept = samples, record, {s.name: s for s in splits}

    def dataset(self, name):
        return self.record

    def samples(self, name):
        return self.table

    def split_headers(self, name):
        return {key: self.kept[key].header() for key in sorted(self.kept)}

    def split(self, dataset, name):
        return self.kept[name]

    def save_split(self, split, before=None):
        self.kept[split.name] = split


def published(name, leaks=None, ids=("s0", "s2"), **params):
    rows = split_rows([(0, 0, ids[0], "train"), (0, 0, ids[1], "test")])
    return Split("toy", name, rows, "slide", None, leaks, "published", params)


def test_default_is_the_published_split_without_leaks_else_cv():
    splits = [published("paper", leaks="random"), published("z", order=0), published("b", order=1)]
    store = MemoryStore(SAMPLES, make_record(), splits)
    assert resolve_split(store, "toy").name == "z"
    assert resolve_split(store, "toy", "paper").leaks == "random"
    store = MemoryStore(SAMPLES, make_record(), splits[:1])
    split = resolve_split(store, "toy")
    assert (split.name, len(split.folds())) == ("cv", 10)
    assert store.kept["cv"].digest == split.digest == resolve_split(store, "toy", "cv").digest


def test_a_target_has_an_automatic_split_of_its_own():
    samples = SAMPLES.append_column("grade", pa.array(["low", "high", "high"] * 8))
    store = MemoryStore(samples, make_record())
    plain = resolve_split(store, "toy", "cv")
    graded = resolve_split(store, "toy", "cv", target="grade")
    assert (plain.name, graded.name) == ("cv", "cv.grade")
    assert resolve_split(store, "toy", "cv").digest == plain.digest == store.kept["cv"].digest
    mine = make_split(samples, make_record(), "holdout", test=0.5)
    store.save_split(mine)
    assert resolve_split(store, "toy", "holdout", target="grade").digest == mine.digest, "made by hand: taken as it is"


@pytest.mark.parametrize(("name", "folds"), [("leave-one-group-out", 12), ("holdout", 1)])
def test_automatic_splits(name, folds):
    store = MemoryStore(SAMPLES, make_record())
    assert len(resolve_split(store, "toy", name).folds()) == folds
    assert name in store.kept


def test_automatic_split_follows_the_data_and_a_users_own_goes_stale():
    store = MemoryStore(SAMPLES, make_record())
    before = resolve_split(store, "toy", "cv")
    store.save_split(make_split(SAMPLES, make_record(), "mine", folds=3))
    store.table = SAMPLES.slice(0, 20)
    assert len(set(resolve_split(store, "toy", "cv").rows["id"].to_pylist())) == 20
    assert len(set(before.rows["id"].to_pylist())) == 24
    for count, said in ((23, "1 of its samples is no longer"), (20, "4 of its samples are no longer")):
        store.table = SAMPLES.slice(0, count)
        with pytest.raises(StoreError, match=f"'mine' is stale: {said}"):
            resolve_split(store, "toy", "mine")
    # Of the same samples with other groups, and then with other labels.
    for column, values in (("slide", [f"h{i // 4}" for i in range(20)]), ("label", list("aaaabbbb" * 2 + "aaaa"))):
        store.table = store.table.set_column(store.table.column_names.index(column), column, pa.array(values))
        group = dict(zip(store.table["id"].to_pylist(), store.table["slide"].to_pylist(), strict=True))
        old, new = store.kept["cv"], resolve_split(store, "toy", "cv")
        assert new.params["samples"] != old.params["samples"]
        assert all({group[i] for i in f.train}.isdisjoint(group[i] for i in f.test) for f in new.folds())


def test_automatic_split_of_another_target():
    store = MemoryStore(SAMPLES.append_column("grade", pa.array(["1", "2", None] * 8)), make_record())
    split = resolve_split(store, "toy", "cv", target="grade")
    assert split.name == "cv.grade"
    assert len(set(split.rows["id"].to_pylist())) == 16
    assert "8 samples without a value of 'grade' are left out" in split.params["notes"]


def test_unknown_split_is_guessed():
    with pytest.raises(StoreError) as caught:
        resolve_split(MemoryStore(SAMPLES, make_record()), "toy", "holdaut")
    assert "Did you mean 'holdout'?" in caught.value.next


def test_folds_that_ignore_groups_say_that_they_leak(tmp_path):
    samples = make_samples(["a", "b"] * 30, [f"g{i // 10}" for i in range(60)])
    slide = dict(zip(samples["id"].to_pylist(), samples["slide"].to_pylist(), strict=True))
    split = make_split(samples, make_record(), "random", folds=5, ignore_groups=True)
    for fold in split.folds():
        assert len(fold.test) == 12
        assert {slide[i] for i in fold.test} & {slide[i] for i in fold.train}
    assert split.leaks == "it was drawn without regard to slide: one slide trains and tests"
    assert (split.group, split.params["ignore_groups"]) == (None, True)
    assert make_split(samples, make_record(), "mine", folds=5).leaks is None
    patients = samples.append_column("patient", pa.array([f"p{i % 2}" for i in range(60)]))
    assert (
        "without regard to patient"
        in make_split(patients, make_record(), "random", test=0.2, ignore_groups=True, group="patient").leaks
    )


@pytest.mark.parametrize(
    "how", [{"leave_one_group_out": True}, {"folds": 3, "train_groups": 2}, {"from_file": "s.csv"}]
)
def test_groups_cannot_be_ignored_and_asked_for(how):
    with pytest.raises(UsageError, match="Groups are ignored, and asked for"):
        make_split(SAMPLES, make_record(), "s", ignore_groups=True, **how)
    with pytest.raises(UsageError, match="names no group that could be ignored"):
        make_split(SAMPLES, make_record(group=None), "s", ignore_groups=True, folds=3)


def test_the_digest_of_a_split_is_that_of_its_rows_one_by_one_whatever_is_in_their_ids():
    ids = ["a'b", '"', "ü\n", "s10", "s2", "\x7f", "日"]
    rows = [(r, f, i, "test" if n % 3 == f else "train") for r in (0, 12) for f in range(3) for n, i in enumerate(ids)]
    written = [repr(row).encode() for row in sorted(rows)]
    by_hand = hashlib.blake2b(digest_size=16)
    for row in written:
        by_hand.update(len(row).to_bytes(8, "little") + row)
    for order in (rows, rows[::-1], sorted(rows)):
        split = Split("d", "s", split_rows(order))
        assert split.digest == by_hand.hexdigest()
        here = [row[2] for row in order if row[:2] == (12, 1) and row[3] == "test"]
        assert (split.folds()[4][:2], split.folds()[4].test) == ((12, 1), here)


def test_rows_of_a_split_are_not_digested_one_by_one_and_an_id_is_one_text_in_all_folds(store, monkeypatch):
    updates = []

    class Counted:
        def __init__(self, *given, **named):
            self.state = blake2b(*given, **named)

        def update(self, content):
            updates.append(len(content))
            self.state.update(content)

        def digest(self):
            return self.state.digest()

    rows = [(0, fold, f"s{i}", "test" if i % 2 == fold else "train") for fold in (0, 1) for i in range(3000)]
    save_dataset(store, "d")
    store.save_split(Split("d", "s", split_rows(rows)))
    blake2b = hashlib.blake2b
    monkeypatch.setattr(hashlib, "blake2b", Counted)
    (header,) = store.split_headers("d").values()
    updates.clear()
    split = store.split("d", "s")
    assert split.digest == header["digest"]
    assert len(updates) < 50
    assert sum(updates) > 6000 * 20
    assert split.fold_count == 2
    assert len({id(i) for fold in split.folds() for i in (*fold.train, *fold.test)}) == 3000


@pytest.mark.parametrize("how", [{"folds": 40}, {"folds": 40, "train_groups": 30}, {"leave_one_group_out": True}])
def test_a_split_is_made_without_a_python_object_for_each_row(how):
    samples = make_samples(["a", "b"] * 1000, [f"g{i % 40}" for i in range(2000)])
    collections = []

    def note(phase, info):
        collections.append(phase)

    make_split(SAMPLES, make_record(), "warm", folds=2)
    gc.callbacks.append(note)
    try:
        split = make_split(samples, make_record(), "s", **how)
    finally:
        gc.callbacks.remove(note)
    # Garbage is looked for whenever 700 more tuples or lists are there.
    assert len(split.rows) > 40_000
    assert collections.count("start") < 30


BATCHED = SAMPLES.append_column("batch", pa.array([f"b{i % 3}" for i in range(24)]))


@pytest.mark.parametrize(
    ("how", "rows", "advice"),
    [
        ({"leave_one_group_out": True}, 12 * 24, "--folds 10"),
        ({"folds": 4}, 4 * 24, "--folds 10"),
        ({"folds": 2, "repeats": 3}, 2 * 24 * 3, "at most 1 time: histokit split toy --name l … --repeats 1"),
        ({"test": 0.5, "repeats": 5}, 24 * 5, "at most 3 times: histokit split toy --name l … --repeats 3"),
    ],
)
def test_splits_of_more_rows_than_can_be_worked_with_are_refused_before_they_are_made(monkeypatch, how, rows, advice):
    assert split_drawing.MOST_ROWS == 100_000_000
    split = make_split(SAMPLES, make_record(), "l", **how)
    assert len(split.rows) == rows
    monkeypatch.setattr(split_drawing, "MOST_ROWS", rows)
    assert make_split(SAMPLES, make_record(), "l", **how).digest == split.digest
    monkeypatch.setattr(split_drawing, "MOST_ROWS", 95)
    with pytest.raises(DataError, match=f"would have {rows} rows, one for each sample in each fold") as caught:
        make_split(SAMPLES, make_record(), "l", **how)
    assert advice in caught.value.next


def test_barred_and_limited_splits_are_measured_by_the_rows_that_they_keep(monkeypatch):
    barred = make_split(BATCHED, make_record(), "b", leave_one_group_out=True, bar="batch")
    monkeypatch.setattr(split_drawing, "MOST_ROWS", len(barred.rows) - 1)
    with pytest.raises(DataError, match=f"would have {len(barred.rows)} rows"):
        make_split(BATCHED, make_record(), "b", leave_one_group_out=True, bar="batch")
    # 12 folds of 2 tested and 2 or 4 trained on, of 288 rows without a limit.
    monkeypatch.setattr(split_drawing, "MOST_ROWS", 100)
    assert len(make_split(SAMPLES, make_record(), "k", leave_one_group_out=True, train_groups=2).rows) == 12 * 6


SITES = make_samples(list("abab") * 2 + ["c", None], list("gghhiijjkk"), site=[*list("AABBBB"), None, None, "A", "B"])


def test_the_samples_of_a_condition_are_tested_and_those_without_the_value_are_in_no_part():
    split = make_split(SITES, make_record(), "s", test_where="site = 'B'")
    (fold,) = split.folds()
    assert (fold.train, fold.test) == (["s0", "s1", "s8"], ["s2", "s3", "s4", "s5"])
    assert split.params["notes"] == [
        "1 sample without a label is left out",
        "2 samples are in no part: a value that the condition asks for is missing",
        "class c is in a single group: no sample of it is in the test set",
    ]
    other = make_split(SITES, make_record(), "s", test_where="site = 'A' OR site IS NULL")
    assert other.folds()[0].test == ["s0", "s1", "s6", "s7", "s8"]
    assert "--test-where 'site = '\"'\"'B'\"'\"''" in str(split_command(split))


@pytest.mark.parametrize(
    ("how", "typed"),
    [
        ({"test_where": "site = 'C'"}, "histokit list samples toy"),
        ({"folds": 2, "train_per_class": 9}, "histokit split toy --name 'my split' … --train-per-class 1"),
        ({"folds": 2, "train_per_class": 9}, "histokit split toy --name 'my split' --from FILE.csv"),
        ({"leave_one_group_out": True, "group": None}, "histokit split toy --name 'my split' … --group COLUMN"),
    ],
)
def test_commands_to_type_name_the_dataset_and_the_split(how, typed):
    record = make_record(group=None) if "group" in how else make_record()
    with pytest.raises(HistokitError) as caught:
        make_split(SITES, record, "my split", **how)
    assert typed in caught.value.next


def test_a_condition_keeps_groups_apart_and_leaves_something_on_both_sides():
    cut = make_samples(list("abab"), list("gghh"), site=list("ABBB"))
    with pytest.raises(LeakageError, match="slide g is in training and in test") as refused:
        make_split(cut, make_record(), "s", test_where="site = 'A'")
    assert refused.value.next.startswith("Test another condition, add --ignore-groups")
    leaking = make_split(cut, make_record(), "s", test_where="site = 'A'", ignore_groups=True)
    assert leaking.leaks
    assert leaking.folds()[0].test == ["s0"]
    for condition, left in (("site = 'C'", "test"), ("site <> 'C'", "train on")):
        with pytest.raises(DataError, match=f"nothing is left to {left}"):
            make_split(cut, make_record(), "s", test_where=condition)
    with pytest.raises(UsageError, match="no column 'sites'"):
        make_split(cut, make_record(), "s", test_where="sites = 'A'")
    with pytest.raises(UsageError, match="Every repeat would be the same"):
        make_split(SITES, make_record(), "s", test_where="site = 'B'", repeats=2)


def test_few_samples_are_drawn_to_train_on_beside_those_of_a_condition():
    samples = make_samples(list("ab") * 8, [f"g{i // 2}" for i in range(16)], site=["A"] * 12 + ["B"] * 4)
    folds = make_split(samples, make_record(), "s", test_where="site = 'B'", train_per_class=2, repeats=3).folds()
    assert [fold.test for fold in folds] == [["s12", "s13", "s14", "s15"]] * 3
    assert [len(fold.train) for fold in folds] == [4] * 3
    assert len({tuple(fold.train) for fold in folds}) > 1


def test_what_is_drawn_within_is_drawn_from_the_groups_of_that_split():
    samples = make_samples(
        ["a", "b"] * 12, [f"g{i // 2}" for i in range(24)], patient=[f"p{i // 8}" for i in range(24)]
    )
    whole = make_split(samples, make_record(), "whole", folds=3, group="patient")
    for group, trained in ((None, 8), ("patient", 8), ("slide", 2)):
        split = make_split(samples, make_record(), "few", within=whole, train_groups=1, group=group)
        assert split.group == (group or "patient")
        assert [len(fold.train) for fold in split.folds()] == [trained] * 3, "all samples of one"


def test_what_is_drawn_within_keeps_batches_apart_as_they_are_now():
    whole = make_split(BATCHED, make_record(), "whole", leave_one_group_out=True, bar="batch")
    make_split(BATCHED, make_record(), "few", within=whole, train_per_class=1)
    corrected = BATCHED.set_column(BATCHED.column_names.index("batch"), "batch", pa.array(["b0"] * 24))
    with pytest.raises(LeakageError, match="batch b0 is in training and in test"):
        make_split(corrected, make_record(), "few", within=whole, train_per_class=1)


def test_automatic_splits_of_each_target_follow_the_data(tmp_path):
    columns = {"id": [f"s{i}" for i in range(24)], "slide": [f"g{i // 2}" for i in range(24)], "label": list("ab") * 12}
    grades = [["low"] * 12 + ["high"] * 12, ["low", "high"] * 12]
    found = []
    for grade in grades:
        toy = make_store(tmp_path, {**columns, "grade": grade}, {})
        found.append([resolve_split(toy, "toy", "cv", target=target) for target in (None, "grade")])
    (plain, graded), (same, other) = found
    assert (same.digest, toy.split("toy", "cv.grade").digest) == (plain.digest, other.digest)
    assert other.params["samples"] != graded.params["samples"]


def test_a_copy_of_a_dataset_has_automatic_splits_of_its_own(tmp_path):
    columns = {"id": [f"s{i}" for i in range(24)], "slide": [f"g{i // 2}" for i in range(24)], "label": list("ab") * 12}
    for name in ("one", "two"):
        make_store(tmp_path, columns, {}, name=name)
    both = open_store(tmp_path)
    assert [resolve_split(both, name, "cv", keep=False).dataset for name in ("one", "two")] == ["one", "two"]
