"""Records that tests of the store write."""

from __future__ import annotations

import pyarrow as pa

from histokit.store import RunRecord
from histokit.store.records import PREDICTION_SCHEMA


def a_run(run_id: str, count: int = 3) -> tuple[RunRecord, pa.Table]:
    """Return a run on the dataset ``toy`` and its predictions of some samples."""
    run = RunRecord(
        run_id, "toy", "train", "net/last", "svm", "s", "00", ("a", "b"), "accuracy", {}, [], [], {}, 1.0, "2020"
    )
    shared = {"run": run_id, "repeat": 0, "fold": 0, "role": "test", "true": "a", "predicted": "a"}
    shared |= {"scores": [1.0, -1.0], "kind": "decision", "group": None, "levels": []}
    rows = [{**shared, "id": f"s{i}"} for i in range(count)]
    return run, pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
