from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histokit.errors import DataError, StoreError, UsageError
from histokit.features import FeatureSet, FeatureStore, open_store
from histokit.features.feature_set import Part
from histokit.plugin.digests import digest_bytes
from histokit.store.records import PROBLEM_SCHEMA, SAMPLE_FIELDS
from tests.toy import make_store


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Five samples of three slides; ``b`` has no features of the layer ``two``, and ``e`` no label."""
    samples = {
        "id": list("abcde"),
        "label": ["x", "y", "y", "x", None],
        "slide": ["P", "Q", "Q", "P", "R"],
        "age": [30, 40, 50, 60, None],
    }
    one = np.arange(10).reshape(5, 2)
    two = np.arange(15.0).reshape(5, 3) + 100
    two[1] = np.nan
    return make_store(tmp_path / "store", samples, {"one": one, "two": two})


@pytest.fixture
def one(toy: FeatureStore) -> FeatureSet:
    return toy.features("toy", "net/one")


def test_rows_are_aligned_with_samples(one: FeatureSet) -> None:
    assert one.X.dtype == np.float32
    assert one.X.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert one.sample_ids == list("abcde")
    assert one.content[0] == digest_bytes(b"a")
    assert one.labels.tolist() == ["x", "y", "y", "x", None]
    assert one.groups().tolist() == ["P", "Q", "Q", "P", "R"]
    assert one.groups("age").tolist() == [30, 40, 50, 60, None]
    assert one.column_names == ["net/one[0]", "net/one[1]"]
    assert len(one) == 5


def test_texts_of_a_column_are_one_object_each_and_what_is_no_value_is_none(one: FeatureSet) -> None:
    chunks = [["cö lon", "nan", None], ["", "cö lon"]]
    samples = one.samples.append_column("site", pa.chunked_array([pa.array(chunk) for chunk in chunks]))
    found = replace(one, samples=samples).column("site")
    assert (found.dtype, found.tolist()) == (object, ["cö lon", None, None, "", "cö lon"])
    assert found[0] is found[4]
    nothing = replace(one, samples=samples.slice(0, 0)).column("site")
    assert (nothing.dtype, len(nothing)) == (object, 0)


def test_no_group_is_none(one: FeatureSet) -> None:
    assert replace(one, record=replace(one.record, group=None)).groups() is None


def test_y_needs_labels(one: FeatureSet) -> None:
    with pytest.raises(DataError, match="1 of 5 samples has no label"):
        _ = one.y
    assert one.where("label IS NOT NULL").y.tolist() == ["x", "y", "y", "x"]


def test_unknown_column_has_a_hint(one: FeatureSet) -> None:
    with pytest.raises(UsageError, match="no column 'slid'") as caught:
        one.groups("slid")
    assert "Did you mean 'slide'" in caught.value.next


def test_missing_vectors_are_told_and_left_out_only_on_request(toy: FeatureStore) -> None:
    for address in ("net/two", "net/one+net/two"):
        with pytest.raises(StoreError, match="net/two is missing for 1 of 5 samples") as caught:
            toy.features("toy", address)
        assert caught.value.details == {"missing": 1, "total": 5}
        assert "Make them with: histokit extract toy --backbone net --layers two" in caught.value.next
    for stage in ("extract", "images"):
        problem = {"id": "b", "stage": stage, "reason": "is not an image", "content": bytes(16), "dataset": "toy"}
        rows = pa.Table.from_pylist([problem], schema=PROBLEM_SCHEMA)
        toy.replace_problems("toy", stage, rows)
    with pytest.raises(StoreError, match=r"1 of 5 samples of 'toy' \(1 sample is known to be unreadable: ") as known:
        toy.features("toy", "net/two")
    assert known.value.next.startswith("Go on without them with --allow-missing; or mend the files")
    merged = toy.features("toy", "net/one+net/two", allow_missing=True)
    assert merged.sample_ids == list("acde")
    assert merged.X[1].tolist() == [4, 5, 106, 107, 108]
    assert toy.features("toy", "net/two", where="slide <> 'Q'").sample_ids == list("ade")


def test_merging_aligns_on_ids(one: FeatureSet, toy: FeatureStore) -> None:
    two = toy.features("toy", "net/two", allow_missing=True)
    merged = one.take([4, 0, 2]) + two.where("id IN ('a', 'c', 'e')")
    assert merged.sample_ids == ["e", "a", "c"]
    assert merged.X.tolist() == [[8, 9, 112, 113, 114], [0, 1, 100, 101, 102], [4, 5, 106, 107, 108]]
    assert merged.address == "net/one+net/two"
    assert [len(part) for part in merged.parts] == [2, 3]
    assert merged.labels.tolist() == [None, "x", "y"]


def test_merging_lists_missing_ids(one: FeatureSet, toy: FeatureStore) -> None:
    two = toy.features("toy", "net/two", allow_missing=True)
    for merge in (lambda: one + two, lambda: two + one):
        with pytest.raises(DataError, match=r"1 sample is in only one of .*: b\."):
            merge()
    with pytest.raises(TypeError):
        _ = one + 1


def test_merging_other_images_of_the_same_id_is_an_error(one: FeatureSet) -> None:
    content = one.content
    content[2] = b"another image..."
    other = replace(one, samples=one.samples.set_column(1, "content", pa.array(content, pa.binary(16))))
    with pytest.raises(DataError, match=r"same id but not the same content: c\."):
        _ = one + other


def a_set(ids: list[str], name: str, X: np.ndarray) -> FeatureSet:
    columns = {f.name: pa.nulls(len(ids), f.type) for f in SAMPLE_FIELDS}
    columns["id"] = pa.array(ids, pa.string())
    columns["content"] = pa.array([digest_bytes(i.encode()) for i in ids], pa.binary(16))
    names = tuple(f"f{i}" for i in range(X.shape[1]))
    part = Part(f"{name}/l", name, name, name, "l", np.arange(X.shape[1]), names)
    return FeatureSet(X.astype(np.float32), pa.table(columns), None, (part,))  # type: ignore[arg-type]


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_merging_is_independent_of_order_up_to_columns_and_rows(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=6, unique=True))
    sets = []
    for name in ("p", "q", "r"):
        width = data.draw(st.integers(1, 3))
        order = data.draw(st.permutations(ids))
        X = np.array([[crc32(f"{name} {i} {j}".encode()) % 1000 for j in range(width)] for i in order])
        sets.append(a_set(list(order), name, X))

    def cells(merged: FeatureSet) -> dict[tuple[str, str], float]:
        assert len(merged.column_names) == sum(s.X.shape[1] for s in sets)
        rows = zip(merged.sample_ids, merged.X, strict=True)
        return {(i, c): float(v) for i, row in rows for c, v in zip(merged.column_names, row, strict=True)}

    expected = {
        (i, f"{s.parts[0].address}[f{j}]"): float(s.X[row, j])
        for s in sets
        for row, i in enumerate(s.sample_ids)
        for j in range(s.X.shape[1])
    }
    p, q, r = (sets[k] for k in data.draw(st.permutations(range(3))))
    assert cells(p + q + r) == expected
    assert cells(p + (q + r)) == expected


def test_an_outline_has_the_shape_and_the_samples_but_no_values(toy: FeatureStore) -> None:
    whole = toy.features("toy", "net/one+net/two", allow_missing=True)
    outline = toy.features("toy", "net/one+net/two", allow_missing=True, outline=True)
    assert (outline.X.shape, outline.X.dtype, outline.X.any()) == ((4, 5), np.float32, False)
    assert outline.X.strides == (0, 0), "in no memory"
    assert (outline.sample_ids, outline.column_names) == (whole.sample_ids, whole.column_names)
    assert outline.labels.tolist() == whole.labels.tolist()


def test_a_store_is_opened_by_name_by_variable_or_in_the_folder(
    toy: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(str(open_store().uri)).name == "histokit-store"
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    assert [record.name for record in open_store().datasets()] == ["toy"]
    assert open_store(tmp_path / "other").datasets() == []


def test_where_takes_sql_or_a_mask(one: FeatureSet) -> None:
    assert one.where([0, 1, 0, 2, 0]).sample_ids == ["b", "d"], "numbers are truth values, and no positions"
    assert one.where("age >= 50 AND label = 'y'").sample_ids == ["c"]
    assert one.where("age > 1000").X.shape == (0, 2)
    assert one.where("age > 1000").where("age > 1").sample_ids == []
    kept = one.where([False, True, False, True, False])
    assert (kept.sample_ids, kept.X.tolist()) == (["b", "d"], [[2, 3], [6, 7]])
    with pytest.raises(UsageError, match=r"mask has the shape \(2,\); there are 5"):
        one.where([True, False])
    with pytest.raises(UsageError, match="there is no column 'lable'") as caught:
        one.where("lable = 'x'")
    assert "label" in caught.value.next


def test_take_follows_numpy(one: FeatureSet) -> None:
    taken = one.take([3, -1, 3])
    assert taken.sample_ids == ["d", "e", "d"]
    assert taken.X.tolist() == [[6, 7], [8, 9], [6, 7]]
    assert one.take([]).X.shape == (0, 2)
    assert one.take(np.array([True, False, False, False, True])).sample_ids == ["a", "e"]
    with pytest.raises(IndexError):
        one.take([5])


def test_columns_remember_where_they_came_from(toy: FeatureStore) -> None:
    merged = toy.features("toy", "net/one+net/two", allow_missing=True)
    kept = merged.columns([4, 1, 4, -3])
    assert kept.column_names == ["net/one[1]", "net/two[0]", "net/two[2]"]
    assert kept.X[0].tolist() == [1, 100, 102]
    assert [part.filters.tolist() for part in kept.parts] == [[1], [0, 2]]
    again = kept.columns([2])
    assert (again.column_names, again.address) == (["net/two[2]"], "net/two")
    assert again.parts[0].filters.tolist() == [2]
    with pytest.raises(IndexError):
        merged.columns([5])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [[3, 4], [3, 4]]), ("median", [[3, 4], [3, 4]]), ("max", [[6, 7], [4, 5]])],
)
def test_aggregating(one: FeatureSet, how: str, expected: list[list[float]]) -> None:
    units = one.where("slide <> 'R'").aggregate("slide", how)  # type: ignore[arg-type]
    assert units.sample_ids == ["P", "Q"]
    assert units.X.tolist() == expected
    assert units.X.dtype == np.float32
    assert units.labels.tolist() == ["x", "y"]
    assert units.groups().tolist() == ["P", "Q"]
    assert units.column("age").tolist() == [None, None]
    assert units.column_names == one.column_names


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # Of 3, 0, 9 the mean is 4, of 1, 8, 0 it is 3; of 4, 1, 2, 9 the middle is between 2 and 4.
        ("mean", [[4, 3], [4, 7]]),
        ("median", [[3, 1], [3, 6]]),
        ("max", [[9, 8], [9, 14]]),
    ],
)
def test_mean_median_and_maximum_differ(tmp_path: Path, how: str, expected: list[list[float]]) -> None:
    samples = {"id": list("abcdefg"), "label": list("xyyxyxy"), "slide": list("PQQPQPQ")}
    X = [[3, 1], [4, 6], [1, 2], [0, 8], [2, 14], [9, 0], [9, 6]]
    store = make_store(tmp_path / "store", samples, {"one": np.array(X)})
    units = store.features("toy", "net/one").aggregate("slide", how)  # type: ignore[arg-type]
    assert (units.sample_ids, units.X.tolist()) == (["P", "Q"], expected)


def test_the_mean_of_many_equal_vectors_is_one_of_them(one: FeatureSet) -> None:
    """In float32, the 50,000th addition of 0.1 rounds to a thousandth: the mean would be 0.10005."""
    tiles = one.take(np.zeros(50_000, np.intp))
    X = np.full((len(tiles), 2), [0.1, 3.3], np.float32)
    units = replace(tiles, X=X).aggregate("slide")
    assert units.X.tolist() == [X[0].tolist()]


def test_no_samples_are_no_units(one: FeatureSet) -> None:
    units = one.where("slide = 'none of them'").aggregate("slide")
    assert (len(units), units.X.shape, units.sample_ids) == (0, (0, 2), [])


def test_the_content_of_a_unit_is_that_of_its_samples(one: FeatureSet) -> None:
    first = one.aggregate("slide")
    shuffled = one.take([3, 4, 2, 1, 0]).aggregate("slide")
    by_id = dict(zip(shuffled.sample_ids, shuffled.content, strict=True))
    assert dict(zip(first.sample_ids, first.content, strict=True)) == by_id
    assert one.take([0, 1, 2]).aggregate("slide").content[0] != first.content[0]
    assert one.take([0, 3, 3]).aggregate("slide").content != one.take([0, 3]).aggregate("slide").content


def test_mixed_labels_in_a_unit_are_an_error(one: FeatureSet) -> None:
    mixed = one.samples.set_column(
        one.samples.column_names.index("slide"), "slide", pa.array(["P", "P", "Q", "Q", "R"])
    )
    with pytest.raises(DataError, match="The slide 'P' holds samples of 2 labels: 'x', 'y'"):
        replace(one, samples=mixed).aggregate("slide")


def test_aggregating_needs_a_value_and_a_known_way(one: FeatureSet) -> None:
    with pytest.raises(DataError, match="1 sample has no age"):
        one.aggregate("age")
    with pytest.raises(UsageError, match="'sum' is unknown"):
        one.aggregate("slide", "sum")  # type: ignore[arg-type]


def test_to_pandas(one: FeatureSet) -> None:
    frame = one.to_pandas()
    assert list(frame.index) == list("abcde")
    assert list(frame.columns[:2]) == ["net/one[0]", "net/one[1]"]
    np.testing.assert_array_equal(frame[one.column_names].to_numpy(), one.X)
    assert not {"id", "content"} & {*frame.columns}
    assert frame.loc["c", "slide"] == "Q"
    assert pd.isna(frame.loc["e", "age"])


def test_to_anndata(toy: FeatureStore) -> None:
    merged = toy.features("toy", "net/one+net/two", allow_missing=True)
    annotated = merged.to_anndata()
    np.testing.assert_array_equal(annotated.X, merged.X)
    assert list(annotated.obs_names) == merged.sample_ids
    assert list(annotated.var_names) == merged.column_names
    assert annotated.var["layer"].tolist() == ["one", "one", "two", "two", "two"]
    assert annotated.var["filter"].tolist() == ["0", "1", "0", "1", "2"]
    assert annotated.var["fingerprint"].iloc[0] == merged.parts[0].fingerprint
    assert annotated.obs["slide"].tolist() == ["P", "Q", "P", "R"]
