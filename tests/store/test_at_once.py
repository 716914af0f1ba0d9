"""Several processes, here threads with stores of their own, that write one thing at once: one result is kept whole."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.files import PathLock
from histokit.finetune.checkpoint import trained_alone
from histokit.store import Split, Store, fragments
from histokit.store.care import collect_garbage, locked
from histokit.store.commits import Commits
from histokit.store.database import Database
from histokit.store.documents import Documents
from histokit.store.records import FILE_SCHEMA
from histokit.store.results import Results
from histokit.store.split_records import split_rows
from histokit.store.verify import verify
from tests.store.made import a_run
from tests.toy import make_samples, make_store


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"last": X})


def together(uri: Path, *calls: Callable[[Store], Any]) -> list[Any]:
    """Call each on a store of its own, all at the same moment; return what they return or raise."""
    barrier = Barrier(len(calls))

    def call(one: Callable[[Store], Any]) -> Any:
        store = Store(uri)
        barrier.wait()
        try:
            return one(store)
        except StoreError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_a_run_that_is_saved_by_four_is_there_once(toy: FeatureStore) -> None:
    run, rows = a_run("abcd1234")
    saved = together(toy.uri, *[lambda s: s.save_run(run, rows, b"model")] * 4)
    assert len({record.key for record in saved}) == 1
    assert [toy.database.count(name) for name in ("runs", "predictions", "models")] == [1, len(rows), 1]
    assert toy.predictions("abcd1234").equals(rows)
    assert verify(toy).ok


def pieces(store: Store) -> list[int]:
    """How many fragments the tables of runs have."""
    return [len(store.database.table(name).get_fragments()) for name in ("runs", "predictions", "models")]


def test_pieces_of_many_runs_are_merged_while_others_write_and_read(toy: FeatureStore, monkeypatch: Any) -> None:
    monkeypatch.setattr(fragments, "MANY_SMALL", 4)

    def save(first: int) -> Callable[[Store], Any]:
        runs = [a_run(f"{number:08}") for number in range(first, first + 12)]
        return lambda s: [s.save_run(run, rows, run.id.encode()).id for run, rows in runs]

    def read(store: Store) -> list[int]:
        return [len(rows) for _ in range(12) for rows in store.predictions_of(store.runs()).values()]

    found = together(toy.uri, save(0), save(100), read, save(200))
    saved = sorted(found[0] + found[1] + found[3])
    assert set(found[2]) <= {3}
    assert [run.id for run in toy.runs()] == saved == [f"{n + i:08}" for n in (0, 100, 200) for i in range(12)]
    assert [toy.predictions(name).equals(a_run(name)[1]) for name in saved] == [True] * 36
    assert [toy.model(name).decode() for name in saved] == saved
    assert max(pieces(toy)) <= 5
    assert verify(toy).ok


@pytest.mark.parametrize("killed_at", [0, 1, 2, 3])
def test_a_process_that_is_killed_while_it_merges_loses_nothing(
    toy: FeatureStore, monkeypatch: Any, killed_at: int
) -> None:
    monkeypatch.setattr(fragments, "MANY_SMALL", 4)
    for number in range(4):
        toy.save_run(*a_run(f"{number:08}"), b"model")
    notes = count()
    with monkeypatch.context() as patch:
        note, merge = Commits.note, Database._merge

        def merged(*how: Any) -> bool:
            patch.setattr(Commits, "note", lambda *given: 1 / 0 if next(notes) == killed_at else note(*given))
            return merge(*how)

        patch.setattr(Database, "_merge", merged)
        with suppress(ZeroDivisionError):
            toy.save_run(*a_run("00000004"), b"model")
    after = FeatureStore(toy.uri)
    assert verify(after).ok
    assert [run.id for run in after.runs()] == [f"{number:08}" for number in range(5)]
    for number in range(5, 12):
        after.save_run(*a_run(f"{number:08}"), b"model")
    assert verify(after).ok
    assert max(pieces(after)) <= 8


def test_a_run_is_saved_where_those_before_it_are_damaged_and_cannot_be_merged(
    toy: FeatureStore, monkeypatch: Any
) -> None:
    for number in range(6):
        toy.save_run(*a_run(f"{number:08}"), b"model")
    min((toy.uri / "predictions.lance" / "data").iterdir(), key=os.path.getmtime).unlink()
    monkeypatch.setattr(fragments, "MANY_SMALL", 4)
    assert toy.save_run(*a_run("ffffffff"), b"model").id == "ffffffff"
    assert toy.has_run("ffffffff")


def test_a_run_that_is_done_again_takes_its_place_in_one_step(toy: FeatureStore, monkeypatch: Any) -> None:
    run, rows = a_run("abcd1234")
    toy.save_run(run, rows, b"model")
    assert toy.save_run(replace(run, seconds=9.0), rows.slice(1), None).seconds == 1.0
    with monkeypatch.context() as patch:
        # Killed after its rows were written, before its record was.
        patch.setattr("histokit.store.documents.Documents.save", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toy.save_run(run, rows.slice(1), b"other", again=True)
    assert toy.predictions("abcd1234").equals(rows)
    assert toy.model("abcd1234") == b"model"
    toy.save_run(replace(run, seconds=2.0), rows.slice(1), b"other", again=True)
    assert toy.run("abcd1234").seconds == 2.0
    assert toy.predictions("abcd1234").equals(rows.slice(1))
    assert toy.model("abcd1234") == b"other"
    assert [toy.database.count(name) for name in ("runs", "predictions", "models")] == [1, len(rows) - 1, 1]


def test_whoever_reads_a_run_while_it_is_done_again_reads_one_of_both(toy: FeatureStore) -> None:
    run, rows = a_run("abcd1234")
    toy.save_run(run, rows, b"model")
    read = toy.run("abcd1234")
    Store(toy.uri).save_run(run, rows.slice(1), b"other", again=True)
    assert toy.predictions_of([read])["abcd1234"].drop_columns("run").equals(rows.slice(1).drop_columns("run"))
    assert Results(Documents(toy.database)).model(read) == b"other"
    toy.database.delete("predictions", "true")
    with pytest.raises(StoreError, match="damaged"):
        toy.predictions_of([toy.run("abcd1234")])


def test_of_two_ways_to_make_a_split_one_wins_whole_and_the_other_is_told(toy: FeatureStore) -> None:
    ways = [
        Split(
            "toy",
            "s",
            split_rows(
                [(0, fold, f"s{i}", "test" if i % n == fold else "train") for fold in range(n) for i in range(60)]
            ),
        )
        for n in (2, 3, 4)
    ]
    found = together(toy.uri, *[lambda s, way=way: s.save_split(way, None) for way in ways])
    told = [error for error in found if error is not None]
    assert len(told) == 2
    assert {str(error).splitlines()[0] for error in told} == {
        "Another process has just made the split 's' of 'toy' in another way."
    }
    (won,) = [way for way, error in zip(ways, found, strict=True) if error is None]
    assert (
        toy.split("toy", "s").rows.sort_by("id").equals(won.rows.sort_by("id"))
        or toy.split("toy", "s").digest == won.digest
    )
    assert toy.database.count("splits.toy") == len(won.rows)
    assert verify(toy).ok


def test_a_split_that_is_made_again_is_there_all_the_while(toy: FeatureStore, monkeypatch: Any) -> None:
    rows = split_rows([(0, 0, f"s{i}", "test" if i % 3 else "train") for i in range(60)])
    split = Split("toy", "s", rows)
    toy.save_split(split)
    with monkeypatch.context() as patch:
        # Killed before it has written.
        patch.setattr("histokit.store.database.Database.append", lambda *_: 1 / 0)
        with suppress(ZeroDivisionError):
            toy.save_split(Split("toy", "s", rows))
    assert toy.split("toy", "s").rows.equals(rows)
    where = "split = 's'"
    twice = toy.database.read("splits.toy", None, where)
    toy.database.append("splits.toy", twice)
    toy.save_split(Split("toy", "s", rows))
    assert toy.database.count("splits.toy", where) == len(rows)
    toy.database.delete("splits.toy", "id = 's7'")
    toy.save_split(Split("toy", "s", rows))
    assert toy.split("toy", "s").rows.equals(rows)


def test_of_two_ingestions_of_one_name_one_wins_with_its_splits(toy: FeatureStore) -> None:
    record = replace(toy.dataset("toy"), name="d", versions={}, digests={}, published=None)
    samples = toy.samples("toy")

    def ingest(count: int) -> Callable[[Store], Any]:
        rows = [(0, 0, f"s{i}", "test" if i % 2 else "train") for i in range(count)]
        split = Split("d", "paper", split_rows(rows), source="published")
        mine = replace(record, count=count)
        return lambda s: s.save_dataset(mine, samples.slice(0, count), FILE_SCHEMA.empty_table(), [split], before=None)

    found = together(toy.uri, ingest(10), ingest(20), ingest(20))
    kept = toy.dataset("d")
    told = [error for error in found if isinstance(error, StoreError)]
    assert len(told) == (2 if kept.count == 10 else 1)
    assert all("has just ingested other data as 'd'" in str(error) for error in told)
    assert len(toy.samples("d")) == kept.count == len(toy.split("d", "paper").rows)
    assert verify(toy).ok


@pytest.mark.parametrize("table", ["files", "datasets"])
def test_an_ingestion_that_is_killed_leaves_the_one_before(toy: FeatureStore, monkeypatch: Any, table: str) -> None:
    old = Split("toy", "paper", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]), source="published")
    new = Split("toy", "paper", split_rows([(0, 0, "s0", "test"), (0, 0, "s1", "train")]), source="published")
    samples = toy.samples("toy")
    swapped = samples.set_column(
        samples.schema.get_field_index("label"), "label", samples.column("label").take(list(range(59, -1, -1)))
    )
    before = toy.save_dataset(toy.dataset("toy"), samples, FILE_SCHEMA.empty_table(), [old])
    with monkeypatch.context() as patch:
        write = type(toy.database).overwrite
        if table == "files":
            patch.setattr(
                type(toy.database), "overwrite", lambda d, n, r: 1 / 0 if n.startswith("files") else write(d, n, r)
            )
        else:
            patch.setattr("histokit.store.documents.Documents.save", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toy.save_dataset(before, swapped, FILE_SCHEMA.empty_table(), [new])
    assert toy.dataset("toy") == before
    assert toy.samples("toy").equals(samples)
    assert toy.split("toy", "paper").digest == old.digest
    assert verify(toy).ok
    toy.save_dataset(before, swapped, FILE_SCHEMA.empty_table(), [new])
    assert toy.samples("toy").column("label").to_pylist() == swapped.column("label").to_pylist()
    assert toy.split("toy", "paper").digest == new.digest
    assert toy.database.count("splits.toy") == 2


def test_a_split_of_ones_own_stands_in_place_of_a_published_one(toy: FeatureStore) -> None:
    published = Split("toy", "paper", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]), source="published")
    mine = replace(published, rows=split_rows([(0, 0, "s0", "test"), (0, 0, "s1", "train")]), source="generated")
    record = toy.save_dataset(toy.dataset("toy"), toy.samples("toy"), FILE_SCHEMA.empty_table(), [published])
    toy.save_split(mine, published.digest)
    assert toy.split("toy", "paper").source == "generated"
    assert verify(toy).findings == ()
    toy.save_dataset(record, toy.samples("toy"), FILE_SCHEMA.empty_table(), [])
    assert [split.digest for split in toy.splits("toy")] == [mine.digest]


def test_a_published_split_of_an_earlier_version_is_read_and_makes_way(toy: FeatureStore) -> None:
    old = Split("toy", "paper", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]), source="published")
    toy.save_split(old)
    assert toy.split("toy", "paper").digest == old.digest
    toy.save_dataset(toy.dataset("toy"), toy.samples("toy"), FILE_SCHEMA.empty_table(), [replace(old, name="other")])
    assert [split.name for split in toy.splits("toy")] == ["other"]


def test_a_lock_whose_file_cannot_be_opened_is_no_reason_to_go_on_without(
    tmp_path: Path, toy: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy.uri / "write.lock").unlink()
    (toy.uri / "write.lock").mkdir()
    before = toy.split_headers("toy")
    with pytest.raises(StoreError, match=r"write\.lock cannot be opened: Is a directory"):
        toy.save_split(Split("toy", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    assert toy.split_headers("toy") == before
    with PathLock(tmp_path / "a.lock").held():
        (tmp_path / "done").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    lock = PathLock(tmp_path / "a.lock")
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(StoreError) as told, lock.held():
            (tmp_path / "twice").touch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "cannot be opened: Too many open files" in told.value.message
    assert "ulimit -n" in told.value.next
    # A disk that fails says nothing of locks.
    monkeypatch.setattr("fcntl.flock", refusing(errno.EIO))
    with pytest.raises(StoreError, match="cannot be opened: Input/output error"), lock.held():
        (tmp_path / "twice").touch()
    assert not (tmp_path / "twice").exists()


def test_who_may_write_to_a_store_does_not_go_on_without_a_lock_that_is_not_theirs(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Split("toy", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")]))
    monkeypatch.setattr("fcntl.flock", refusing(errno.EPERM))
    with pytest.raises(StoreError, match=r"write\.lock cannot be opened: Operation not permitted") as told:
        toy.save_split(made)
    assert "Mend the permissions" in told.value.next
    assert not toy.split_headers("toy")
    # Who only reads writes nothing that needs it.
    monkeypatch.setattr("os.access", lambda *_: False)
    with PathLock(toy.uri / "write.lock").held():
        (toy.uri / "read").touch()
    assert (toy.uri / "read").exists()


def test_a_lock_that_stands_in_can_be_opened_by_all_who_share_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr("histokit.files._OF_ALL", (str(local),))
    monkeypatch.setattr("fcntl.flock", refusing(errno.ENOLCK, local))
    mask = os.umask(0o077)
    try:
        with PathLock(tmp_path / "a.lock").held():
            (made,) = local.iterdir()
    finally:
        os.umask(mask)
    assert made.stat().st_mode & 0o666 == 0o666


def refusing(number: int, *within: Path) -> Callable[[int, int], None]:
    """Return a lock of files that a file system refuses, or that all do but for files within some folders."""
    real = fcntl.flock

    def flock(file: int, how: int) -> None:
        if within and Path(os.readlink(f"/proc/self/fd/{file}")).is_relative_to(within[0]):
            return real(file, how)
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_a_file_system_takes_no_locks_those_of_temporary_files_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    busy = StoreError("Another one holds it.", next="Wait.")
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr("histokit.files._OF_ALL", (str(local),))
    monkeypatch.setattr("fcntl.flock", refusing(number, local))
    mine = PathLock(tmp_path / "a.lock")
    # Each job of a cluster may have a folder of its own.
    (tmp_path / "job").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "job"))
    with mine.held(), mine.held(busy):
        with pytest.raises(StoreError, match="Another one"), PathLock(tmp_path / "a.lock", 0).held(busy):
            raise AssertionError
        with pytest.raises(ZeroDivisionError), PathLock(tmp_path / "b.lock", 0).held(busy):
            raise ZeroDivisionError
    for _ in range(2):
        # Its file is there from the first time on.
        with trained_alone(tmp_path / "run", "run"), locked(tmp_path):
            with pytest.raises(StoreError, match="Another process is training"), trained_alone(tmp_path / "run", "run"):
                raise AssertionError
            with pytest.raises(StoreError, match="Another process is collecting"), locked(tmp_path):
                raise AssertionError


def test_a_disk_without_room_for_temporary_files_keeps_nobody_from_a_store(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("histokit.files._OF_ALL", ())
    monkeypatch.setattr("histokit.files.gettempdir", full)
    monkeypatch.setattr("tempfile.gettempdir", full)
    busy = StoreError("Another one holds it.", next="Wait.")
    assert collect_garbage(FeatureStore(toy.uri), older_than=0)
    with locked(toy.uri), pytest.raises(StoreError, match="Another one"), PathLock(toy.uri / "gc.lock", 0).held(busy):
        raise AssertionError


def test_where_no_locks_are_taken_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = StoreError("Another one holds it.", next="Wait.")
    with PathLock(tmp_path / "a.lock").held(busy):
        with pytest.raises(StoreError, match="Another one"), PathLock(tmp_path / "a.lock", 0).held(busy):
            raise AssertionError
        with pytest.raises(ZeroDivisionError), PathLock(tmp_path / "b.lock").held(busy):
            raise ZeroDivisionError
    with PathLock(tmp_path / "a.lock", 0).held(busy):
        pass
    monkeypatch.setattr("fcntl.flock", refusing(errno.ENOLCK))
    with PathLock(tmp_path / "a.lock").held(busy), PathLock(tmp_path / "a.lock", 0).held(busy):
        (tmp_path / "done").touch()
    with trained_alone(tmp_path / "run", "run"), trained_alone(tmp_path / "run", "run"):
        (tmp_path / "twice").touch()
    assert {"done", "twice"} <= {path.name for path in tmp_path.iterdir()}
