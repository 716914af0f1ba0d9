"""A disk that fills up in the middle of an extraction costs what was not yet written, and no more."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import histokit
from histokit import cli
from histokit.errors import StoreError, UsageError
from histokit.features import FeatureStore, open_store
from histokit.store.commits import LEDGER
from histokit.store.database import Database
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.repair import repair
from histokit.store.unfinished import Unfinished
from histokit.store.verify import verify
from tests.durability.processes import Processes
from tests.durability.stores import check_same, ingested, many_images, rows, tables
from tests.store.made import a_run
from tests.toy import make_samples, make_store

PAGE = resource.getpagesize()
EXTRACT = ["extract", "d", "--backbone", "tiny", "--batch-size", "4", "--json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_in_the_middle(forks: Processes, small_disk: Path, tmp_path: Path) -> None:
    root = many_images(tmp_path / "images", 120)
    whole, store = ingested(tmp_path / "whole", root), ingested(small_disk / "store", root)
    forks.run(*EXTRACT, "--store", whole.uri)
    ballast = small_disk / "ballast"
    # Half of what the tables take in pages of memory, of which such a disk is made.
    files = [path for path in whole.uri.glob("features.*/**/*") if path.is_file()]
    room = sum(-path.stat().st_size // PAGE * -PAGE for path in files) // 2
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))

    for _ in range(2):
        life = forks.start(*EXTRACT, "--store", store.uri)
        assert life.wait() == 5, life.err
        error = life.document["error"]
        assert f"of the store {store.uri} cannot be written: No space left on device" in error["message"]
        assert "Free some space" in error["next"]
        assert "Traceback" not in life.err
        assert {finding.kind for finding in verify(store).findings} <= {"incomplete"}
    before = rows(store)
    # Some writes went through before the disk was full, but not all.
    assert 0 < sum(before.values()) < 3 * 120

    ballast.unlink()
    done = forks.run(*EXTRACT, "--store", store.uri).document["tables"]
    assert [(t["cached"], t["computed"]) for t in done] == [
        (before.get(t["address"], 0), 120 - before.get(t["address"], 0)) for t in done
    ]
    check_same(tables(store), tables(whole))
    assert verify(store).findings == ()


def fill(disk: Path) -> None:
    """Leave no byte of a disk, in files of any size."""
    size = 1 << 20
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while size:
            try:
                ballast.write(bytes(size))
            except OSError:
                size //= 2


def test_every_command_on_a_full_disk_says_so(forks: Processes, small_disk: Path, tmp_path: Path) -> None:
    root = many_images(tmp_path / "images", 24)
    store = ["--store", small_disk / "store"]
    forks.run("ingest", "folder", root, "--name", "d", "-o", "pattern={label}/**", *store)
    forks.run(*EXTRACT, *store)
    train = ["train", "d", "--classifier", "ridge", "--features"]
    run = forks.run(*train, "tiny/last", "--json", *store).document["runs"][0]["run"]
    figures = [["evaluate", run, "--figure", small_disk / f"f.{suffix}"] for suffix in ("png", "pdf", "svg")]
    tables = [["predictions", run, "--out", small_disk / f"p.{suffix}"] for suffix in ("csv", "parquet")]
    exports = [["export", "d", "--features", "tiny/all", "--out", small_disk / f"e.{s}"] for s in ("csv", "npz")]
    fill(small_disk)
    before = {path.name for path in small_disk.iterdir()}
    for arguments in (
        ["split", "d", "--name", "s", "--folds", "2"],
        ["ingest", "folder", root, "--name", "other", "-o", "pattern={label}/**"],
        [*train, "tiny/0"],
        *figures,
        *tables,
        *exports,
        ["store", "compact"],
        ["store", "gc", "--older-than", "0"],
    ):
        life = forks.start(*arguments, "--json", *store)
        code = life.wait()
        assert "Traceback" not in life.err, life.err
        if code:
            assert code in (2, 4, 5)
            assert "No space left on device" in life.document["error"]["message"], life.out
        else:
            # gc frees room, merging may need none.
            assert arguments[0] == "store"
    assert {path.name for path in small_disk.iterdir()} == before, "nothing is left of what could not be written"
    for command in ("verify", "repair"):
        assert forks.run("store", command, "--json", *store).document["ok"]


FINETUNE = ["finetune", "d", "--backbone", "tiny", "--preset", "head-first", "--split", "s", "--workers", "0", "--json"]
FINETUNE += [f"--set={text}" for text in ("batch_size=8", "epochs=2", "head.layer=3", "patience=0")]


def test_networks_are_trained_on_when_a_full_disk_has_room_again(
    forks: Processes, small_disk: Path, tmp_path: Path
) -> None:
    root = many_images(tmp_path / "images", 24)
    whole, store = ingested(tmp_path / "whole", root), ingested(small_disk / "store", root)
    histokit.split(whole, "d", name="s", folds=2)
    histokit.split(store, "d", name="s", folds=2)
    run = forks.run(*FINETUNE, "--store", whole.uri).document["runs"][0]["run"]
    unfinished = small_disk / "store" / "networks" / "unfinished"
    ballast, failures, kept = small_disk / "ballast", 0, 0
    fill(small_disk)
    while (life := forks.start(*FINETUNE, "--store", store.uri)).wait() == 5:
        error = life.document["error"]
        assert "No space left on device" in error["message"]
        assert any(text in error["next"] for text in ("Free some space", "the disk")), error
        assert "Traceback" not in life.err
        assert not [*unfinished.rglob(".tensors*")], "nothing is left of what could not be written"
        failures += 1
        kept += bool([*unfinished.rglob("state.json")])
        os.truncate(ballast, ballast.stat().st_size - 16 * PAGE)
    assert life.wait() == 0, life.err
    assert failures > 1
    assert kept, "a checkpoint was written before the disk was full"
    assert store.predictions(run).sort_by("id").equals(whole.predictions(run).sort_by("id"))
    entries = [[entry["digest"] for entry in each.run(run).found["networks"]] for each in (store, whole)]
    assert entries[0] == entries[1]
    assert verify(store).findings == ()


def test_a_disk_that_is_full_when_the_list_of_tables_is_written(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def full(path: Path, *arguments: Any, **options: Any) -> int:
        if path.parent == store.uri:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        histokit.ingest(store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png"})
    monkeypatch.undo()
    histokit.ingest(store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png"})
    assert verify(store).findings == ()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_repair_that_the_disk_has_no_room_for_is_done_later(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    samples, X = make_samples()
    made = make_store(store.uri, samples, {"last": X})
    made.save_run(*a_run("abcd1234"), b"model")
    made.database.append("runs", pa.table({"id": ["x"], "dataset": ["toy"], "document": ["{"]}))
    (made.uri / LEDGER).unlink()
    write, left = Path.write_text, [number]

    def full(path: Path, text: str, **how: Any) -> int:
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, text, **how)

    before = [table.name for table in made.feature_tables()]
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StoreError, match=r"cannot be (repaired|written): No space left"):
        repair(open_store(made.uri))
    assert not list(made.uri.glob(f"{LEDGER}.*"))
    repair(open_store(made.uri))
    assert verify(open_store(made.uri)).ok
    assert [run.id for run in open_store(made.uri).runs()] == ["abcd1234"]
    assert [table.name for table in open_store(made.uri).feature_tables()] == before


def test_old_versions_make_the_room_that_removing_rows_needs(small_disk: Path, capsys: Any) -> None:
    samples, vectors = make_samples()
    store = make_store(small_disk / "store", samples, {"last": vectors})
    store.save_run(*a_run("abcd"), None)
    for key in "abc":
        Unfinished(store.database).save("abcd", key, {"text": "x" * 9000})
    fill(small_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        histokit.split(store, "toy", name="s", folds=2)
    code = cli.run(["store", "gc", "--older-than", "0", "--json", "--store", str(store.uri)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    removed = {table["table"]: table for table in json.loads(printed.out)["tables"]}["unfinished"]
    assert (removed["rows"], removed["versions"]) == (3, 3)
    assert not store.database.count("unfinished")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space, then"),
        (errno.EDQUOT, "Free some space of what you may use"),
        (errno.EROFS, "name another place, or mount it for writing, then run the same command again. Or use another"),
        (errno.EACCES, "Mend the permissions, then run the same command again. Or use another store: --store FOLDER."),
        (errno.EPERM, "Or use another store: --store FOLDER."),
        (errno.EMFILE, "ulimit -n 1024"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_what_the_system_refuses_is_told_at_once_with_what_to_do(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refused(dir: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("histokit.store.commits.os.access", lambda *_: False)
    monkeypatch.setattr("histokit.store.commits.TemporaryFile", refused)
    monkeypatch.setattr("histokit.store.database.make_table", lambda *_: pytest.fail("the table is tried"))
    with pytest.raises(StoreError, match=f"cannot be written to: {os.strerror(number)}") as caught:
        store.database.create("datasets", pa.schema({"x": pa.int64()}))
    assert advice in caught.value.next
    monkeypatch.undo()
    monkeypatch.setattr("histokit.store.database.make_table", lambda *_: refused(store.uri))
    with pytest.raises(StoreError, match=f"cannot be written: {os.strerror(number)}") as caught:
        store.database.create("datasets", pa.schema({"x": pa.int64()}))
    assert advice in caught.value.next


@pytest.mark.parametrize("text", ["Too many open files (os error 24)", "Tokio: Os { code: 24, kind: Uncategorized }"])
def test_too_many_open_files_are_no_damage(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    store.database.create("problems", PROBLEM_SCHEMA)

    def refused(*_: Any, **__: Any) -> None:
        raise ValueError(text)

    monkeypatch.setattr("lance.dataset", refused)
    for look in (lambda: store.database.count("problems"), lambda: verify(store), lambda: repair(store)):
        with pytest.raises(UsageError, match=r"'problems' .* cannot be read: too many files are open") as caught:
            look()
        assert "ulimit -n 1024" in caught.value.next


@pytest.mark.parametrize("way", ["append", "overwrite", "replace", "add_on", "new"])
def test_a_file_that_ends_short_is_no_write(tmp_path: Path, way: str) -> None:
    """Lance commits a version although the system took no more than the first bytes of a file."""
    rows = pa.table({"id": [f"s{i}" for i in range(8)], "scores": [[float(i)] * 3 for i in range(8)]})
    rows = rows.append_column("levels", pa.array([[{"level": "slide", "value": str(i)}] for i in range(8)]))
    database = Database(tmp_path)
    name = "features.x" if way == "add_on" else "predictions"
    if way != "new":
        database.create(name, rows.schema)
        database.append(name, rows.slice(0, 1))
    ways = {
        "append": lambda: database.append(name, rows),
        "overwrite": lambda: database.overwrite(name, rows),
        "replace": lambda: database.replace(name, rows, "id"),
        "add_on": lambda: database.add_on(name, database.to_add(name), rows),
        "new": lambda: database.overwrite(name, rows),
    }
    told = set()
    for limit in range(512, 8192, 256):
        before = database.read(name) if database.exists(name) else None
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        try:
            ways[way]()
            break
        except StoreError as error:
            told.add(error.message.partition(" cannot be written: ")[2])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        again = Database(tmp_path)
        assert (again.read(name) if again.exists(name) else None) == before
    assert len(Database(tmp_path).read(name)) >= 8
    assert "a file of it was cut short." in told


def test_a_file_that_was_cut_before_is_no_write_of_those_that_write_nothing(tmp_path: Path) -> None:
    """Not even where no list of tables tells what was written before: it is what is left of the table."""
    database = Database(tmp_path)
    database.overwrite("predictions", pa.table({"id": [f"s{i}" for i in range(8)]}))
    (tmp_path / LEDGER).unlink()
    (file,) = (tmp_path / "predictions.lance" / "data").iterdir()
    os.truncate(file, file.stat().st_size - 10)
    again = Database(tmp_path)
    again.optimize("predictions", whole=True)
    assert file.exists()
    assert again.count("predictions") == 8
