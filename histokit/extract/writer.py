"""Buffers vectors and writes them to the store every 1,000 rows or ten seconds, whichever is first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.extract.claims import Claim
from histokit.extract.plan import BackbonePlan, TablePlan
from histokit.plugin.remarks import Remark, RemarkTally
from histokit.store import Store
from histokit.store.records import PROBLEM_SCHEMA, REMARK_STAGE
from histokit.store.vectors import insert_vectors, storable, store_dtype

FLUSH_ROWS = 1_000
FLUSH_SECONDS = 10.0


@dataclass
class _Buffer:
    """Rows of one table that wait to be written."""

    plan: TablePlan
    ids: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    vectors: list[npt.NDArray[np.float32]] = field(default_factory=list)


class Writer:
    """Writes the vectors of all networks of an extraction.

    Parameters
    ----------
    store : Store
    dataset : str
    """

    def __init__(self, store: Store, dataset: str):
        self.store = store
        self.dataset = dataset
        self.computed: dict[str, int] = {}
        self._problems: dict[tuple[str, str], dict[str, Any]] = {}
        self._remarks = RemarkTally()
        self._remarked: dict[str, bytes] = {}
        self._buffers: dict[str, _Buffer] = {}
        self._finished: list[Claim] = []
        self._touched: set[str] = set()
        self._flushed = time.monotonic()

    def add(
        self, plan: BackbonePlan, contents: Sequence[bytes], vectors: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        """Take the vectors of a batch; one that holds NaN or infinity, as it is stored, becomes a problem."""
        for table in plan.open_tables:
            table.expect_width(vectors[table.layer.name].shape[1])
        for table in plan.open_tables:
            self._put(plan, table, contents, vectors[table.layer.name])
        for content in contents:
            self._finish(plan, content)
        plan.pushed += len(contents)
        full = any(len(buffer.ids) >= FLUSH_ROWS for buffer in self._buffers.values())
        if full or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def _put(
        self, plan: BackbonePlan, table: TablePlan, contents: Sequence[bytes], matrix: npt.NDArray[np.float32]
    ) -> None:
        name, dtype = table.name(self.dataset), store_dtype(table.spec)
        finite, fits = storable(matrix, "float32"), storable(matrix, dtype)
        buffer = self._buffers.setdefault(name, _Buffer(table))
        for content, vector, good, fit in zip(contents, matrix, finite, fits, strict=True):
            for position, sample_id in plan.jobs[content].members:
                if not table.missing[position]:
                    continue
                table.missing[position] = False
                if fit:
                    buffer.ids.append(sample_id)
                    buffer.contents.append(content)
                    buffer.vectors.append(vector)
                else:
                    what = f"numbers too large for {dtype}" if good else "NaN or infinity"
                    self._problem(sample_id, content, f"{table.address} gave {what}", name)

    def fail(
        self, plans: Sequence[BackbonePlan], content: bytes, reason: str, own: Mapping[int, str] | None = None
    ) -> None:
        """Put the samples of a content that cannot be read in quarantine, with their own reasons where these are known.

        Parameters
        ----------
        own : mapping, optional
            Position → reason.
        """
        for plan in plans:
            if content in plan.jobs:
                for position, sample_id in plan.jobs[content].members:
                    self._problem(sample_id, content, (own or {}).get(position, reason), "extract")
                self._finish(plan, content)

    def fail_for(self, plan: BackbonePlan, content: bytes, reason: str) -> None:
        """Put the samples of a content in quarantine for the tables of one network, which cannot take them."""
        for _, sample_id in plan.jobs[content].members:
            for table in plan.open_tables:
                self._problem(sample_id, content, reason, table.name(self.dataset))
        self._finish(plan, content)

    def remark(self, remarks: Sequence[Remark], content: bytes) -> None:
        """Count what is to be known of an image."""
        self._remarks.add(remarks)
        for each in remarks:
            self._remarked.setdefault(each.kind, content)

    def _problem(self, sample_id: str, content: bytes, reason: str, stage: str) -> None:
        problem = {"dataset": self.dataset, "id": sample_id, "content": content, "stage": stage, "reason": reason}
        self._problems[stage, sample_id] = problem

    def _finish(self, plan: BackbonePlan, content: bytes) -> None:
        claim = plan.jobs.pop(content).claim
        claim.left -= 1
        if not claim.left:
            self._finished.append(claim)

    def flush(self) -> None:
        """Write all that is buffered, and give back the claims on it."""
        for name, buffer in self._buffers.items():
            if not buffer.ids:
                continue
            # Made with its first rows, so that an extraction that fails leaves no empty table behind.
            table, keys = buffer.plan.made(self.store, self.dataset, len(buffer.vectors[0]))
            insert_vectors(self.store.database, table, buffer.ids, buffer.contents, buffer.vectors)
            keys.wrote()
            self.computed[name] = self.computed.get(name, 0) + len(buffer.ids)
            self._touched.add(name)
            self._buffers[name] = _Buffer(buffer.plan)
        while self._finished:
            self._finished.pop().release()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left, and merge the small fragments."""
        self.flush()
        for stage in sorted({stage for stage, _ in self._problems}):
            rows = [problem for problem in self._problems.values() if problem["stage"] == stage]
            ids = [problem["id"] for problem in rows]
            self.store.replace_problems(self.dataset, stage, pa.Table.from_pylist(rows, schema=PROBLEM_SCHEMA), ids)
        for kind, example, line in self._remarks.lines():
            stage = f"{REMARK_STAGE}: {kind}"
            row = {
                "dataset": self.dataset,
                "id": example,
                "content": self._remarked[kind],
                "stage": stage,
                "reason": line,
            }
            self.store.replace_problems(self.dataset, stage, pa.Table.from_pylist([row], schema=PROBLEM_SCHEMA))
        for name in sorted(self._touched):
            self.store.database.optimize(name)
