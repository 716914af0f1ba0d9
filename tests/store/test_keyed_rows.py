"""Writers of one feature table that know nothing of each other: every key is there once, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from lance import LanceDataset

from histokit.features import FeatureStore
from histokit.plugin.digests import digest_bytes
from histokit.store import Store
from histokit.store.care import collect_garbage
from histokit.store.database import Database
from histokit.store.vector_writes import VectorInserter
from histokit.store.vectors import FeatureTable
from histokit.store.verify import verify
from tests.toy import insert_vectors, make_store

WIDTH = 4
IDS = [f"s{i:03d}" for i in range(60)]
X = np.arange(len(IDS) * WIDTH, dtype=np.float32).reshape(-1, WIDTH)


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    return make_store(tmp_path / "store", {"id": IDS, "label": ["a", "b"] * 30}, {"last": np.full((60, WIDTH), np.nan)})


def content(sample_id: str) -> bytes:
    return digest_bytes(sample_id.encode())


def inserter(store: Store) -> VectorInserter:
    (table,) = store.feature_tables("toy")
    return VectorInserter(store.database, table, IDS, [content(i) for i in IDS])


def check_all(store: FeatureStore, count: int = len(IDS)) -> None:
    """Require that the first samples are there, each once, with its own vector."""
    (table,) = store.feature_tables("toy")
    rows = store.database.read(table.name).sort_by("id")
    assert rows.column("id").to_pylist() == IDS[:count]
    assert (np.array(rows.column("vector").to_pylist(), np.float32) == X[:count]).all()
    assert verify(store).ok


def data_files(store: FeatureStore, table: FeatureTable) -> set[str]:
    return {path.name for path in (store.uri / f"{table.name}.lance" / "data").iterdir()}


def compact(store: FeatureStore) -> None:
    assert store.database.optimize(store.feature_tables("toy")[0].name, whole=True)


def add_some(store: FeatureStore) -> None:
    insert_vectors(
        store.database, store.feature_tables("toy")[0], IDS[20:40], [content(i) for i in IDS[20:40]], X[20:40]
    )


def delete_oldest(store: FeatureStore) -> None:
    """Delete a row of the oldest fragment, and put it back."""
    (table,) = store.feature_tables("toy")
    store.database.delete(table.name, "id = 's000'")
    insert_vectors(store.database, table, IDS[:1], [content(IDS[0])], X[:1])


def merge_older_and_add(store: FeatureStore) -> None:
    """Merge all fragments but the last, then add rows."""
    table = store.database.table(store.feature_tables("toy")[0].name)
    last = max(fragment.fragment_id for fragment in table.get_fragments())
    table.optimize.compact_files(excluded_fragment_ids=[last])
    add_some(store)


def add_merge_and_forget(store: FeatureStore) -> None:
    """Add rows twice, merge all fragments but the oldest, and remove the versions that tell of it."""
    insert_vectors(store.database, store.feature_tables("toy")[0], IDS[10:11], [content(IDS[10])], X[10:11])
    add_some(store)
    table = store.database.table(store.feature_tables("toy")[0].name)
    table.optimize.compact_files(excluded_fragment_ids=[min(table.fragment_ids())])
    collect_garbage(store, older_than=0)


def acting_before_the_first_write(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, act: Callable[[FeatureStore], None]
) -> list[int]:
    """Let something be done between the look and the first write; return the rows of each write, as they come."""
    add_on, calls = Database.add_on, []

    def interrupted(database: Database, name: str, version: Any, rows: Any) -> Any:
        calls.append(rows.num_rows)
        if len(calls) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(Database, "add_on", add_on)
                act(store)
        return add_on(database, name, version, rows)

    monkeypatch.setattr(Database, "add_on", interrupted)
    return calls


@pytest.mark.parametrize("act", [add_some, compact, delete_oldest, merge_older_and_add, add_merge_and_forget])
@pytest.mark.parametrize("before", [(0, 10, 40), (0,)])
def test_what_others_commit_between_the_look_and_the_write_counts(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, act: Callable[[FeatureStore], None], before: tuple[int, ...]
) -> None:
    mine = inserter(toy)
    for start in before:
        mine.insert(IDS[start : start + 10], X[start : start + 10])
    if act is compact and len(before) == 1:
        add_some(toy)
    calls = acting_before_the_first_write(toy, monkeypatch, act)
    missing = 60 - toy.database.count(toy.feature_tables("toy")[0].name)
    there = 20 if act in (add_some, merge_older_and_add, add_merge_and_forget) else 0
    if act is add_merge_and_forget and len(before) == 1:
        there += 1
    assert mine.insert(IDS, X) == missing - there
    assert calls == [missing, missing - there]
    check_all(toy)


@pytest.mark.parametrize(
    ("error", "merged"),
    [
        (ValueError("Not found: 18446744073709551581.manifest"), False),
        (OSError("No such file"), False),
        (OSError("No such file"), True),
    ],
)
def test_versions_that_go_while_they_are_listed_are_not_known(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, error: Exception, merged: bool
) -> None:
    def merge_newer(store: FeatureStore) -> None:
        table = store.database.table(store.feature_tables("toy")[0].name)
        table.optimize.compact_files(excluded_fragment_ids=[min(table.fragment_ids())])

    mine = inserter(toy)
    for start in (0, 10, 20):
        mine.insert(IDS[start : start + 10], X[start : start + 10])
    calls = acting_before_the_first_write(toy, monkeypatch, merge_newer)
    failures = [error]
    versions = LanceDataset.versions

    def listed(dataset: LanceDataset) -> list[Any]:
        if failures:
            failure = failures.pop()
            if merged:
                # What was just added, with the rest.
                LanceDataset(dataset.uri).optimize.compact_files()
            raise failure
        return versions(dataset)

    monkeypatch.setattr(LanceDataset, "versions", listed)
    assert mine.insert(IDS, X) == 30
    assert calls == [30, 30]
    assert not failures
    check_all(toy)


def test_the_first_rows_of_a_table_come_from_one_writer(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = toy.feature_tables("toy")
    calls = acting_before_the_first_write(toy, monkeypatch, add_some)
    assert inserter(toy).insert(IDS, X) == 40
    assert calls == [60, 40]
    check_all(toy)
    # What was refused leaves no file behind.
    assert len(data_files(toy, table)) == 2


def test_a_table_that_took_the_place_of_another_is_looked_at_anew(toy: FeatureStore) -> None:
    (table,) = toy.feature_tables("toy")
    mine = inserter(toy)
    mine.insert(IDS[:10], X[:10])
    (toy.uri / f"{table.name}.lance").rename(toy.uri / "aside")
    again = toy.create_feature_table("toy", table.spec, WIDTH, table.info)
    insert_vectors(toy.database, again, IDS[30:], [content(i) for i in IDS[30:]], X[30:])
    assert mine.insert(IDS[20:], X[20:]) == 10
    assert sorted(toy.database.read(table.name, ["id"]).column("id").to_pylist()) == IDS[20:]
    assert toy.database.read(table.name).num_rows == 40


def test_threads_with_and_without_a_store_of_their_own(toy: FeatureStore) -> None:
    shared = inserter(toy)
    inserters = [shared, shared, inserter(Store(toy.uri)), inserter(Store(toy.uri))]
    barrier = Barrier(len(inserters))

    def insert(number: int) -> int:
        order = random.Random(number).sample(range(len(IDS)), len(IDS))
        barrier.wait()
        pieces = [order[start : start + 12] for start in range(0, len(IDS), 12)]
        return sum(inserters[number].insert([IDS[i] for i in piece], X[piece]) for piece in pieces)

    with ThreadPoolExecutor(len(inserters)) as pool:
        assert sum(pool.map(insert, range(len(inserters)))) == 60
    check_all(toy)


def test_a_table_is_made_once(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / str(number)
        make_store(folder, {"id": IDS, "label": ["a", "b"] * 30}, {})
        barrier = Barrier(4)

        def fill(part: int, folder: Path = folder, barrier: Barrier = barrier) -> None:
            store = Store(folder)
            barrier.wait()
            # Without the lock, which a file system may not have.
            store.database.commits._lock = _NoLock()
            table = store.create_feature_table("toy", {"backbone": "net", "layer": "last"}, WIDTH, {"layers": ["last"]})
            here = slice(15 * part, 15 * part + 15)
            insert_vectors(store.database, table, IDS[here], [content(i) for i in IDS[here]], X[here])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fill, range(4)))
        check_all(FeatureStore(folder))
        assert not list(folder.glob("making-*"))


class _NoLock:
    def held(self, busy: Exception) -> nullcontext[None]:
        return nullcontext()


_WRITER = """
import random, sys
from tests.store.test_keyed_rows import IDS, X, inserter
from histokit.store import Store
store, number = Store(__import__("pathlib").Path(sys.argv[1])), int(sys.argv[2])
mine, inserted = inserter(store), 0
name = store.feature_tables("toy")[0].name
sys.stdin.readline()
order = random.Random(number).sample(range(len(IDS)), len(IDS))
for start in range(0, len(IDS), 4):
    piece = order[start:start + 4]
    inserted += mine.insert([IDS[i] for i in piece], X[piece])
    if start % 20 == 0:
        store.database.optimize(name)
print(inserted)
"""


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(5))
def test_processes_that_also_merge_fragments(toy: FeatureStore, turn: int) -> None:
    top = Path(__file__).parents[2]
    commands = [[sys.executable, "-c", _WRITER, str(toy.uri), str(4 * turn + i)] for i in range(4)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(c, stdin=pipe, stdout=pipe, text=True, cwd=top) for c in commands]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=120)[0]) for process in processes) == 60
    check_all(toy)
