"""Records that tests of the store write, and what they watch."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from histokit.store import RunRecord
from histokit.store.records import PREDICTION_SCHEMA
from histokit.store.tables import Tables


def a_run(run_id: str, count: int = 3) -> tuple[RunRecord, pa.Table]:
    """Return a run on the dataset ``toy`` and its predictions of some samples."""
    run = RunRecord(
        run_id, "toy", "train", "net/last", "svm", "s", "00", ("a", "b"), "accuracy", {}, [], [], {}, 1.0, "2020"
    )
    shared = {"run": run_id, "repeat": 0, "fold": 0, "role": "test", "true": "a", "predicted": "a"}
    shared |= {"scores": [1.0, -1.0], "kind": "decision", "group": None, "levels": []}
    rows = [{**shared, "id": f"s{i}"} for i in range(count)]
    return run, pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


def count_opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count from now on how often each table is opened."""
    opened: Counter[str] = Counter()
    was_opened = Tables._open

    def counted(self: Tables, name: str, *how: Any) -> Any:
        opened[name] += 1
        return was_opened(self, name, *how)

    monkeypatch.setattr(Tables, "_open", counted)
    return opened


def started_together(commands: Sequence[Sequence[str]]) -> list[subprocess.Popen[str]]:
    """Start processes that print a line once they have imported all, and read what never comes: all go on at once."""
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for command in commands]
    for process in processes:
        assert process.stdout is not None
        with process.stdout as said:
            assert said.readline() == "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    return processes
