"""Processes that extract into one store at once, one of them killed, leave what a single one leaves."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from histokit.features import FeatureStore
from histokit.store.verify import verify
from tests.durability.forks import BATCH_SIZE
from tests.durability.processes import Processes
from tests.durability.stores import check_same, ingested, many_images, tables


def command(store: FeatureStore, network: str, layers: str) -> list[str]:
    weights = ["--weights", "random:5"] if network == "small" else []
    rest = ["--layers", layers, "--batch-size", str(BATCH_SIZE), "--store", str(store.uri), "--json"]
    return ["extract", "d", "--backbone", network, *weights, *rest]


def work(processes: int) -> list[tuple[str, str]]:
    """What each process extracts: some of it the same, some of it not."""
    return [("tiny", "0,3"), ("tiny", "0,1"), ("small", "0,3"), ("tiny", "0,1,3")][:processes]


def extract_together(processes: Processes, folder: Path, count: int, number: int, kills: int, **order: Any) -> None:
    root = many_images(folder / "images", count)
    alone, shared = ingested(folder / "alone", root), ingested(folder / "shared", root)
    for network, layers in work(number):
        processes.run(*command(alone, network, layers))
    moments = random.Random(number)
    lives = [processes.start(*command(shared, *request), **order) for request in work(number)]
    for _ in range(kills):
        # The first one, which the others may be waiting for.
        lives[0].begun()
        time.sleep(moments.uniform(0, 0.2))
        lives[0].kill()
        assert lives[0].wait() in (-9, 0), lives[0].err
        lives[0] = processes.start(*command(shared, *work(number)[0]), **order)
    assert [life.wait() for life in lives] == [0] * number, [life.err for life in lives]
    assert {table["missing"] for life in lives for table in life.document["tables"]} == {0}
    check_same(tables(shared), tables(alone))
    assert verify(shared).findings == ()


@pytest.mark.parametrize("number", [2, 4])
def test_two_and_four_processes_one_of_them_killed(forks: Processes, tmp_path: Path, number: int) -> None:
    extract_together(forks, tmp_path, count=80, number=number, kills=1)


@pytest.mark.parametrize("locks", ["refused", "empty"])
def test_four_processes_one_of_them_killed_where_no_lock_holds(forks: Processes, tmp_path: Path, locks: str) -> None:
    extract_together(forks, tmp_path, count=80, number=4, kills=1, locks=locks)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_two_and_four_processes_one_of_them_killed_often(fresh: Processes, tmp_path: Path, number: int) -> None:
    extract_together(fresh, tmp_path, count=800, number=number, kills=5)
