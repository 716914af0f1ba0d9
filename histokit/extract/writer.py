"""Buffers vectors and writes them every 1,000 rows or ten seconds, or as soon as the write before has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.cores import cores
from histokit.extract.background import BackgroundThread
from histokit.extract.claims import Claim
from histokit.extract.ledger import BackboneLedger, TableLedger
from histokit.plugin.remarks import Remark, RemarkTally
from histokit.store import Store
from histokit.store.records import PROBLEM_SCHEMA, REMARK_STAGE
from histokit.store.vector_rows import finite_rows
from histokit.store.vector_writes import row_columns, stored_as

FLUSH_ROWS = 1_000
FLUSH_SECONDS = 10.0

#: How many times as many rows are collected, and how much memory they take, before a write that is slow is waited for.
LATE = 8
HELD_BYTES = 256 << 20

#: Tables that are written to at once: what takes the time is copies and check numbers, which one core makes of one.
_WRITERS = 4

Vectors = npt.NDArray[np.float32]

#: The positions of samples, and the columns of their rows but for the vectors.
_Columns = tuple[npt.NDArray[np.intp], tuple[pa.Array, ...]]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Samples that a batch gave vectors of: of one content, several may be.

    Parameters
    ----------
    rows : (n,) array of int
        Of each sample, the row of the batch's vectors.
    positions : (n,) array of int
    ids : list of str
    contents : list of bytes
    """

    rows: npt.NDArray[np.intp]
    positions: npt.NDArray[np.intp]
    ids: list[str]
    contents: list[bytes]

    def among(self, taken: npt.NDArray[np.bool_]) -> _Rows:
        """Return some of them; where it is all, the same object."""
        if taken.all():
            return self
        places = np.flatnonzero(taken)
        ids, contents = [self.ids[i] for i in places], [self.contents[i] for i in places]
        return _Rows(self.rows[places], self.positions[places], ids, contents)


@dataclass
class _Buffer:
    """Rows of one table that wait to be written, and their vectors as they are stored."""

    table: TableLedger
    members: list[_Rows] = field(default_factory=list)
    blocks: list[npt.NDArray[Any]] = field(default_factory=list)
    count: int = 0


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
        self._problems: dict[tuple[str, str], dict[str, Any]] = {}
        self._remarks = RemarkTally()
        self._remarked: dict[str, bytes] = {}
        self._buffers: dict[str, _Buffer] = {}
        self._finished: list[Claim] = []
        self._touched: set[str] = set()
        self._flushed = time.monotonic()
        self._thread = BackgroundThread("write")

    def add(self, network: BackboneLedger, contents: Sequence[bytes], vectors: Mapping[str, Vectors]) -> None:
        """Copy the vectors of a batch; one that holds NaN or infinity, as it is stored, becomes a problem."""
        tables = network.open_tables
        for table in tables:
            table.expect_width(vectors[table.plan.layer.name].shape[1])
        members = [(row, *member) for row, content in enumerate(contents) for member in network.jobs[content].members]
        batch = _Rows(
            np.array([row for row, _, _ in members], np.intp),
            np.array([position for _, position, _ in members], np.intp),
            [sample_id for _, _, sample_id in members],
            [contents[row] for row, _, _ in members],
        )
        for table in tables:
            self._put(table, batch, vectors[table.plan.layer.name])
        for content in contents:
            self._finish(network, content)
        network.pushed += len(contents)
        rows = max((buffer.count for buffer in self._buffers.values()), default=0)
        due = rows >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS
        # While a write is under way, the next one grows; the network waits only where it would grow too large.
        if due and (not self._thread.busy or rows >= LATE * FLUSH_ROWS or self._held() >= HELD_BYTES):
            self.flush()

    def _held(self) -> int:
        return sum(block.nbytes for buffer in self._buffers.values() for block in buffer.blocks)

    def _put(self, table: TableLedger, batch: _Rows, matrix: Vectors) -> None:
        stored = stored_as(matrix, table.plan.dtype)
        fits = finite_rows(stored)[batch.rows]
        wanted = table.missing[batch.positions]
        table.missing[batch.positions] = False
        taken = batch.among(wanted & fits)
        if taken.ids:
            buffer = self._buffers.setdefault(table.plan.name, _Buffer(table))
            buffer.members.append(taken)
            # A copy: the memory of the vectors is used again.
            buffer.blocks.append(stored[taken.rows])
            buffer.count += len(taken.ids)
        for place in np.flatnonzero(wanted & ~fits):
            finite = np.isfinite(matrix[batch.rows[place]]).all()
            what = f"numbers too large for {table.plan.dtype}" if finite else "NaN or infinity"
            reason = f"{table.plan.address} gave {what}"
            self._problem(batch.ids[place], batch.contents[place], reason, table.plan.name)

    def fail(
        self,
        networks: Sequence[BackboneLedger],
        content: bytes,
        reason: str,
        own: Mapping[int, str] | None = None,
    ) -> None:
        """Put the samples of a content that cannot be read in quarantine, with their own reasons where these are known.

        Parameters
        ----------
        own : mapping, optional
            Position → reason.
        """
        for network in networks:
            if content in network.jobs:
                for position, sample_id in network.jobs[content].members:
                    self._problem(sample_id, content, (own or {}).get(position, reason), "extract")
                self._finish(network, content)

    def fail_for(self, network: BackboneLedger, content: bytes, reason: str) -> None:
        """Put the samples of a content in quarantine for the tables of one network, which cannot take them."""
        for _, sample_id in network.jobs[content].members:
            for table in network.open_tables:
                self._problem(sample_id, content, reason, table.plan.name)
        self._finish(network, content)

    def remark(self, remarks: Sequence[Remark], content: bytes) -> None:
        """Count what is to be known of an image."""
        self._remarks.add(remarks)
        for each in remarks:
            self._remarked.setdefault(each.kind, content)

    def _problem(self, sample_id: str, content: bytes, reason: str, stage: str) -> None:
        problem = {"dataset": self.dataset, "id": sample_id, "content": content, "stage": stage, "reason": reason}
        self._problems[stage, sample_id] = problem

    def _finish(self, network: BackboneLedger, content: bytes) -> None:
        claim = network.jobs.pop(content).claim
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
            self._thread.do(lambda: self._write(list(buffers.values()), finished))

    def settle(self) -> None:
        """Wait until all that was handed over is written."""
        self._thread.wait()

    def _write(self, buffers: Sequence[_Buffer], finished: Sequence[Claim]) -> None:
        # The layers of a network have the same samples, but for those that had been there.
        shared: dict[tuple[int, ...], _Columns] = {}
        rows = []
        for buffer in buffers:
            same = tuple(map(id, buffer.members))
            if same not in shared:
                shared[same] = _columns(buffer.members)
            rows.append(shared[same])
            # One after the other: the list of tables has one writer at a time.
            buffer.table.make(buffer.blocks[0].shape[1])
            self._touched.add(buffer.table.plan.name)
        if len(buffers) > 1:
            with ThreadPoolExecutor(min(_WRITERS, cores(), len(buffers)), thread_name_prefix="write") as pool:
                for _ in pool.map(_insert, buffers, rows):
                    pass
        elif buffers:
            _insert(buffers[0], rows[0])
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


def _insert(buffer: _Buffer, rows: _Columns) -> None:
    buffer.table.computed += buffer.table.insert(*rows, np.concatenate(buffer.blocks))


def _columns(members: Sequence[_Rows]) -> _Columns:
    """Return the positions of samples one after the other, and the columns of their rows but for the vectors."""
    ids = [sample_id for rows in members for sample_id in rows.ids]
    contents = [content for rows in members for content in rows.contents]
    return np.concatenate([rows.positions for rows in members]), row_columns(ids, contents)
