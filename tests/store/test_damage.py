"""What is lost or changed on disk is noticed where a result hangs on it, and can be put aside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from histokit import cli
from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.store import SelectionRecord, Split, Store
from histokit.store.additions import DAMAGED
from histokit.store.change_digests import sealed, unsealed
from histokit.store.commits import LEDGER
from histokit.store.records import FILE_SCHEMA, PROBLEM_SCHEMA
from histokit.store.repair import repair
from histokit.store.split_records import split_rows
from histokit.store.verify import verify
from tests.evaluate.made_up_numbers import save_numbers
from tests.store.made import a_run
from tests.toy import make_samples, make_store

READS = {
    "datasets": lambda s: s.datasets(),
    "samples.toy": lambda s: s.samples("toy", ["id", "label"]),
    "files.toy": lambda s: s.files("toy"),
    "splits": lambda s: s.split("toy", "s"),
    "splits.toy": lambda s: s.split("toy", "s"),
    "problems": lambda s: s.problems("toy"),
    "selections": lambda s: s.selections(),
    "runs": lambda s: s.runs(),
    "predictions": lambda s: s.predictions("abcd1234"),
    "models": lambda s: s.model("abcd1234"),
}


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """A store with something in every table."""
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"last": X})
    files = {"path": [f"{i}.png" for i in range(9)], "size": [9] * 9, "mtime_ns": [1] * 9, "digest": [b"d" * 16] * 9}
    table = pa.table([pa.array(files.get(f.name, [None] * 9), f.type) for f in FILE_SCHEMA], schema=FILE_SCHEMA)
    store.save_dataset(store.dataset("toy"), store.samples("toy"), table)
    store.save_split(Split("toy", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    problem = {"dataset": "toy", "id": "s0", "content": b"c" * 16, "stage": "extract", "reason": "broken"}
    store.replace_problems("toy", "extract", pa.Table.from_pylist([problem], schema=PROBLEM_SCHEMA))
    parts: tuple[Any, ...] = ("rfe", {}, [], {"columns": [1]}, [], [], [], 1.0, "2020")
    store.save_selection(SelectionRecord("cccc1234", "toy", "net/last", "s", "00", *parts))
    store.save_run(*a_run("abcd1234"), b"model")
    return store


def newest(folder: Path) -> Path:
    # Names of manifests count down.
    return min((folder / "_versions").glob("*.manifest"))


@pytest.mark.parametrize("name", READS)
def test_a_table_that_is_gone_is_no_empty_one(toy: FeatureStore, name: str) -> None:
    shutil.rmtree(toy.uri / f"{name}.lance")
    with pytest.raises(StoreError, match=f"The table '{name}' .* is gone"):
        READS[name](Store(toy.uri))
    assert next((f.table, f.kind) for f in verify(Store(toy.uri)).findings) == (name, "lost")


@pytest.mark.parametrize("name", [n for n in READS if n not in ("samples.toy", "files.toy")])
def test_a_table_without_its_newest_version_is_no_earlier_one(toy: FeatureStore, name: str) -> None:
    for hint in (toy.uri / f"{name}.lance" / "_versions").glob("*.json"):
        hint.unlink()
    newest(toy.uri / f"{name}.lance").unlink()
    with pytest.raises(StoreError, match=r"went back to version|cannot be read|is gone"):
        READS[name](Store(toy.uri))
    assert name in {f.table for f in verify(Store(toy.uri)).findings}


def test_a_damaged_list_of_tables_is_told_and_written_anew(toy: FeatureStore) -> None:
    path = toy.uri / LEDGER
    path.write_text(path.read_text().replace('"runs": [2', '"runs": [1'))
    with pytest.raises(StoreError, match=r"list of tables .* is damaged") as caught:
        Store(toy.uri).runs()
    assert "histokit store repair" in str(caught.value.next)
    assert [f.table for f in verify(Store(toy.uri)).findings] == ["(list of tables)"]
    repair(Store(toy.uri))
    assert verify(Store(toy.uri)).ok
    assert [run.id for run in Store(toy.uri).runs()] == ["abcd1234"]


@pytest.mark.parametrize(
    ("lost", "listed", "there"),
    [
        ("splits", ("splits", "toy"), ["given"]),
        ("splits.toy", ("splits", "toy"), []),
        ("splits", ("splits",), ["given"]),
        ("datasets", ("runs",), ["abcd1234", "bbbb1234"]),
        ("predictions", ("runs", "toy"), ["abcd1234", "bbbb1234"]),
        ("samples.toy", ("datasets",), ["toy"]),
    ],
)
def test_a_list_of_what_is_lost_is_no_list_of_nothing(
    toy: FeatureStore, capsys: Any, lost: str, listed: tuple[str, ...], there: list[str]
) -> None:
    given = Split("toy", "given", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]), source="published")
    toy.save_dataset(toy.dataset("toy"), toy.samples("toy"), FILE_SCHEMA.empty_table(), [given])
    toy.save_run(*a_run("bbbb1234"), b"model")
    shutil.rmtree(toy.uri / f"{lost}.lance")
    assert cli.run(["list", *listed, "--store", str(toy.uri)]) == 5
    printed = capsys.readouterr()
    assert f"The table '{lost}' of the store {toy.uri}, which had" in printed.err
    assert printed.err.count("histokit store repair") == 1
    assert "Make one with" not in printed.err
    assert all(name in printed.out for name in there)
    assert printed.out or not there
    assert cli.run(["list", *listed, "--json", "--store", str(toy.uri)]) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert "histokit store repair" in error["next"]
    rows = error["details"][listed[0]]
    assert [row.get("run") or row["name"] for row in rows] == there
    assert [row.get("score") for row in rows] == [None] * len(there)


def test_lost_predictions_of_a_run_leave_the_other_runs_their_scores(toy: FeatureStore, capsys: Any) -> None:
    toy.save_run(*a_run("bbbb1234"), b"model")
    toy.database.delete("predictions", f"id = 's1' AND run = '{toy.run('abcd1234').key}'")
    assert cli.run(["list", "runs", "--json", "--store", str(toy.uri)]) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert "predictions of the run abcd1234 are damaged" in error["message"]
    assert {row["run"]: row["score"] for row in error["details"]["runs"]} == {"abcd1234": None, "bbbb1234": 1.0}


def test_a_lost_split_leaves_the_others_in_the_list(toy: FeatureStore, capsys: Any) -> None:
    toy.save_split(Split("toy", "t", split_rows([(0, 0, "s2", "train"), (0, 0, "s1", "test")])))
    toy.database.delete("splits.toy", "split = 's' AND id = 's1'")
    assert cli.run(["list", "splits", "--store", str(toy.uri)]) == 5
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.out.splitlines()][-1] == ["toy", "t"]
    assert "histokit split toy --name s" in printed.err


def change(store: FeatureStore, name: str, old: bytes, new: bytes) -> None:
    """Change bytes in the data files of a table."""
    assert len(old) == len(new)
    for file in (store.uri / f"{name}.lance" / "data").iterdir():
        content = file.read_bytes()
        if old in content:
            file.write_bytes(content.replace(old, new))


def test_a_list_of_tables_that_is_gone_is_told_and_written_anew(toy: FeatureStore) -> None:
    (toy.uri / LEDGER).unlink()
    (finding,) = verify(Store(toy.uri)).findings
    assert (finding.table, finding.kind) == ("(list of tables)", "lost")
    repair(Store(toy.uri))
    assert (toy.uri / LEDGER).exists()
    assert verify(Store(toy.uri)).ok


@pytest.mark.parametrize("name", ["predictions", "models"])
def test_what_cannot_be_saved_beside_damaged_rows_is_told(toy: FeatureStore, tmp_path: Path, name: str) -> None:
    content = newest(toy.uri / f"{name}.lance").read_bytes()
    refused = 0
    for place in range(5, len(content), len(content) // 25):
        copy = tmp_path / f"copy{place}"
        shutil.copytree(toy.uri, copy)
        changed = bytearray(content)
        changed[place] ^= 2
        newest(copy / f"{name}.lance").write_bytes(changed)
        with suppress(StoreError):
            Store(copy).save_run(*a_run("bbbb1234"), b"model")
            refused -= 1
        refused += 1
    assert refused > 3


def test_a_changed_label_is_not_trained_on(toy: FeatureStore) -> None:
    rows = toy.samples("toy")
    column = rows.schema.get_field_index("label")
    labels = rows.column("label").to_pylist()
    labels[0] = "a" if labels[0] == "b" else "b"
    other = rows.set_column(column, "label", pa.array(labels))
    version = toy.database.overwrite("samples.toy", other)
    record = toy.dataset("toy")
    text = json.dumps(
        {**record.stored(), "versions": {**record.versions, "samples": version}, "digests": record.digests}
    )
    toy.database.replace("datasets", pa.table({"name": ["toy"], "document": [text]}), "name")
    with pytest.raises(StoreError, match="samples of the dataset 'toy' are damaged: label changed on disk") as caught:
        toy.features("toy", "net/last")
    assert "histokit ingest toy / --name toy" in str(caught.value.next)
    assert len(toy.samples("toy", ["id", "slide"])) == 60
    assert [f.table for f in verify(toy).findings] == ["samples.toy"]


def test_changed_predictions_are_not_evaluated(toy: FeatureStore) -> None:
    key = toy.run("abcd1234").key
    rows = toy.database.read("predictions")
    toy.database.overwrite(
        "predictions", rows.set_column(rows.schema.get_field_index("predicted"), "predicted", pa.array(["b"] * 3))
    )
    assert toy.database.read("predictions").column("run").to_pylist() == [key] * 3
    with pytest.raises(StoreError, match="predictions of the run abcd1234 are damaged: predicted changed on disk"):
        toy.predictions("abcd1234")
    assert [(f.table, f.kind) for f in verify(toy).findings] == [("predictions", "changed")]


def test_a_lost_prediction_is_noticed(toy: FeatureStore) -> None:
    toy.database.delete("predictions", "id = 's1'")
    with pytest.raises(StoreError, match="predictions of the run abcd1234 are damaged"):
        toy.predictions("abcd1234")


def test_a_changed_record_is_not_read(toy: FeatureStore) -> None:
    rows = toy.database.read("runs")
    text = rows.column("document")[0].as_py().replace('"accuracy"', '"accurate"')
    toy.database.overwrite(
        "runs", rows.set_column(rows.schema.get_field_index("document"), "document", pa.array([text]))
    )
    with pytest.raises(StoreError, match=r"record of the table 'runs' \(id 'abcd1234', dataset 'toy'\) is damaged"):
        toy.run("abcd1234")
    assert [(f.table, f.kind) for f in verify(toy).findings] == [("runs", "document")]


def test_no_bit_of_a_record_flips_unnoticed() -> None:
    keys = {"id": "abcd"}
    text = sealed(keys, '{"n":1}')
    assert unsealed(keys, text) == '{"n":1}'
    assert unsealed(keys, '{"n":1}') == '{"n":1}', "as an earlier version wrote it"
    for place, letter in enumerate(text):
        for bit in range(7):
            changed = text[:place] + chr(ord(letter) ^ 1 << bit) + text[place + 1 :]
            with pytest.raises(ValueError, match="not what was written"):
                unsealed(keys, changed)


def test_a_changed_key_of_a_record_is_noticed(toy: FeatureStore) -> None:
    rows = toy.database.read("runs")
    toy.database.overwrite("runs", rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(["abcd1235"])))
    with pytest.raises(StoreError, match="is damaged"):
        toy.runs()


def test_a_repair_puts_aside_what_is_damaged_and_keeps_the_rest(toy: FeatureStore, capsys: Any) -> None:
    toy.save_run(*a_run("ffff0000"), b"other")
    toy.database.delete("models", f"run = '{toy.run('abcd1234').key}'")
    shutil.rmtree(toy.uri / "selections.lance")
    toy.database.append("runs", pa.table({"id": ["x"], "dataset": ["toy"], "document": ["{"]}))
    assert cli.run(["store", "repair", "--store", str(toy.uri), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {(f["table"], f["kind"]) for f in found} == {("selections", "lost"), ("runs", "document"), ("models", "run")}
    assert "store repair" not in " ".join(f["next"] for f in found), "it was just done"
    mended = Store(toy.uri)
    assert verify(mended).ok
    assert [run.id for run in mended.runs()] == ["ffff0000"]
    assert mended.predictions("ffff0000").equals(a_run("ffff0000")[1])
    assert mended.selections() == []
    (log,) = (toy.uri / DAMAGED).rglob("runs.jsonl")
    assert [json.loads(line).get("id") for line in log.read_text().splitlines()] == ["x", "abcd1234"]
    assert repair(mended).ok


def test_a_repair_leaves_runs_of_classes_and_of_numbers_beside_a_damaged_one(toy: FeatureStore) -> None:
    numbers = save_numbers(toy, [(0, "s0", 1.5, 1.0, None), (0, "s1", 2.5, 2.0, None)], kind="predict")
    for run in ("ffff0000", "eeee0000"):
        toy.save_run(*a_run(run), b"model")
    toy.database.delete("models", f"run = '{toy.run('eeee0000').key}'")
    kept = {run: toy.predictions(run) for run in (numbers, "ffff0000")}
    damaged = repair(Store(toy.uri)).findings
    assert [finding for finding in damaged if "eeee0000" not in finding.what] == []
    mended = Store(toy.uri)
    assert {run.id for run in mended.runs()} == {"abcd1234", *kept}
    assert all(mended.predictions(run).equals(rows) for run, rows in kept.items())


@pytest.mark.parametrize("damaged", ["toy", "zoo"])
def test_a_repair_puts_aside_a_split_whose_name_another_dataset_has(toy: FeatureStore, damaged: str) -> None:
    samples, X = make_samples()
    make_store(toy.uri, samples, {"last": X}, name="zoo")
    toy.save_split(Split("zoo", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    toy.database.delete(f"splits.{damaged}", "id = 's1'")
    assert [f.table for f in repair(Store(toy.uri)).findings] == [f"splits.{damaged}"]
    mended = Store(toy.uri)
    assert verify(mended).ok
    assert {name: len(mended.splits(name)) for name in ("toy", "zoo")} == {"toy": 1, "zoo": 1, damaged: 0}


def test_a_repair_moves_tables_that_cannot_be_read(toy: FeatureStore) -> None:
    newest(toy.uri / "problems.lance").write_bytes(b"rubbish")
    for file in (toy.uri / "runs.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    (features,) = [table.name for table in toy.feature_tables()]
    for file in (toy.uri / f"{features}.lance" / "data").iterdir():
        file.write_bytes(b"rubbish")
    assert {f.table for f in repair(Store(toy.uri)).findings} == {"problems", "runs", features}
    mended = Store(toy.uri)
    assert verify(mended).ok
    assert len(mended.problems("toy")) == 0
    assert mended.runs() == []
    assert len(list((toy.uri / DAMAGED).rglob("*.lance"))) > 2


@pytest.mark.parametrize("column", [b"predicted", b"scores"])
def test_a_renamed_column_stops_no_check_and_can_be_repaired(toy: FeatureStore, column: bytes) -> None:
    manifest = newest(toy.uri / "predictions.lance")
    manifest.write_bytes(manifest.read_bytes().replace(column, column[:-1] + b"x"))
    damaged = Store(toy.uri)
    assert {(f.table, f.kind) for f in verify(damaged).findings} == {("predictions", "unreadable")}
    repair(damaged)
    assert verify(Store(toy.uri)).ok


def test_a_repair_names_the_runs_that_rested_on_a_damaged_table(toy: FeatureStore) -> None:
    toy.save_run(*a_run("ffff0000"), b"other")
    newest(toy.uri / "predictions.lance").write_bytes(b"rubbish")
    found = repair(Store(toy.uri)).findings
    assert [f.table for f in found if f.kind == "unreadable"] == ["predictions"]
    rested = " ".join(f.what for f in found if f.table == "runs")
    assert "abcd1234" in rested
    assert "ffff0000" in rested
    assert Store(toy.uri).runs() == []


def test_ctrl_c_while_a_table_is_read_is_an_interruption(toy: FeatureStore, monkeypatch: Any, capsys: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise pa.ArrowInvalid("External error: KeyboardInterrupt: ")

    monkeypatch.setattr("lance.LanceDataset.to_table", interrupted)
    assert cli.run(["list", "runs", "--store", str(toy.uri)]) == 130
    assert "damaged" not in capsys.readouterr().err


EVERYTHING = """
import json, sys
from histokit.features import open_store
from histokit.errors import HistokitError
from histokit.store.verify import verify
from pathlib import Path
import random

def everything(uri):
    s = open_store(uri)
    parts = [s.dataset("toy").stored(), s.samples("toy").to_pylist(), s.files("toy").to_pylist()]
    parts += [s.split("toy", "s").rows.to_pylist(), s.problems("toy").to_pylist(), s.selection("cccc1234").stored()]
    return parts + [s.run("abcd1234").stored(), s.predictions("abcd1234").to_pylist(), s.model("abcd1234")]

uri, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
want = everything(uri)
draw = random.Random(seed)
tables = sorted(p for p in uri.glob("*.lance") if not p.name.startswith("features."))
noticed = 0
for number in range(count):
    table = tables[number % len(tables)]
    file = draw.choice([min((table / "_versions").glob("*.manifest")), *sorted((table / "data").iterdir())])
    content = file.read_bytes()
    changed, bit = bytearray(content), draw.randrange(8 * len(content))
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)
    try:
        same = everything(uri) == want
    except HistokitError:
        same, noticed = True, noticed + 1
        assert not verify(open_store(uri)).ok, (file, bit)
    assert same, (str(file), bit)
    verify(open_store(uri))
    file.write_bytes(content)
print(noticed)
"""


@pytest.mark.parametrize(
    ("count", "seed"),
    [(30, 1), pytest.param(400, 2, marks=pytest.mark.slow), pytest.param(400, 3, marks=pytest.mark.slow)],
)
def test_no_bit_flips_unnoticed(toy: FeatureStore, count: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING, str(toy.uri), str(count), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > count // 5


def test_a_table_that_cannot_be_read_stays_until_another_one_is_in_its_place(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["ingest", "folder", str(images), "--name", "cells", "-o", "pattern={patient}/{label}/*.png"]
    again += ["--store", str(store.uri)]
    assert cli.run(again) == 0
    table = store.uri / "samples.cells.lance"
    for manifest in (table / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"no manifest")
    before = {path.relative_to(table): path.read_bytes() for path in table.rglob("*") if path.is_file()}

    def full(*_: Any, **__: Any) -> None:
        (table / "data").mkdir(parents=True)
        raise RuntimeError("LanceError(IO): No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("lancedb.db.LanceDBConnection.create_table", full)
        assert cli.run(again) == 5
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert {path.relative_to(table): path.read_bytes() for path in table.rglob("*") if path.is_file()} == before
    with monkeypatch.context() as patch:
        # What was begun in its place cannot be removed.
        patch.setattr("lancedb.db.LanceDBConnection.create_table", full)
        real = shutil.rmtree
        patch.setattr("histokit.store.additions.rmtree", lambda path, **how: path == table or real(path, **how))
        assert cli.run(again) == 5
    (kept,) = (store.uri / DAMAGED).glob("*/samples.cells.lance")
    assert {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    shutil.rmtree(table)
    kept.rename(table)
    shutil.rmtree(store.uri / DAMAGED)
    assert cli.run(again) == 0
    assert store.samples("cells").num_rows == len(list(images.rglob("*.png")))
    assert not (store.uri / DAMAGED).exists()
