"""Tables may be merged and old versions removed while an extraction writes and others read."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from histokit.features import FeatureStore
from histokit.store.care import collect_garbage, compact
from histokit.store.verify import verify
from tests.durability.forks import BATCH_SIZE
from tests.durability.processes import Processes
from tests.durability.stores import check_same, ingested, many_images, tables

KEPT_SECONDS = 1.0


class Carer(threading.Thread):
    """Merges fragments and removes old versions until it is told to stop.

    Parameters
    ----------
    store : FeatureStore
    """

    def __init__(self, store: FeatureStore):
        super().__init__()
        self.store = FeatureStore(store.uri)
        self.enough = threading.Event()
        self.removed = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Care."""
        try:
            while not self.enough.is_set():
                compact(self.store)
                self.removed += sum(care.versions for care in collect_garbage(self.store, older_than=KEPT_SECONDS / 60))
        except Exception as error:
            self.error = error


def read_meanwhile(store: FeatureStore) -> int:
    """Open every table, wait, and read what was opened; return how many rows were read as they were promised."""
    read = 0
    for table in store.feature_tables("d"):
        opened = time.monotonic()
        version = store.database.table(table.name)
        try:
            expected = version.count_rows()
            time.sleep(KEPT_SECONDS / 4)
            found = version.to_table(columns=["key", "vector"])
        except (OSError, ValueError):
            # A version may go when it was replaced longer ago than that, as on a machine that is busy.
            if time.monotonic() - opened < KEPT_SECONDS:
                raise
            continue
        assert found.num_rows == expected
        assert len(set(found.column("key").to_pylist())) == expected
        read += expected
    return read


def care_meanwhile(processes: Processes, folder: Path, count: int, networks: tuple[str, ...]) -> None:
    root = many_images(folder / "images", count)
    alone, store = ingested(folder / "alone", root), ingested(folder / "store", root)
    commands = [["extract", "d", "--backbone", name, "--batch-size", BATCH_SIZE] for name in networks]
    for command in commands:
        processes.run(*command, "--store", alone.uri)
    lives = [processes.start(*command, "--store", store.uri) for command in commands]
    carer = Carer(store)
    for life in lives:
        life.begun()
    carer.start()
    read = 0
    # On a machine that is busy, extraction may be done before anything was read: care and reading still meet.
    while not (read and carer.removed and all(life.has_ended for life in lives)):
        read += read_meanwhile(store)
        assert carer.error is None
    carer.enough.set()
    carer.join()
    assert carer.error is None
    assert [life.wait() for life in lives] == [0] * len(lives), [life.err for life in lives]
    assert read > 0
    check_same(tables(store), tables(alone))
    assert verify(store).findings == ()


def test_care_while_one_writes_and_one_reads(forks: Processes, tmp_path: Path) -> None:
    care_meanwhile(forks, tmp_path, 160, ("tiny",))


@pytest.mark.slow
def test_care_while_two_write_and_one_reads(fresh: Processes, tmp_path: Path) -> None:
    care_meanwhile(fresh, tmp_path, 3_000, ("tiny", "small"))
