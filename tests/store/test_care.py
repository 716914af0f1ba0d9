from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from histokit import cli
from histokit.errors import StoreError, UsageError
from histokit.features import FeatureStore
from histokit.plugin.digests import digest_bytes
from histokit.store import SelectionRecord, care
from histokit.store.care import LOCK, collect_garbage, compact, locked
from histokit.store.fingerprints import row_key
from histokit.store.records import FILE_SCHEMA
from histokit.store.removal import remove
from histokit.store.unfinished import Unfinished
from tests.store.made import started_together
from tests.toy import insert_vectors, make_samples, make_store


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Twelve samples whose features were written in six pieces."""
    samples, X = make_samples(n=12)
    store = make_store(tmp_path / "store", samples, {"last": np.full((12, 8), np.nan)})
    (table,) = store.feature_tables()
    for start in range(0, 12, 2):
        ids = samples["id"][start : start + 2]
        insert_vectors(store.database, table, ids, [digest_bytes(i.encode()) for i in ids], X[start : start + 2])
    return store


def name_of(store: FeatureStore) -> str:
    return store.feature_tables()[0].name


def opened(store: FeatureStore) -> lance.LanceDataset:
    return lance.dataset(str(store.uri / f"{name_of(store)}.lance"))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def removed(done: list[care.Care], name: str) -> care.Care:
    return next(c for c in done if c.table == name)


def test_compact_merges_fragments_and_removes_no_version(toy: FeatureStore) -> None:
    before = toy.features("toy", "net/last")
    reader = opened(toy)
    versions = {v["version"] for v in reader.versions()}
    done = removed(compact(toy), name_of(toy))
    assert (done.fragments, done.versions) == ((6, 1), 0)
    assert len(opened(toy).get_fragments()) == 1
    assert versions <= {v["version"] for v in opened(toy).versions()}
    assert reader.to_table().num_rows == 12
    np.testing.assert_array_equal(toy.features("toy", "net/last").X, before.X)
    assert removed(compact(toy), name_of(toy)).fragments == (1, 1)


@pytest.mark.parametrize(
    "message",
    [
        "Retryable commit conflict for version 7: This Rewrite transaction was preempted by concurrent transaction",
        "Commit conflict for version 7: There was a concurrent commit",
        "Too many concurrent writers. Attempted 20 times",
    ],
)
def test_merging_passes_over_what_another_process_merges(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(type(opened(toy).optimize), "compact_files", fail)
    said = message
    assert removed(compact(toy), name_of(toy)).fragments is None
    said = "disk full"
    with pytest.raises(OSError, match="disk full"):
        compact(toy)


def test_a_large_fragment_is_not_written_anew_for_few_rows(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    table = store.create_feature_table("d", {"backbone": "net", "layer": "l"}, 1, {})

    def add(count: int) -> None:
        there = store.database.count(table.name)
        ids = [f"{there}/{i}" for i in range(count)]
        insert_vectors(store.database, table, ids, [i.encode().ljust(16) for i in ids], np.ones((count, 1), np.float32))

    def sizes() -> list[int]:
        return [fragment.physical_rows for fragment in store.database.table(table.name).get_fragments()]

    for count in (20_000, 3, 4):
        add(count)
    first = store.database.table(table.name).get_fragments()[0].fragment_id
    assert store.database.optimize(table.name)
    assert sizes() == [20_000, 7]
    assert store.database.table(table.name).get_fragments()[0].fragment_id == first
    add(2_000)
    assert store.database.optimize(table.name)
    assert sizes() == [22_007]
    add(5)
    store.database.optimize(table.name)
    assert sizes() == [22_007, 5]
    compact(store)
    assert sizes() == [22_012]


def test_fragments_of_megabytes_stay_unless_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    table = store.create_feature_table("d", {"backbone": "net", "layer": "l"}, 1_024, {})
    for number, count in enumerate((600, 2, 600, 3)):
        ids = [f"{number}/{i}" for i in range(count)]
        X = np.ones((count, 1_024), np.float32)
        insert_vectors(store.database, table, ids, [i.encode().ljust(16) for i in ids], X)

    def sizes() -> list[int]:
        return sorted(fragment.physical_rows for fragment in store.database.table(table.name).get_fragments())

    assert store.database.optimize(table.name)
    assert sizes() == [2, 3, 600, 600]
    monkeypatch.setattr("histokit.store.fragments._MANY", 3)
    assert store.database.optimize(table.name)
    assert sizes() == [1_205]


def test_fragments_of_megabytes_that_lost_rows_are_written_anew(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    table = store.create_feature_table("d", {"backbone": "net", "layer": "l"}, 1_024, {})
    for number in range(2):
        ids = [f"{number}/{i}" for i in range(600)]
        X = np.ones((600, 1_024), np.float32)
        insert_vectors(store.database, table, ids, [i.encode().ljust(16) for i in ids], X)
    store.database.delete(table.name, "id LIKE '0/1%'")
    assert store.database.optimize(table.name)
    fragments = store.database.table(table.name).get_fragments()
    # Of the ids from 0/0 to 0/599, 111 begin so: 1, 10 to 19 and 100 to 199.
    assert sorted((each.physical_rows, each.num_deletions) for each in fragments) == [(489, 0), (600, 0)]


def test_merging_names_a_table_that_lost_a_file(toy: FeatureStore) -> None:
    folder = toy.uri / f"{name_of(toy)}.lance" / "data"
    sorted(folder.iterdir())[0].unlink()
    with pytest.raises(StoreError, match=rf"The table '{name_of(toy)}' .* cannot be read") as caught:
        compact(toy)
    assert "store verify" in caught.value.next


def test_gc_keeps_what_was_in_use_within_the_time(toy: FeatureStore) -> None:
    compact(toy)
    reader = lance.dataset(opened(toy).uri, version=opened(toy).versions()[0]["version"])
    done = collect_garbage(toy, older_than=1)
    assert {(c.versions, c.freed) for c in done} == {(0, 0)}
    assert reader.to_table().num_rows == 0
    assert len(opened(toy).versions()) > 6


def test_a_version_is_kept_until_its_successor_is_old(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that opened the newest version an instant before it was replaced still holds an old version."""
    versions = opened(toy).versions()
    times = [v["timestamp"].astimezone(UTC) for v in versions]
    monkeypatch.setattr(care, "datetime", _clock(times[3] + (times[4] - times[3]) / 2 + timedelta(minutes=60)))
    done = removed(collect_garbage(toy, older_than=60), name_of(toy))
    assert done.versions == 3
    assert [v["version"] for v in opened(toy).versions()] == [v["version"] for v in versions[3:]]


def _clock(now: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return now

    return Clock


def test_gc_frees_the_bytes_that_it_reports(toy: FeatureStore) -> None:
    compact(toy)
    before = size(toy.uri)
    would = collect_garbage(toy, older_than=0, dry_run=True)
    assert size(toy.uri) == before
    done = collect_garbage(toy, older_than=0)
    assert [c.to_json() for c in would] == [c.to_json() for c in done]
    freed = sum(c.freed for c in done)
    assert freed > 0
    assert freed <= before - size(toy.uri) <= freed + 2_000
    assert len(opened(toy).versions()) == 1
    assert len(toy.features("toy", "net/last")) == 12


def test_stale_rows_go_only_on_request(toy: FeatureStore) -> None:
    record, rows = toy.dataset("toy"), toy.samples("toy")
    contents = rows.column("content").to_pylist()
    contents[3] = b"another image..."
    rows = rows.set_column(1, rows.schema.field("content"), pa.array(contents, pa.binary(16)))
    toy.save_dataset(record, rows.slice(0, 11), FILE_SCHEMA.empty_table())
    (table,) = toy.feature_tables()
    assert removed(collect_garbage(toy), table.name).rows == 0
    assert removed(collect_garbage(toy, stale_rows=True, dry_run=True), table.name).rows == 2
    assert toy.database.count(table.name) == 12
    assert removed(collect_garbage(toy, stale_rows=True), table.name).rows == 2
    ids = toy.database.read(table.name, ["id"]).column("id").to_pylist()
    assert sorted(ids) == sorted(f"s{i}" for i in range(11) if i != 3)
    kept = toy.features("toy", "net/last", allow_missing=True)
    assert kept.sample_ids == [f"s{i}" for i in range(11) if i != 3]


def test_a_stale_row_goes_whatever_its_key_ends_with(toy: FeatureStore) -> None:
    content = next(c for i in range(9_999) if row_key("s0", c := digest_bytes(b"%d" % i)).endswith(b"\0"))
    (table,) = toy.feature_tables()
    insert_vectors(toy.database, table, ["s0"], [content], np.ones((1, 8), np.float32))
    assert removed(collect_garbage(toy, stale_rows=True), table.name).rows == 1
    assert toy.database.count(table.name) == 12


def test_orphans_go_only_on_request_and_when_nothing_was_written_lately(toy: FeatureStore) -> None:
    name = name_of(toy)
    assert not removed(collect_garbage(toy, older_than=0, orphans=True), name).dropped
    toy.database.delete("datasets", "name = 'toy'")
    assert not removed(collect_garbage(toy, older_than=0), name).dropped
    assert not removed(collect_garbage(toy, older_than=60, orphans=True), name).dropped
    before = size(toy.uri / f"{name}.lance")
    would = removed(collect_garbage(toy, older_than=0, orphans=True, dry_run=True), name)
    assert (would.dropped, would.rows, would.freed) == (True, 12, before)
    assert removed(collect_garbage(toy, older_than=0, orphans=True), name) == would
    assert toy.feature_tables() == []


def test_orphans_of_a_dataset_that_comes_back_meanwhile_stay(toy: FeatureStore) -> None:
    name, record = name_of(toy), toy.dataset("toy")
    samples, files = toy.samples("toy"), FILE_SCHEMA.empty_table()
    toy.database.delete("datasets", "name = 'toy'")

    def ingested_meanwhile(position: int, total: int, table: str) -> None:
        if table == name:
            toy.save_dataset(record, samples, files)

    done = collect_garbage(toy, older_than=0, orphans=True, progress=ingested_meanwhile)
    assert not removed(done, name).dropped
    assert len(toy.features("toy", "net/last")) == 12


@pytest.mark.parametrize("table", ["samples.toy", "features.toy", None])
@pytest.mark.parametrize("work", ["gc", "gc --orphans", "gc --stale-rows", "compact"])
def test_a_dataset_that_is_removed_meanwhile_ends_nothing(toy: FeatureStore, work: str, table: str | None) -> None:
    gone: list[str] = []

    def removed_meanwhile(position: int, total: int, name: str) -> None:
        if not gone and (table is None or name.startswith(table)):
            gone.extend(each.name for each in remove(toy, ["toy"]))

    if work == "compact":
        done = compact(toy, removed_meanwhile)
    else:
        flags = [option in work for option in ("--stale-rows", "--orphans")]
        done = collect_garbage(toy, older_than=0, stale_rows=flags[0], orphans=flags[1], progress=removed_meanwhile)
    assert gone == ["toy"]
    assert "samples.toy" not in {each.table for each in done} or table == "features.toy"
    assert toy.datasets() == []


def test_foreign_tables_are_left_alone(toy: FeatureStore) -> None:
    path = str(toy.uri / "mine.lance")
    for _ in range(2):
        lance.write_dataset(pa.table({"x": [1]}), path, mode="append" if Path(path).exists() else "create")
    names = {c.table for c in [*compact(toy), *collect_garbage(toy, older_than=0)]}
    assert "mine" not in names
    assert len(lance.dataset(path).versions()) == 2


def test_only_one_gc_at_a_time(toy: FeatureStore) -> None:
    with locked(toy.uri), pytest.raises(StoreError, match="Another process is collecting the garbage") as caught:
        collect_garbage(toy)
    assert "Wait for it" in caught.value.next
    collect_garbage(toy)


def test_a_store_that_gc_cannot_write_to_is_told(toy: FeatureStore) -> None:
    """As one on a read-only file system, which is no matter of permissions."""
    (toy.uri / LOCK).unlink(missing_ok=True)
    (toy.uri / LOCK).mkdir()
    with pytest.raises(StoreError, match="cannot be written to: Is a directory") as caught:
        collect_garbage(toy)
    assert "the disk" in caught.value.next


def test_the_lock_is_free_after_an_error_and_after_a_process_that_died(toy: FeatureStore) -> None:
    with pytest.raises(ZeroDivisionError), locked(toy.uri):
        raise ZeroDivisionError
    script = "import os, sys; from pathlib import Path; from histokit.store.care import locked\n"
    script += "with locked(Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script, str(toy.uri)], check=False).returncode == 9
    assert cli.run(["store", "gc", "--store", str(toy.uri)]) == 0


def test_versions_that_a_record_names_stay(toy: FeatureStore) -> None:
    samples, version = toy.samples("toy"), toy.dataset("toy").versions["samples"]
    # As an ingestion that was killed before it wrote its record.
    toy.database.overwrite("samples.toy", samples.slice(0, 3))
    for _ in range(2):
        toy.database.overwrite("samples.toy", samples.slice(0, 2))
    compact(toy)
    found = {care.table: care for care in collect_garbage(toy, older_than=0)}
    assert found["samples.toy"].versions == 2
    left = [v["version"] for v in toy.database.table("samples.toy").versions()]
    assert left == [version, version + 3]
    assert toy.samples("toy").equals(samples)


def test_absent_store_and_negative_time(toy: FeatureStore, tmp_path: Path) -> None:
    for act in (compact, collect_garbage):
        with pytest.raises(StoreError, match="no store"):
            act(FeatureStore(tmp_path / "none"))
    with pytest.raises(UsageError, match="older-than -1 is not a number from 0"):
        collect_garbage(toy, older_than=-1)


def test_commands_print_tables(toy: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["store", "compact", "--store", str(toy.uri), "--json"]) == 0
    tables = {t["table"]: t["fragments"] for t in json.loads(capsys.readouterr().out)["tables"]}
    assert tables[name_of(toy)] == [6, 1]
    assert cli.run(["store", "gc", "--older-than", "0", "--store", str(toy.uri), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["freed"] == sum(t["freed"] for t in document["tables"]) > 0
    assert cli.run(["store", "gc", "--store", str(toy.uri)]) == 0
    assert "0.0 MB were freed" in capsys.readouterr().err


def test_compact_lists_the_tables_that_were_in_pieces(toy: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["store", "compact", "--store", str(toy.uri)]) == 0
    output = capsys.readouterr()
    assert [line.split() for line in output.out.splitlines()[2:]] == [[name_of(toy), "6", "1"]]
    assert output.err == "3 tables were in one piece already\n"
    assert cli.run(["store", "compact", "--store", str(toy.uri), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tables"]) == 4


def test_a_table_that_a_killed_process_was_about_to_make_goes(toy: FeatureStore) -> None:
    old, new = (toy.uri / f"making-{name}" / "table" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old.parent, (0, 0))
    collect_garbage(toy, dry_run=True)
    assert old.exists()
    collect_garbage(toy)
    assert not old.parent.exists()
    assert new.exists()


_EXTRACT = """
import sys
import numpy as np
from histokit.store import Store
from histokit.store.vector_writes import VectorInserter
store = Store(sys.argv[1])
table = store.create_feature_table("d", {"backbone": "net", "layer": "l"}, 4, {})
print(flush=True)
sys.stdin.read()
for start in range(0, 300, 10):
    ids = [f"{sys.argv[2]}{i}" for i in range(start, start + 10)]
    rows = VectorInserter(store.database, table, ids, [i.encode().ljust(16) for i in ids])
    rows.insert(ids, np.ones((10, 4), dtype=np.float32))
    store.database.optimize(table.name)
"""


def test_care_disturbs_no_writer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _EXTRACT, str(tmp_path / "s")]
    writers = started_together([[*command, who] for who in "ab"])
    store = FeatureStore(tmp_path / "s")
    rounds = 0
    while any(writer.poll() is None for writer in writers):
        if store.uri.is_dir() and store.feature_tables():
            compact(store)
            collect_garbage(store, older_than=1 / 60)
            rounds += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert rounds > 1
    ids = store.database.read(name_of(store), ["id"]).column("id").to_pylist()
    assert sorted(ids) == sorted(f"{who}{i}" for who in "ab" for i in range(300))


@pytest.mark.parametrize("minutes", [float("inf"), 1e10, float("nan"), -1.0])
def test_ages_that_cannot_be_are_refused(toy: FeatureStore, minutes: float) -> None:
    with pytest.raises(UsageError, match="--older-than"):
        collect_garbage(toy, older_than=minutes)


def test_what_is_kept_of_a_selection_that_has_ended_goes(toy: FeatureStore) -> None:
    parts: tuple[Any, ...] = ("rfe", {}, [], {"columns": [1]}, [], [], [], 1.0, "2020")
    toy.save_selection(SelectionRecord("cccc1234", "toy", "net/last", "s", "00", *parts))
    kept = Unfinished(toy.database)
    for owner in ("cccc1234", "dddd1234"):
        kept.save(owner, "a", {"x": 1})
    found = removed(collect_garbage(toy, older_than=0), "unfinished")
    assert found.rows == 1
    assert [kept.read(owner) for owner in ("cccc1234", "dddd1234")] == [{}, {"a": {"x": 1}}]
