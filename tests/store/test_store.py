from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from histokit import cli
from histokit.errors import DataError, StoreError, UnreachableError, UsageError
from histokit.features import FeatureStore
from histokit.plugin.digests import digest_bytes
from histokit.store import DatasetRecord, RunRecord, Split, Store
from histokit.store.additions import make_table
from histokit.store.database import FORMAT_KEY
from histokit.store.fingerprints import content_digest, row_key, spec_differences, spec_fingerprint, table_name
from histokit.store.records import FILE_SCHEMA, PREDICTION_SCHEMA, PROBLEM_SCHEMA, SAMPLE_FIELDS
from histokit.store.split_records import split_rows
from histokit.store.vector_rows import finite_rows, row_checks
from histokit.store.vector_writes import stored_as
from histokit.store.vectors import read_vectors
from tests.store import made
from tests.store.made import started_together
from tests.toy import insert_vectors, make_samples, make_store

SPEC = {"backbone": "net", "layer": "l", "weights": "random:0", "preprocess": {"size": 64}}


def a_dataset(store: Store, name: str = "d", labels: tuple[str, ...] = ("x", "y")) -> DatasetRecord:
    record = DatasetRecord(
        name, "folder", "1", "histokit", "root", {}, labels, None, "accuracy", ("R", "G", "B"), {}, None, (), None,
        len(labels), "2020-01-01",
    )  # fmt: skip
    schema = pa.schema(SAMPLE_FIELDS)
    rows = [
        {"id": f"s{i}", "content": bytes([i]) * 16, "image": [f"{i}.png"], "label": v} for i, v in enumerate(labels)
    ]
    return store.save_dataset(record, pa.Table.from_pylist(rows, schema=schema), FILE_SCHEMA.empty_table())


def a_run(run_id: str, dataset: str = "d") -> tuple[RunRecord, pa.Table]:
    run = RunRecord(
        run_id, dataset, "train", "net/l", "svm", "cv", "00", ("x", "y"), "accuracy", {}, [], [], {}, 1.0, "2020"
    )
    row = {"run": run_id, "repeat": 0, "fold": 0, "role": "test", "id": "s0", "true": "x", "predicted": "y"}
    row |= {"scores": [0.25, -0.25], "kind": "decision", "group": None, "levels": []}
    return run, pa.Table.from_pylist([row], schema=PREDICTION_SCHEMA)


def test_dataset_comes_back_and_is_replaced(store: FeatureStore) -> None:
    record = a_dataset(store)
    assert store.dataset("d") == record
    assert store.samples("d").column("label").to_pylist() == ["x", "y"]
    a_dataset(store, labels=("z",))
    assert store.dataset("d").count == 1
    assert len(store.datasets()) == 1
    assert store.samples("d", where="label = 'z'").num_rows == 1


def test_what_every_step_asks_is_read_once_until_another_writes(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> tuple[Any, ...]:
        tables = [table.layer for table in store.feature_tables("d")]
        return store.dataset("d").count, [*store.split_headers("d")], store.has_run("aaaa"), tables

    a_dataset(store)
    assert asked() == (2, [], False, [])
    with monkeypatch.context() as patch:
        patch.setattr("lance.dataset", lambda *_, **__: pytest.fail("read again"))
        assert asked() == asked() == (2, [], False, [])
    other = Store(store.uri)
    a_dataset(other, labels=("x", "y", "z"))
    other.save_split(Split("d", "one", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    other.save_run(*a_run("aaaa"), model=None)
    other.create_feature_table("d", SPEC, 3, {})
    assert asked() == (3, ["one"], True, ["l"])
    other.save_run(*a_run("bbbb"), model=None)
    assert store.has_run("bbbb")


def test_unknown_dataset_has_a_hint(store: FeatureStore) -> None:
    a_dataset(store, "breast")
    with pytest.raises(StoreError, match="no dataset 'brest'") as caught:
        store.dataset("brest")
    assert "Did you mean 'breast'?" in caught.value.next


def test_bad_filter_names_the_columns(store: FeatureStore) -> None:
    a_dataset(store)
    with pytest.raises(UsageError) as caught:
        store.samples("d", where="lable = 'x'")
    assert "label" in caught.value.next


def test_split_comes_back_and_is_replaced(store: FeatureStore) -> None:
    a_dataset(store)
    first = Split("d", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]), group="g", seed=3)
    store.save_split(first)
    store.save_split(first)
    back = store.split("d", "s")
    assert back.digest == first.digest
    assert (back.group, back.seed) == ("g", 3)
    assert [(f.train, f.val, f.test) for f in back.folds()] == [(["s0"], [], ["s1"])]
    second = replace(first, rows=split_rows([(0, 0, "s1", "train"), (0, 0, "s0", "test")]))
    store.save_split(second)
    assert store.split("d", "s").folds()[0].test == ["s0"]
    assert store.database.count("splits.d") == 2
    with pytest.raises(StoreError, match="no split 't'"):
        store.split("d", "t")


def test_what_two_processes_made_at_the_same_moment_is_there_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_dataset(store)
    rows = [(r, f, i, "test" if f == k % 2 else "train") for r in (0, 1) for f in (0, 1) for k, i in enumerate("abc")]
    split = Split("d", "s", split_rows(rows), group="g", seed=3)
    with monkeypatch.context() as patch:
        # As the other process saw it: nothing there yet.
        patch.setattr(type(store.database), "count", lambda *_: 0)
        store.save_split(split)
        store.save_split(split)
    assert store.database.count("splits.d") == 2 * len(rows)
    assert store.split("d", "s").rows.equals(split.rows)
    assert store.split("d", "s").digest == split.digest
    for table in ("datasets", "splits"):
        store.database.append(table, store.database.read(table))
    assert [record.name for record in store.datasets()] == ["d"]
    assert [found.name for found in store.splits("d")] == ["s"]


def test_a_table_is_made_once_by_whoever_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [Store(tmp_path) for _ in range(2)]
    made: list[Path] = []

    def slow(path: Path, *arguments: Any) -> None:
        made.append(path)
        time.sleep(0.3)
        make_table(path, *arguments)

    monkeypatch.setattr("histokit.store.database.make_table", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda store: store.database.create("t", pa.schema([("a", pa.int64())])), stores))
    assert len(made) == 1
    assert stores[0].database.count("t") == 0


def test_a_store_without_permission_is_named(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    a_dataset(store)

    def closed(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(UnreachableError, match=r"cannot be opened: Permission denied: .*store") as caught:
        store.datasets()
    assert "--store" in caught.value.next
    with pytest.raises(UnreachableError, match="cannot be opened"):
        store.feature_tables()


def test_split_digest_does_not_depend_on_row_order() -> None:
    rows = [(0, 0, "a", "train"), (0, 0, "b", "test"), (0, 1, "a", "test")]
    one, two = (Split("d", "s", split_rows(r)) for r in (rows, rows[::-1]))
    assert one.digest == two.digest
    assert Split("d", "s", split_rows(rows[:2])).digest != one.digest


def test_run_is_found_by_the_beginning_of_its_id(store: FeatureStore) -> None:
    for run_id in ("abcd1234", "abcd9999", "ffff0000"):
        store.save_run(*a_run(run_id), b"model" + run_id.encode())
    assert store.run("ffff").id == "ffff0000"
    assert store.has_run("abcd1234")
    assert not store.has_run("abcd")
    assert store.model("ffff0000") == b"modelffff0000"
    assert store.predictions("ffff0000").column("scores").to_pylist() == [[0.25, -0.25]]
    with pytest.raises(StoreError, match="ambiguous: abcd1234, abcd9999"):
        store.run("abcd")
    with pytest.raises(StoreError, match="no run 'abc'"):
        store.run("abc")


def test_a_run_that_is_named_twice_has_its_predictions_once(store: FeatureStore) -> None:
    run, rows = a_run("abcd1234")
    run = store.save_run(run, rows, None)
    assert store.predictions_of([run, run])["abcd1234"].equals(rows)


def test_saving_a_run_again_does_not_double_its_predictions(store: FeatureStore) -> None:
    for _ in range(2):
        store.save_run(*a_run("abcd1234"), None)
    assert store.predictions("abcd1234").num_rows == 1
    with pytest.raises(StoreError, match="has no model"):
        store.model("abcd1234")


def asked(*rows: tuple[str, bytes | None]) -> pa.Table:
    """Samples whose vectors are asked for."""
    ids, contents = zip(*rows, strict=True)
    return pa.table({"id": pa.array(ids, pa.string()), "content": pa.array(contents, pa.binary(16))})


def rows_of(store: FeatureStore) -> int:
    return store.database.count(store.feature_tables("d")[0].name)


def test_vectors_are_written_once_and_come_back_in_any_order(store: FeatureStore) -> None:
    table = store.create_feature_table("d", SPEC, 3, {"index": 0})
    ids, contents = ["a", "b", "c"], [b"1" * 16, b"2" * 16, b"3" * 16]
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert insert_vectors(store.database, table, ids[:2], contents[:2], matrix[:2]) == 2
    assert insert_vectors(store.database, table, ids, contents, matrix + 100) == 1
    keys = [row_key(i, c) for i, c in zip(ids, contents, strict=True)]
    assert store.database.read(table.name).column("key").to_pylist() == keys
    wanted = asked(("c", contents[2]), ("c", contents[0]), ("a", contents[0]), ("b", None), ("a", contents[0]))
    found, missing = read_vectors(store.database, table, wanted)
    assert found.tolist() == [[106, 107, 108], [0, 1, 2], [0, 1, 2]]
    assert missing.tolist() == [1, 3]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [40, 3])
def test_any_choice_of_rows_of_many_pieces_is_that_of_numpy(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, dtype: str, count: int
) -> None:
    """Batches, windows, pieces and deleted rows overlap; a few rows are picked, many are read through."""
    monkeypatch.setattr("histokit.store.vector_rows._BATCH_BYTES", 40)
    monkeypatch.setattr("histokit.store.vector_rows._WINDOW_BYTES", 110)
    table = store.create_feature_table("d", {**SPEC, "store_dtype": dtype}, 3, {})
    matrix = np.arange(180, dtype=np.float32).reshape(60, 3)
    ids, contents = [f"s{i}" for i in range(60)], [bytes([i]) * 16 for i in range(60)]
    for start in range(0, 60, 17):
        here = slice(start, start + 17)
        old = [b"o" + content[1:] for content in contents[here]]
        insert_vectors(store.database, table, ids[here], old, matrix[here] + 1_000)
        insert_vectors(store.database, table, ids[here], contents[here], matrix[here])
    listed = ", ".join(f"X'{row_key(ids[i], b'o' + contents[i][1:]).hex()}'" for i in (3, 20, 21, 59))
    store.database.delete(table.name, f"key IN ({listed})")
    assert store.database.count(table.name) == 116
    for rows in (np.random.default_rng(0).permutation(60)[:count], np.arange(60)[-count:], np.arange(count)):
        found, missing = read_vectors(store.database, table, asked(*((ids[i], contents[i]) for i in rows)))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, matrix[rows])
        assert len(missing) == 0


def test_half_precision_halves_the_numbers_and_refuses_what_it_cannot_hold(store: FeatureStore) -> None:
    spec = {**SPEC, "store_dtype": "float16"}
    table = store.create_feature_table("d", spec, 2, {})
    assert table.fingerprint != spec_fingerprint(SPEC)
    assert store.database.schema(table.name).field("vector").type == pa.list_(pa.float16(), 2)
    matrix = np.array([[0.1, -65_504], [1, 65_520], [2, np.nan]], np.float32)
    assert finite_rows(stored_as(matrix, "float16")).tolist() == [True, False, False]
    assert finite_rows(stored_as(matrix, "float32")).tolist() == [True, True, False]
    insert_vectors(store.database, table, ["a"], [b"1" * 16], matrix[:1])
    found, _ = read_vectors(store.database, table, asked(("a", b"1" * 16)))
    assert found.dtype == np.float32
    assert found.tolist() == [[float(np.float16(0.1)), -65_504.0]]
    with pytest.raises(DataError, match="net/l gave 65520 for the sample 'b', which float16 cannot hold"):
        insert_vectors(store.database, table, ["b"], [b"2" * 16], matrix[1:2])
    assert rows_of(store) == 1
    with pytest.raises(UsageError, match="stored as 'float8'"):
        store.create_feature_table("d", {**SPEC, "store_dtype": "float8"}, 2, {})


def test_a_list_of_features_says_what_is_stored_in_half_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, X = make_samples(n=5)
    store = make_store(tmp_path / "s", samples, {"last": X})
    words = ["list", "features", "--store", str(store.uri)]
    assert cli.run(words) == 0
    assert "float" not in capsys.readouterr().out
    make_store(tmp_path / "s", samples, {"last": X}, spec={"store_dtype": "float16"})
    assert cli.run(words) == 0
    out = capsys.readouterr().out
    assert out.count("float32") == out.count("float16") == 1
    assert cli.run([*words, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["features"]
    assert sorted(table["dtype"] for table in listed) == ["float16", "float32"]


def test_check_numbers_are_those_of_their_formula() -> None:
    def split_mix(state: int) -> int:
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return (z ^ z >> 31) | 1

    factors = [split_mix(i * 0x9E3779B97F4A7C15 % 2**64) for i in (1, 2, 3)]
    for dtype, words in ((np.float32, [0x3F800000, 0x80000000, 0x40490FDB]), (np.float16, [0x3C00, 0x8000, 0x4248])):
        row = np.array(words, f"u{np.dtype(dtype).itemsize}").view(dtype)
        expected = sum(w * f for w, f in zip(words, factors, strict=True)) % 2**64
        assert row_checks(row.reshape(1, 3)).tolist() == [expected]


def test_tables_without_check_numbers_are_still_read_and_filled(store: FeatureStore) -> None:
    table = store.create_feature_table("d", SPEC, 2, {})
    schema = store.database.schema(table.name)
    store.database.drop(table.name)
    store.database.create(table.name, schema.remove(schema.get_field_index("check")))
    (old,) = store.feature_tables("d")
    assert (table.checked, old.checked) == (True, False)
    assert insert_vectors(store.database, old, ["a"], [b"1" * 16], np.ones((1, 2), np.float32)) == 1
    found, _ = read_vectors(store.database, old, asked(("a", b"1" * 16)))
    assert found.tolist() == [[1, 1]]


def test_nan_is_refused_by_layer_and_sample(store: FeatureStore) -> None:
    table = store.create_feature_table("d", SPEC, 2, {})
    with pytest.raises(DataError, match="net/l gave NaN or infinity for the sample 'b'"):
        insert_vectors(store.database, table, ["a", "b"], [b"1" * 16, b"2" * 16], np.array([[1, 2], [3, np.inf]]))
    assert rows_of(store) == 0


def test_a_table_that_is_just_being_made_is_not_there_yet(store: FeatureStore) -> None:
    a_dataset(store)
    (store.uri / "features.d.half.lance" / "_versions").mkdir(parents=True)
    assert store.feature_tables("d") == []


def test_another_width_is_refused(store: FeatureStore) -> None:
    store.create_feature_table("d", SPEC, 2, {})
    with pytest.raises(StoreError, match="vectors of 2 numbers; the network gave 3"):
        store.create_feature_table("d", SPEC, 3, {})


def test_tables_describe_themselves(store: FeatureStore) -> None:
    store.create_feature_table("d", SPEC, 2, {"index": 4})
    schema = store.database.schema(store.feature_tables("d")[0].name)
    header = json.loads(schema.metadata[b"histokit.features"])
    assert len(header.pop("histokit.check")) == 32
    assert header == {"dataset": "d", "spec": SPEC, "info": {"index": 4}, "width": 2}
    assert not schema.field("key").nullable
    assert schema.field("key").metadata[b"lance-schema:unenforced-primary-key"] == b"true"


def test_newer_format_is_refused(store: FeatureStore) -> None:
    rows = pa.table({"id": ["a"]}).replace_schema_metadata({FORMAT_KEY: b"999"})
    store.database.overwrite("samples.new", rows)
    with pytest.raises(StoreError, match="has format 999") as caught:
        store.database.read("samples.new")
    assert caught.value.next == "Update histokit."


def test_damaged_table_is_a_clear_error(store: FeatureStore) -> None:
    a_dataset(store)
    for file in (store.uri / "samples.d.lance" / "_versions").iterdir():
        file.write_bytes(b"rubbish")
    with pytest.raises(StoreError, match=r"samples\.d.* cannot be read") as caught:
        store.samples("d")
    assert "store verify" in caught.value.next


def test_fingerprint_follows_the_spec_only() -> None:
    assert spec_fingerprint(SPEC) == spec_fingerprint(dict(reversed(SPEC.items())))
    assert spec_fingerprint(SPEC) != spec_fingerprint({**SPEC, "weights": "random:1"})


def test_differences_are_shown_field_by_field() -> None:
    other = {**SPEC, "preprocess": {"size": 299, "resize": "squash"}}
    assert list(spec_differences(SPEC, other)) == ["preprocess.resize: default → squash", "preprocess.size: 64 → 299"]


def test_content_depends_on_files_part_box_and_pixel_key() -> None:
    base = content_digest([b"f"], None, None, b"")
    assert base == content_digest([b"f"], None, None, b"")
    others = {
        content_digest([b"g"], None, None, b""),
        content_digest([b"f", b"f"], None, None, b""),
        content_digest([b"f"], "page1", None, b""),
        content_digest([b"f"], None, (0, 0, 1, 1), b""),
        content_digest([b"f"], None, None, b"", 0.5),
        content_digest([b"f"], None, None, b"k"),
    }
    assert len(others | {base}) == 7
    # Equal numbers that are written differently, whichever is asked for first.
    for mpp, text in ((1, "1"), (1.0, "1.0"), (0.5, "0.5"), (1, "1")):
        piece = digest_bytes(f"[null,null,{text}]".encode())
        assert content_digest([b"f"], None, None, b"", mpp) == digest_bytes(b"content", piece, b"", b"f")


def test_table_names_hold_only_what_lancedb_allows() -> None:
    name = table_name("d", "timm:hf-hub:MahmoodLab/uni,a=1", "blocks.3:cls-mean" * 20, "0123456789ab")
    assert len(name) == 120
    assert name.startswith("features.d.timm_hf-hub_MahmoodLab_uni_a_1_blocks.3_cls-mean")
    assert name.endswith(".0123456789ab")


def test_what_was_asked_and_what_was_found_are_both_parameters_for_people() -> None:
    run, _ = a_run("abcd1234")
    run = replace(run, parameters={"seed": 3}, found={"final": {"C": 1.0}})
    assert run.parameters == run.to_json()["parameters"] == {"seed": 3, "final": {"C": 1.0}}
    assert (run.asked, run.found) == ({"seed": 3}, {"final": {"C": 1.0}})
    stored = run.stored()
    assert (stored["parameters"], stored["found"]) == (run.asked, run.found)
    assert RunRecord.from_json(stored) == replace(run, seconds=run.seconds) == run
    # As versions before stored it.
    assert RunRecord.from_json({**run.to_json()}) == run


_INSERT = """
import sys
import numpy as np
from histokit.store import Store
from histokit.store.vector_writes import VectorInserter
store = Store(sys.argv[1])
spec = {"backbone": "net", "layer": "l"}
table = store.create_feature_table("d", spec, 4, {})
print(flush=True)
sys.stdin.read()
for start in range(0, 200, 20):
    ids = [f"s{i}" for i in range(start, start + 40)]
    rows = VectorInserter(store.database, table, ids, [i.encode().ljust(16) for i in ids])
    rows.insert(ids, np.ones((40, 4), dtype=np.float32))
"""


def test_two_processes_lose_and_double_no_row(tmp_path: Path) -> None:
    processes = started_together([[sys.executable, "-c", _INSERT, str(tmp_path / "s")]] * 2)
    assert [p.wait(timeout=120) for p in processes] == [0, 0]
    store = Store(tmp_path / "s")
    ids = store.database.read(store.feature_tables("d")[0].name, ["id"]).column("id").to_pylist()
    assert sorted(ids) == sorted(f"s{i}" for i in range(220))


def test_a_damaged_table_is_not_taken_for_a_wrong_filter(store: FeatureStore) -> None:
    row = {"dataset": "d", "id": "a", "content": None, "stage": "extract", "reason": "r"}
    store.replace_problems("d", "extract", pa.Table.from_pylist([row], schema=PROBLEM_SCHEMA))
    for file in (store.uri / "problems.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"'problems' .* cannot be read"):
        store.problems("d")


def test_problems_that_two_processes_find_at_once_are_there_once_and_at_any_time(store: FeatureStore) -> None:
    row = {"dataset": "d", "id": "a", "content": None, "stage": "extract", "reason": "r"}
    found = pa.Table.from_pylist([row], schema=PROBLEM_SCHEMA)
    store.replace_problems("d", "extract", found, ["a"])
    before = store.database.table("problems").version
    store.replace_problems("d", "extract", found, ["a"])
    assert store.database.table("problems").version == before
    # Without locks, neither of two may have seen that of the other.
    store.database.append("problems", store.database.read("problems"))
    assert store.problems("d").to_pylist() == [row]
    store.replace_problems("d", "extract", found, ["a"])
    assert store.database.count("problems") == 1


def test_predictions_of_an_earlier_version_are_read_wherever_they_stand(store: FeatureStore) -> None:
    """Without digests nothing tells whether rows that stand together are all that there are."""
    for run_id in ("aaaa1234", "bbbb1234"):
        store.save_run(*made.a_run(run_id), None)
    rows = store.database.read("predictions")
    store.database.overwrite("predictions", rows.take([0, 1, 3, 4, 5, 2]))
    runs = [replace(run, digests={}) for run in store.runs()]
    found = {run.id: rows for run, rows in store.predictions_one_by_one(runs) if isinstance(rows, pa.Table)}
    assert {run_id: rows["id"].to_pylist() for run_id, rows in found.items()} == {
        "aaaa1234": ["s0", "s1", "s2"],
        "bbbb1234": ["s0", "s1", "s2"],
    }
