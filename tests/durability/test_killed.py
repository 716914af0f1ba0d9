"""An extraction that is killed, again and again, ends as one that nothing disturbed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from histokit.features import FeatureStore
from histokit.store.verify import verify
from tests.durability.forks import BATCH_SIZE, FLUSH_ROWS, NETWORKS
from tests.durability.processes import Life, Processes
from tests.durability.stores import check_same, ingested, many_images, rows, tables

#: Images that may have gone through a network in vain when it is killed: one write that is under way, and the next one.
LOST = 2 * (FLUSH_ROWS + BATCH_SIZE)
TABLES = 6


def command(store: FeatureStore) -> list[str]:
    networks = [word for name in NETWORKS for word in ("--backbone", name)]
    rest = ["--weights", "small=random:5", "--batch-size", str(BATCH_SIZE), "--store", str(store.uri), "--json"]
    return ["extract", "d", *networks, *rest]


def fewest(counts: Mapping[str, int]) -> dict[str, int]:
    """The rows that all tables of a network have."""
    return {name: min(counts.get(f"{name}/{layer}", 0) for layer in (0, 1, 3)) for name in NETWORKS}


class Survivor:
    """A store whose extraction is killed and resumed.

    Parameters
    ----------
    processes : Processes
    store : FeatureStore
    count : int
        Of images.
    """

    def __init__(self, processes: Processes, store: FeatureStore, count: int):
        self.processes, self.store, self.count = processes, store, count
        self.before: Mapping[str, int] = {}
        self.lost: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()

    def live(self, seconds: float, wait: bool) -> bool:
        """Run for some seconds, from the first batch or from the start; return whether it had to be killed."""
        life = self.processes.start(*command(self.store))
        if wait:
            life.begun()
        time.sleep(seconds)
        life.kill()
        if life.wait() == 0:
            self._check_end(life)
            return False
        assert life.code == -9, life.err
        self._check(life)
        return True

    def finish(self) -> None:
        """Run to the end."""
        self._check_end(self.processes.run(*command(self.store)))

    def _check(self, life: Life) -> None:
        after, passed = rows(self.store), life.passed
        for name in NETWORKS:
            # What was written before went through no network again, and what was lost is one write.
            assert passed[name] <= self.count - fewest(self.before)[name]
            gained = fewest(after)[name] - fewest(self.before)[name]
            assert 0 <= passed[name] - gained <= LOST
            self.lost[name] += passed[name] - gained
        assert all(after[address] >= count for address, count in self.before.items())
        self.before = after
        self.passed += passed

    def _check_end(self, life: Life) -> None:
        for table in life.document["tables"]:
            had = self.before.get(table["address"], 0)
            assert (table["cached"], table["computed"], table["missing"]) == (had, self.count - had, 0)
        for name in NETWORKS:
            assert life.passed[name] == self.count - fewest(self.before)[name]
            assert self.passed[name] + life.passed[name] == self.count + self.lost[name]


def kill_and_compare(processes: Processes, folder: Path, count: int, kills: int) -> None:
    """Kill an extraction `kills` times in all; where it ends before, begin with a new store."""
    root = many_images(folder / "images", count)
    whole = ingested(folder / "whole", root)
    life = processes.start(*command(whole))
    life.begun()
    begun = time.monotonic()
    assert life.wait() == 0, life.err
    seconds = time.monotonic() - begun
    undisturbed = tables(whole)
    assert [len(table) for table in undisturbed.values()] == [count] * TABLES
    moments = random.Random(20)
    resumed = killed = stores = 0
    while killed < kills:
        survivor = Survivor(processes, ingested(folder / f"store{stores}", root), count)
        stores += 1
        alive = True
        while killed < kills and alive:
            # Every eighth one dies while it starts, reads the store or makes its tables.
            wait = moments.random() > 1 / 8
            alive = survivor.live(moments.uniform(0, 1.5 * seconds / kills if wait else 0.4), wait)
            killed += alive
        resumed += sum(survivor.before.values())
        if alive:
            survivor.finish()
        check_same(tables(survivor.store), undisturbed)
        assert verify(survivor.store).findings == ()
    # A test whose kills all came before the first write would prove nothing.
    assert resumed > 0


def test_killed_four_times(forks: Processes, tmp_path: Path) -> None:
    kill_and_compare(forks, tmp_path, count=120, kills=4)


@pytest.mark.slow
def test_killed_thirty_times(fresh: Processes, tmp_path: Path) -> None:
    kill_and_compare(fresh, tmp_path, count=600, kills=30)
