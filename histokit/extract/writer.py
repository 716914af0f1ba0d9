"""Buffers vectors and writes them to the store every 1,000 rows or ten seconds, whichever is first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.extract.background import BackgroundThread
from histokit.extract.claims import Claim
from histokit.extract.plan import BackbonePlan, TablePlan
from histokit.plugin.remarks import Remark, RemarkTally
from histokit.store import Store
from histokit.store.records import PROBLEM_SCHEMA, REMARK_STAGE
from histokit.store.vectors import insert_vectors, storable, store_dtype

FLUSH_ROWS = 1_000
FLUSH_SECONDS = 10.0

#: How many times as many rows are collected, and how much memory they take, before a write that is slow is waited for.
LATE = 8
HELD_BYTES = 256 << 20


@dataclass
class _Buffer:
    """Rows of one table that wait to be written; those of each block of vectors one after the other."""

    plan: TablePlan
    ids: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    blocks: list[npt.NDArray[np.float32]] = field(default_factory=list)


class _Rows(NamedTuple):
    """The samples that a batch is about: of one content, several may be."""

    #: Of each sample, the row of the batch's vectors.
    rows: npt.NDArray[np.intp]
    positions: npt.NDArray[np.intp]
    ids: list[str]
    contents: list[bytes]


class Writer:
    """Writes the vectors of all networks of an extraction, in a thread, so that no network waits for the disk.

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
        self._thread = BackgroundThread("write")

    def add(
        self, plan: BackbonePlan, contents: Sequence[bytes], vectors: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        """Copy the vectors of a batch; one that holds NaN or infinity, as it is stored, becomes a problem."""
        for table in plan.open_tables:
            table.expect_width(vectors[table.layer.name].shape[1])
        members = [(row, *member) for row, content in enumerate(contents) for member in plan.jobs[content].members]
        batch = _Rows(
            np.array([row for row, _, _ in members], np.intp),
            np.array([position for _, position, _ in members], np.intp),
            [sample_id for _, _, sample_id in members],
            [contents[row] for row, _, _ in members],
        )
        for table in plan.open_tables:
            self._put(table, batch, vectors[table.layer.name])
        for content in contents:
            self._finish(plan, content)
        plan.pushed += len(contents)
        rows = max((len(buffer.ids) for buffer in self._buffers.values()), default=0)
        due = rows >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS
        # While a write is under way, the next one grows; the network waits only where it would grow too large.
        if due and (not self._thread.busy or rows >= LATE * FLUSH_ROWS or self._held() >= HELD_BYTES):
            self.flush()

    def _held(self) -> int:
        return sum(block.nbytes for buffer in self._buffers.values() for block in buffer.blocks)

    def _put(self, table: TablePlan, batch: _Rows, matrix: npt.NDArray[np.float32]) -> None:
        name, dtype = table.name(self.dataset), store_dtype(table.spec)
        fits = storable(matrix, dtype)[batch.rows]
        wanted = table.missing[batch.positions]
        table.missing[batch.positions] = False
        taken = np.flatnonzero(wanted & fits)
        if len(taken):
            buffer = self._buffers.setdefault(name, _Buffer(table))
            buffer.ids += [batch.ids[place] for place in taken]
            buffer.contents += [batch.contents[place] for place in taken]
            buffer.blocks.append(matrix[batch.rows[taken]])
        for place in np.flatnonzero(wanted & ~fits):
            finite = np.isfinite(matrix[batch.rows[place]]).all()
            what = f"numbers too large for {dtype}" if finite else "NaN or infinity"
            self._problem(batch.ids[place], batch.contents[place], f"{table.address} gave {what}", name)

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
        """Hand over all that is buffered to be written, and the claims on it to be given back then.

        Raises
        ------
        Exception
            That a write before it ended in.
        """
        buffers, self._buffers = self._buffers, {}
        finished, self._finished = self._finished, []
        self._flushed = time.monotonic()
        if buffers or finished:
            self._thread.do(lambda: self._write(buffers, finished))

    def settle(self) -> None:
        """Wait until all that was handed over is written."""
        self._thread.wait()

    def _write(self, buffers: Mapping[str, _Buffer], finished: Sequence[Claim]) -> None:
        for name, buffer in buffers.items():
            # Made with its first rows, so that an extraction that fails leaves no empty table behind.
            table, keys = buffer.plan.made(self.store, self.dataset, buffer.blocks[0].shape[1])
            vectors = np.concatenate(buffer.blocks)
            insert_vectors(self.store.database, table, buffer.ids, buffer.contents, vectors)
            keys.wrote()
            self.computed[name] = self.computed.get(name, 0) + len(buffer.ids)
            self._touched.add(name)
        for claim in finished:
            claim.release()

    def close(self) -> None:
        """Write what is left, and merge the small fragments."""
        try:
            self.flush()
        finally:
            self._thread.end()
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
