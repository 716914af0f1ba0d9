from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import lance
import numpy as np
import pyarrow as pa
import pytest

import histokit
from histokit import cli
from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.plugin.digests import digest_bytes
from histokit.store import Split
from histokit.store.care import collect_garbage
from histokit.store.database import FORMAT_KEY
from histokit.store.findings import Finding, Verification
from histokit.store.fingerprints import row_key
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.removal import remove
from histokit.store.repair import repair
from histokit.store.split_records import split_rows
from histokit.store.unfinished import Unfinished
from histokit.store.vector_rows import row_checks
from histokit.store.vectors import HEADER_KEY
from histokit.store.verify import verify
from tests.evaluate.made_up import save_run
from tests.evaluate.made_up_numbers import save_numbers
from tests.store.made import a_run, count_opened
from tests.toy import insert_vectors, make_samples, make_store

TABLE_COLUMNS = ("key", "id", "content", "vector")


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """A whole store: a dataset of 60 samples, two layers, a split, a run with predictions and model."""
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"first": X[:, :4], "last": X})
    store.save_split(Split("toy", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    store.save_run(*a_run("abcd1234", 1), b"model")
    return store


def table_of(store: FeatureStore, layer: str = "last") -> str:
    (name,) = (t.name for t in store.feature_tables("toy") if t.layer == layer)
    return name


def path_of(store: FeatureStore, name: str) -> Path:
    return store.uri / f"{name}.lance"


def only(store: FeatureStore) -> Finding:
    (finding,) = verify(store).findings
    return finding


def rewrite(store: FeatureStore, name: str, rows: pa.Table) -> None:
    """Replace the rows of a table, past all checks of histokit."""
    lance.write_dataset(rows, str(path_of(store, name)), mode="overwrite")


def test_a_whole_store_is_ok(toy: FeatureStore) -> None:
    found = verify(toy)
    assert (found.ok, found.findings) == (True, ())
    # datasets 1, files 0, samples 60, two layers of 60, splits 1, its rows 2, runs, predictions and models 1 each
    assert (found.tables, found.rows) == (10, 1 + 60 + 120 + 1 + 2 + 3)


def test_no_store_is_an_error(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="no store"):
        verify(store)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_data_file(toy: FeatureStore, kept: float) -> None:
    name = table_of(toy)
    (file,) = (path_of(toy, name) / "data").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    finding = only(toy)
    assert (finding.table, finding.kind) == (name, "unreadable")
    assert ".rs:" not in finding.what
    assert "histokit extract toy --backbone net --layers last" in finding.next


def test_a_lost_data_file(toy: FeatureStore) -> None:
    (file,) = (path_of(toy, "samples.toy") / "data").iterdir()
    file.unlink()
    finding = only(toy)
    assert (finding.table, finding.kind) == ("samples.toy", "unreadable")
    assert "--name toy" in finding.next


def test_a_broken_manifest(toy: FeatureStore) -> None:
    name = table_of(toy)
    for file in (path_of(toy, name) / "_versions").iterdir():
        file.write_bytes(b"rubbish")
    assert (only(toy).table, only(toy).kind) == (name, "unreadable")


def test_a_newer_format(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    rewrite(toy, name, rows.replace_schema_metadata({**rows.schema.metadata, FORMAT_KEY: b"999"}))
    assert "format 999" in only(toy).what


def test_a_wrong_width(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(60 * 3, np.float32)), 3)
    rewrite(toy, name, rows.set_column(3, pa.field("vector", narrow.type), narrow))
    finding = only(toy)
    assert (finding.table, finding.kind) == (name, "schema")
    assert finding.what == "its vectors have 3 numbers; its header says 8"


def test_columns_that_are_not_those_of_features(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    ragged = pa.array([[1.0]] * 60, pa.list_(pa.float32()))
    rewrite(toy, name, rows.set_column(3, "vector", ragged).drop_columns(["key"]))
    kinds = [(f.table, f.kind) for f in verify(toy).findings]
    assert kinds == [(name, "schema"), (name, "schema")]
    with pytest.raises(StoreError, match="not those of a feature table"):
        toy.feature_tables()


def test_another_width_than_the_same_spec_elsewhere(toy: FeatureStore) -> None:
    samples, X = make_samples(n=3)
    make_store(toy.uri, samples, {"last": X[:, :5]}, name="other")
    (finding,) = (f for f in verify(toy).findings)
    assert "have 8 numbers" in finding.what or "have 5 numbers" in finding.what


def test_a_table_under_another_name(toy: FeatureStore) -> None:
    name = table_of(toy)
    path_of(toy, name).rename(path_of(toy, name + "copy"))
    lost, finding = verify(toy).findings
    assert (lost.table, lost.kind) == (name, "lost")
    assert finding.kind == "schema"
    assert f"it is the table {name!r}" in finding.what


def test_doubled_keys(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    lance.write_dataset(rows.slice(7, 2), str(path_of(toy, name)), mode="append")
    finding = only(toy)
    assert (finding.kind, finding.what) == ("doubled", "2 samples are there more than once: 's7', 's8'")


def test_keys_that_are_not_of_id_and_content(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    keys = rows.column("key").to_pylist()
    keys[4] = b"0123456789abcdef"
    rewrite(toy, name, rows.set_column(0, rows.schema.field("key"), pa.array(keys, pa.binary())))
    found = {f.kind: f.what for f in verify(toy).findings}
    assert found["key"].endswith("not of its id and content: 's4'")
    assert "1 of 60 samples has no vector" in found["incomplete"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite(toy: FeatureStore, bad: float) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    matrix = np.ones((60, 8), np.float32)
    matrix[5, 3] = bad
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=rows.schema.field("vector").type)
    rows = rows.set_column(3, rows.schema.field("vector"), vectors)
    rewrite(toy, name, rows.set_column(4, rows.schema.field("check"), pa.array(row_checks(matrix))))
    assert (only(toy).kind, only(toy).what) == ("vector", "1 vector holds NaN or infinity: 's5'")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_flipped_bit_of_a_vector(tmp_path: Path, dtype: str) -> None:
    samples, X = make_samples()
    store = make_store(tmp_path / "half", samples, {"last": X}, spec={"store_dtype": dtype})
    assert verify(store).ok
    name = table_of(store)
    (file,) = (path_of(store, name) / "data").iterdir()
    content = bytearray(file.read_bytes())
    place = content.index(X[5].astype(dtype).tobytes()) + 9
    for bit in (0, 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        file.write_bytes(damaged)
        finding = only(store)
        assert (finding.table, finding.kind) == (name, "changed")
        assert finding.what == "1 vector is not the one that was written: 's5'"
        assert "histokit extract toy --backbone net --layers last" in finding.next
    file.write_bytes(content)
    assert verify(store).ok


def test_runs_of_classes_beside_one_of_numbers_are_whole(toy: FeatureStore) -> None:
    save_numbers(toy, [(0, "s0", 1.5, 1.0, None), (0, "s1", 2.5, 2.0, None)])
    toy.save_run(*a_run("ffff0000"), b"model")
    assert not [finding for finding in verify(toy).findings if finding.table == "predictions"]


def test_numbers_that_are_not_stored_as_the_header_says(toy: FeatureStore) -> None:
    name = table_of(toy)
    rows = toy.database.read(name)
    half = rows.column("vector").combine_chunks().cast(pa.list_(pa.float16(), 8))
    rewrite(toy, name, rows.set_column(3, "vector", half))
    assert [f.kind for f in verify(toy).findings] == ["schema"]
    assert "instead of a list of float32" in only(toy).what


def test_a_lost_row_of_features(toy: FeatureStore) -> None:
    name = table_of(toy)
    toy.database.delete(name, "id = 's9'")
    finding = only(toy)
    assert (finding.table, finding.kind) == (name, "incomplete")
    assert "1 of 60 samples has no vector" in finding.what
    assert "histokit extract toy --backbone net --layers last" in finding.next


def test_an_extraction_that_has_not_ended_is_no_damage(toy: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    toy.database.delete(table_of(toy), "id IN ('s8', 's9')")
    command = ["store", "verify", "--store", str(toy.uri)]
    assert cli.run(command) == 0
    told = capsys.readouterr()
    assert "2 of 60 samples have no vector" in told.out
    assert told.err.endswith("; 1 feature table is incomplete: nothing is damaged\n")
    assert cli.run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], [each["kind"] for each in document["findings"]]) == (True, ["incomplete"])
    shutil.rmtree(path_of(toy, "samples.toy"))
    assert cli.run(command) == 5
    assert "wrong" in capsys.readouterr().err


def test_samples_that_are_known_to_be_bad_are_not_missing(toy: FeatureStore) -> None:
    name = table_of(toy)
    toy.database.delete(name, "id IN ('s9', 's10')")
    for sample_id, stage in (("s9", "extract"), ("s10", name)):
        row = {"dataset": "toy", "id": sample_id, "content": digest_bytes(sample_id.encode())}
        row |= {"stage": stage, "reason": "x"}
        toy.replace_problems("toy", stage, pa.Table.from_pylist([row], schema=PROBLEM_SCHEMA))
    assert verify(toy).findings == ()


def test_rows_of_replaced_images_are_no_finding(toy: FeatureStore) -> None:
    name = table_of(toy)
    row = toy.database.read(name).slice(0, 1)
    old = b"x" * 16
    stale = row.set_column(0, row.schema.field("key"), pa.array([row_key("s0", old)], pa.binary()))
    stale = stale.set_column(2, row.schema.field("content"), pa.array([old], pa.binary(16)))
    lance.write_dataset(stale, str(path_of(toy, name)), mode="append")
    assert verify(toy).ok


def kept_by_an_earlier_version(toy: FeatureStore) -> None:
    """Let the dataset's record name neither versions nor digests, as before there were any."""
    record = replace(toy.dataset("toy"), versions={}, digests={}, published=None)
    text = json.dumps(record.stored())
    toy.database.replace("datasets", pa.table({"name": ["toy"], "document": [text]}), "name")


def test_a_lost_sample(toy: FeatureStore) -> None:
    kept_by_an_earlier_version(toy)
    toy.database.delete("samples.toy", "id = 's9'")
    finding = only(toy)
    assert (finding.table, finding.kind) == ("samples.toy", "samples")
    assert finding.what == "the dataset 'toy' has 59 samples; 60 were ingested"


def test_a_doubled_sample(toy: FeatureStore) -> None:
    kept_by_an_earlier_version(toy)
    rows = toy.samples("toy").slice(0, 1)
    lance.write_dataset(rows, str(path_of(toy, "samples.toy")), mode="append")
    assert {f.kind for f in verify(toy).findings} == {"doubled", "samples"}


def test_samples_that_are_not_there(toy: FeatureStore) -> None:
    toy.database.drop("samples.toy")
    finding = only(toy)
    assert "has no table of samples; 60 were ingested" in finding.what


def test_features_of_a_dataset_that_is_not_there(toy: FeatureStore) -> None:
    toy.database.delete("datasets", "name = 'toy'")
    found = [(f.table, f.kind) for f in verify(toy).findings]
    expected = {table_of(toy), table_of(toy, "first"), "samples.toy", "files.toy", "splits.toy", "runs"}
    assert set(found) == {(name, "orphan") for name in expected}


def test_a_foreign_table(toy: FeatureStore) -> None:
    lance.write_dataset(pa.table({"x": [1]}), str(toy.uri / "mine.lance"))
    finding = only(toy)
    assert (finding.table, finding.kind) == ("mine", "foreign")


def test_a_foreign_table_that_is_called_like_features(toy: FeatureStore) -> None:
    rows = pa.table({"x": [1]}).replace_schema_metadata({FORMAT_KEY: b"1", HEADER_KEY: b"{}"})
    lance.write_dataset(rows, str(toy.uri / "features.toy.mine.lance"))
    assert (only(toy).table, only(toy).kind) == ("features.toy.mine", "schema")


def test_a_file_where_a_table_should_be(toy: FeatureStore) -> None:
    (toy.uri / "problems.lance").write_text("")
    assert only(toy).table == "problems"


def test_a_table_whose_manifests_are_lost(toy: FeatureStore) -> None:
    name = table_of(toy)
    shutil.rmtree(path_of(toy, name) / "_versions")
    assert (only(toy).table, only(toy).kind) == (name, "lost")


def test_a_table_that_is_just_being_made_is_no_finding(toy: FeatureStore) -> None:
    (toy.uri / "features.toy.new.lance" / "_transactions").mkdir(parents=True)
    assert verify(toy).ok


def test_runs_without_predictions_or_model(toy: FeatureStore) -> None:
    toy.save_run(*a_run("ffff0000"), None)
    toy.database.delete("predictions", f"run = '{toy.run('abcd1234').key}'")
    found = {f.table: f.what for f in verify(toy).findings}
    assert found == {
        "predictions": "the run abcd1234 has no predictions",
        "models": "The run ffff0000 has no model.",
    }


@pytest.mark.parametrize("care", [verify, repair])
def test_predictions_and_models_of_many_runs_are_read_once_for_all(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, care: Callable[[FeatureStore], Verification]
) -> None:
    for number in range(40):
        toy.save_run(*a_run(f"{number:08}"), b"model")
    toy.database.delete("predictions", f"run = '{toy.run('00000007').key}'")
    toy.database.delete("models", f"run = '{toy.run('00000033').key}'")
    opened = count_opened(monkeypatch)
    found = [f.what for f in care(toy).findings if f.kind != "aside"]
    assert found == ["the run 00000007 has no predictions", "The run 00000033 has no model."]
    assert max(opened["predictions"], opened["models"]) < 15


def test_predictions_of_a_run_that_do_not_stand_together_are_checked_whole(toy: FeatureStore) -> None:
    toy.save_run(*a_run("ffff0000"), b"model")
    toy.save_run(*a_run("ffff1111"), b"model")
    rows = toy.database.read("predictions")
    # The first run has one row, the others have three.
    rewrite(toy, "predictions", rows.take([0, 4, 1, 5, 2, 6, 3]))
    toy.database.accept()
    assert verify(toy).ok
    rewrite(toy, "predictions", rows.take([1, 0, 4, 2, 5, 6]))
    toy.database.accept()
    assert [f.what.partition(":")[0] for f in verify(toy).findings] == [
        "The predictions of the run ffff0000 are damaged"
    ]


def test_splits_of_a_dataset_are_read_once_for_all(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(24):
        rows = [(0, 0, f"s{i}", "test" if i == number else "train") for i in range(30)]
        toy.save_split(Split("toy", f"t{number:02}", split_rows(rows)))
    toy.database.delete("splits.toy", "split = 't07' AND id = 's3'")
    toy.database.delete("splits.toy", "split = 't11'")
    opened = count_opened(monkeypatch)
    found = [f.what for f in verify(toy).findings]
    assert ["'t07'" in found[0], "'t11'" in found[1], len(found)] == [True, True, 2]
    assert opened["splits.toy"] < 8
    opened.clear()
    assert cli.run(["list", "splits", "--json", "--store", str(toy.uri)]) == 5
    listed = json.loads(capsys.readouterr().out)["error"]["details"]["splits"]
    there = [f"t{number:02}" for number in range(24) if number not in (7, 11)]
    assert [split["name"] for split in listed] == ["s", *there]
    assert opened["splits.toy"] < 8


def test_splits_whose_rows_do_not_stand_together_are_read_whole(toy: FeatureStore) -> None:
    toy.save_split(Split("toy", "t", split_rows([(0, 0, "s0", "test"), (0, 0, "s1", "train"), (0, 0, "s2", "train")])))
    rows = toy.database.read("splits.toy")
    before = [(split.name, split.digest) for split in toy.splits("toy")]
    # The first one has two rows, the other one three; an earlier version wrote one twice.
    for order in ([0, 2, 1, 3, 4], [2, 3, 4, 0, 1, 2, 3, 4]):
        rewrite(toy, "splits.toy", rows.take(order))
        toy.database.accept()
        assert [(split.name, split.digest) for split in toy.splits("toy")] == before
        assert verify(toy).ok


def test_a_prediction_needs_no_model(toy: FeatureStore) -> None:
    run, predictions = a_run("ffff0000")
    toy.save_run(replace(run, kind="predict"), predictions, None)
    assert verify(toy).ok


def test_rows_of_a_split_that_are_not_its_own(toy: FeatureStore) -> None:
    toy.database.delete("splits.toy", "id = 's1'")
    finding = only(toy)
    assert (finding.table, finding.kind) == ("splits.toy", "split")


def test_rows_of_a_split_that_came_with_the_data(tmp_path: Path, images: Path, store: FeatureStore) -> None:
    for patient, part in (("p1", "train"), ("p2", "test")):
        shutil.copytree(images / patient, tmp_path / "parts" / part / patient)
    options = {"pattern": "{split}/{patient}/{label}/*.png"}
    histokit.ingest(store, "folder", tmp_path / "parts", name="d", options=options)
    assert verify(store).ok
    store.database.delete("splits.d", "role = 'test'")
    finding = only(store)
    assert (finding.table, finding.kind) == ("splits.d", "split")
    assert "Make it again: histokit ingest folder" in finding.next


def test_samples_that_each_repeat_tests_are_there_once(toy: FeatureStore) -> None:
    rows = [(0, f"s{i}", "ab"[i % 2], 1.0, "P0") for i in range(4)]
    save_run(toy, rows, repeats=(rows,))
    toy.save_split(Split("toy", "d", split_rows([(0, 0, "s0", "test"), (0, 0, "s1", "train")])))
    assert not [finding for finding in verify(toy).findings if finding.table == "predictions"]


def test_a_record_that_cannot_be_read(toy: FeatureStore) -> None:
    row = pa.table({"id": ["x"], "dataset": ["toy"], "document": ["{"]})
    toy.database.append("runs", row)
    assert (only(toy).table, only(toy).kind) == ("runs", "document")


def test_findings_are_a_table_and_exit_code_5(toy: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["store", "verify", "--store", str(toy.uri)]) == 0
    assert capsys.readouterr().out == ""
    kept_by_an_earlier_version(toy)
    toy.database.delete("samples.toy", "id = 's9'")
    assert cli.run(["store", "verify", "--store", str(toy.uri)]) == 5
    out = capsys.readouterr().out
    assert "samples.toy" in out
    assert "histokit ingest toy / --name toy" in out
    assert cli.run(["store", "verify", "--store", str(toy.uri), "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert [f["kind"] for f in document["findings"]] == ["samples"]


def test_what_killed_processes_left_and_no_record_names_goes(toy: FeatureStore) -> None:
    Unfinished(toy.database).save("abcd1234", "a", {"x": 1})
    Unfinished(toy.database).save("running", "a", {"x": 1})
    rows = toy.predictions("abcd1234")
    left = pa.array(["ffff0000.12345678"] * len(rows), pa.string())
    toy.database.append("predictions", rows.set_column(0, "run", left))
    for dry_run in (True, False):
        found = {care.table: care.rows for care in collect_garbage(toy, older_than=0, dry_run=dry_run)}
        assert (found["predictions"], found["unfinished"]) == (len(rows), 1)
    assert toy.database.count("predictions") == len(rows)
    assert Unfinished(toy.database).read("running") == {"a": {"x": 1}}
    assert toy.predictions("abcd1234").equals(rows)


def test_a_folder_without_manifests_whose_name_begins_others(toy: FeatureStore) -> None:
    data = toy.uri / "sample.lance" / "data"
    data.mkdir(parents=True)
    (data / "x.lance").write_bytes(b"rows")
    assert (only(toy).table, only(toy).kind) == ("sample", "unreadable")


@pytest.mark.parametrize("care", [verify, repair])
@pytest.mark.parametrize("at", ["splits", "predictions", "samples.toy", "last"])
@pytest.mark.parametrize("what", ["train", "ingest", "remove"])
def test_what_others_write_meanwhile_is_no_damage(
    toy: FeatureStore, care: Callable[..., Verification], at: str, what: str
) -> None:
    other, name, done = FeatureStore(toy.uri), table_of(toy) if at == "last" else at, []

    def write() -> None:
        if what == "train":
            other.save_run(*a_run("abcd1234", 1), b"model", again=True)
        elif what == "ingest":
            rows, files = (other.ingested(other.dataset("toy"), kind).read() for kind in ("samples", "files"))
            other.save_dataset(replace(other.dataset("toy"), name="new"), rows, files)
        else:
            remove(other, ["toy"])

    def progress(_: int, __: int, table: str) -> None:
        if table == name and not done:
            done.append(name)
            write()

    found = care(toy, progress)
    assert done
    # The features of a dataset that is removed stay until their garbage is collected.
    assert [(f.kind, f.table) for f in found.findings] == [
        ("orphan", table_of(toy, layer)) for layer in ("first", "last") if what == "remove"
    ]
    assert not (toy.uri / "damaged").exists()


def test_samples_that_had_no_vector_when_vectors_were_imported_are_not_missing(toy: FeatureStore) -> None:
    table = toy.create_feature_table("toy", {"backbone": "other", "layer": "l"}, 2, {"missing": 2})
    ids = toy.samples("toy", ["id"]).column("id").to_pylist()[:58]
    insert_vectors(toy.database, table, ids, [digest_bytes(i.encode()) for i in ids], np.ones((58, 2), np.float32))
    assert verify(toy).findings == ()
    toy.database.delete(table.name, "id = 's3'")
    assert "3 of 60 samples have no vector" in only(toy).what


def test_other_numbers_of_filters_than_of_columns(toy: FeatureStore) -> None:
    table = toy.create_feature_table("toy", {"backbone": "other", "layer": "l"}, 2, {"columns": ["a", "b", "c"]})
    found = [finding for finding in verify(toy).findings if finding.kind == "schema"]
    assert [(each.table, each.what) for each in found] == [
        (table.name, "its vectors have 2 numbers; its header names 3 filters")
    ]


@pytest.mark.parametrize("changed", [False, True])
def test_models_of_an_earlier_version_are_archives_that_hold_digests_of_their_own(
    toy: FeatureStore, changed: bool
) -> None:
    archive = BytesIO()
    with ZipFile(archive, "w") as file:
        file.writestr("schema.json", "what a model is made of")
    data = archive.getvalue().replace(b"a model", b"no model" if changed else b"a model")
    toy.save_run(*a_run("abcd1234", 1), data, again=True)
    text = json.dumps(replace(toy.run("abcd1234"), model_digest=None).stored())
    row = pa.table({"id": ["abcd1234"], "dataset": ["toy"], "document": [text]})
    toy.database.replace("runs", row, "id")
    assert [(finding.table, finding.kind) for finding in verify(toy).findings] == [("models", "changed")] * changed
