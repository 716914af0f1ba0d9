"""Buffers vectors and writes them to the store every 1,000 rows or ten seconds, whichever is first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.extract.plan import BackbonePlan, Samples, TablePlan
from histokit.store import Store
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.vectors import insert_vectors

FLUSH_ROWS = 1_000
FLUSH_SECONDS = 10.0


class Writer:
    """Writes the vectors of all networks of an extraction.

    Parameters
    ----------
    store : Store
    dataset : str
    samples : Samples
    """

    def __init__(self, store: Store, dataset: str, samples: Samples):
        self.store = store
        self.dataset = dataset
        self.samples = samples
        self.problems: list[dict[str, Any]] = []
        self.computed: dict[str, int] = {}
        self._buffers: dict[str, tuple[TablePlan, list[int], list[npt.NDArray[np.float32]]]] = {}
        self._touched: set[str] = set()
        self._flushed = time.monotonic()

    def add(
        self, plan: BackbonePlan, contents: Sequence[bytes], vectors: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        """Take the vectors of a batch; one that holds NaN or infinity becomes a problem."""
        for table in plan.open_tables:
            matrix = vectors[table.layer.name]
            if table.table is None:
                table.table = self.store.create_feature_table(self.dataset, table.spec, matrix.shape[1], table.info)
            finite = np.isfinite(matrix).all(axis=1).reshape(-1)
            _, positions, rows = self._buffers.setdefault(table.table.name, (table, [], []))
            for content, vector, good in zip(contents, matrix, finite, strict=True):
                for position in table.missing.get(content, ()):
                    if good:
                        positions.append(position)
                        rows.append(vector)
                    else:
                        self.fail(position, f"{table.address} gave NaN or infinity", table.table.name)
        full = any(len(positions) >= FLUSH_ROWS for _, positions, _ in self._buffers.values())
        if full or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def fail(self, position: int, reason: str, stage: str = "extract") -> None:
        """Put a sample in quarantine: everywhere, or for the feature table that `stage` names."""
        problem = {
            "dataset": self.dataset,
            "id": self.samples.ids[position],
            "content": self.samples.contents[position],
            "stage": stage,
            "reason": reason,
        }
        self.problems.append(problem)

    def flush(self) -> None:
        """Write all that is buffered."""
        for name, (plan, positions, rows) in self._buffers.items():
            if not positions or plan.table is None:
                continue
            ids = [self.samples.ids[p] for p in positions]
            contents = [self.samples.contents[p] or b"" for p in positions]
            insert_vectors(self.store.database, plan.table, ids, contents, rows)
            self.computed[name] = self.computed.get(name, 0) + len(positions)
            self._touched.add(name)
            positions.clear()
            rows.clear()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left, and merge the small fragments."""
        self.flush()
        for stage in sorted({problem["stage"] for problem in self.problems}):
            rows = [problem for problem in self.problems if problem["stage"] == stage]
            ids = [problem["id"] for problem in rows]
            self.store.replace_problems(self.dataset, stage, pa.Table.from_pylist(rows, schema=PROBLEM_SCHEMA), ids)
        for name in sorted(self._touched):
            self.store.database.optimize(name)
