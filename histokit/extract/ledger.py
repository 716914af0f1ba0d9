"""What is still to do in the tables of an extraction, and what came into them: the only thing of it that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histokit.errors import StoreError
from histokit.extract.claims import Claim
from histokit.extract.plan import BackbonePlan, TablePlan
from histokit.extract.samples import Samples
from histokit.store import Store
from histokit.store.digest_columns import stream, take_vectors
from histokit.store.digest_positions import Positions
from histokit.store.keyed_rows import KeyedRows
from histokit.store.vector_writes import checked_vectors, row_columns, vector_rows
from histokit.store.vectors import FeatureTable, read_header

_COPIED_AT_ONCE = 4_096

#: In the facts of a table since CUDA resizes images to the grey levels that processors do.
_RESIZING = "cuda_resizing"


class TableLedger:
    """What is still to do in one table.

    Parameters
    ----------
    store : Store
    samples : Samples
    plan : TablePlan
    unusable : array of int
        Positions of samples that are known to give no vector for it.

    Attributes
    ----------
    missing : (samples,) bool array
        Samples that lack a vector which is not on its way.
    info : dict
        Facts that the table is made with.
    copied, computed : int
        Vectors that came into it.
    foreseen : int
        Vectors that would be copied, where none is.
    open : bool
        Whether the network has to run for it.
    """

    def __init__(self, store: Store, samples: Samples, plan: TablePlan, unusable: Positions):
        self.plan = plan
        self.info: dict[str, Any] = dict(plan.info)
        self.copied = self.computed = self.foreseen = 0
        #: Whether it, or one that vectors were copied from, was made when CUDA resized images to other grey levels.
        self.resized_otherwise = False
        self._store, self._samples, self._unusable = store, samples, unusable
        self._table: FeatureTable | None = None
        self._rows: KeyedRows | None = None
        self._arrivals = 0
        #: One thread may look whether the table is there while another one makes it.
        self._lock = Lock()
        self.missing = samples.usable.copy()
        self.missing[unusable] = False
        if plan.there is not None:
            self._use(plan.there)
        self.look()
        self.open = bool(self.missing.any())

    @property
    def cached(self) -> int:
        """The number of samples whose vector was there, or came from another process."""
        if self._rows is None:
            return 0
        stored = self._rows.stored
        return int(stored.sum()) - int(stored[self._unusable].sum()) - self.copied - self.computed

    @property
    def width(self) -> int | None:
        """The length of the vectors, once the table is there."""
        return self._table.width if self._table else None

    @property
    def is_there(self) -> bool:
        """Whether the table is there."""
        return self._table is not None

    def _use(self, table: FeatureTable) -> KeyedRows:
        with self._lock:
            if self._rows is None:
                self._rows = KeyedRows(self._store.database, table.name, self._samples.keys, self._samples.count)
                self._table = table
                self.resized_otherwise |= _RESIZING not in table.info
            return self._rows

    def look(self) -> None:
        """Take note of the rows that came since the last look."""
        rows = self._rows
        if rows is None and not self.plan.anew and self._store.database.exists(self.plan.name):
            rows = self._use(read_header(self._store.database, self.plan.name))
        if rows is None:
            return
        rows.look()
        # Of rows that this process added, nothing is missing.
        if rows.arrivals != self._arrivals:
            self._arrivals = rows.arrivals
            self.missing &= ~rows.stored

    def expect_width(self, width: int) -> None:
        """Raise where vectors of the network are of another length than those that are there.

        Raises
        ------
        StoreError
        """
        if self._table is not None and self._table.width != width:
            raise StoreError(
                f"The network gives vectors of {width} numbers for {self.plan.address}; those in the store have "
                f"{self._table.width}: it is another network now, under the same name and version.",
                next="Raise `version` of the backbone in its plugin, and all vectors are made anew under it; or undo "
                "the change.",
            )

    def insert(self, positions: Positions, columns: Sequence[pa.Array], vectors: npt.NDArray[Any]) -> int:
        """Add vectors of samples that have none yet; return their number.

        Parameters
        ----------
        positions : (n,) array of int
        columns : sequence of pyarrow.Array
            From `histokit.store.vector_writes.row_columns`.
        vectors : (n, d) array
            As they are stored.
        """
        table, rows = self.make(vectors.shape[1])
        return rows.insert(positions, vector_rows(table, columns, vectors))

    def make(self, width: int) -> tuple[FeatureTable, KeyedRows]:
        """Make the table for vectors of a width unless it is there, and return it and its rows.

        With its first rows at hand, so that an extraction that fails leaves no empty table behind.
        """
        table, rows = self._table, self._rows
        if table is None or rows is None:
            if self.plan.anew and self._store.database.exists(self.plan.name):
                self._store.database.drop(self.plan.name)
            table = self._store.create_feature_table(self.plan.dataset, self.plan.spec, width, self.info)
            rows = self._use(table)
        return table, rows

    def copy_known(self) -> None:
        """Copy what is known; the network has to run for what is still missing then."""
        for source in self.plan.sources:
            if not self.missing.any():
                break
            self._copy(source)
        self.open = bool(self.missing.any())

    def count_known(self) -> None:
        """Take note of what `copy_known` would copy, and write nothing."""
        for source in self.plan.sources:
            for _, positions in self._known(self._store.database.table(source.name)):
                self.foreseen += len(positions)
                self.missing[positions] = False
        self.open = bool(self.missing.any())

    def _known(self, version: Any) -> Iterator[tuple[npt.NDArray[np.intp], Positions]]:
        """Yield rows of a table, and the positions of the samples that lack their vectors."""
        start = 0
        for contents in stream(version, "content"):
            rows, positions = self._samples.contents.find(contents)
            wanted = self.missing[positions]
            positions, first = np.unique(positions[wanted], return_index=True)
            yield start + rows[wanted][first], positions
            start += len(contents)

    def _copy(self, source: FeatureTable) -> None:
        # One version for all reads, because merging fragments moves rows.
        version = self._store.database.table(source.name)
        for rows, positions in self._known(version):
            for piece in range(0, len(rows), _COPIED_AT_ONCE):
                here = slice(piece, piece + _COPIED_AT_ONCE)
                if self._table is None:
                    self.info = dict(source.info)
                # One that is damaged would have the check number of its damage in the copy: it is computed instead.
                found, sound = take_vectors(version, rows[here], source.checked)
                if not sound.any():
                    continue
                places = positions[here][sound]
                ids, stored_contents = self._samples.names(places)
                vectors = checked_vectors(source, ids, found[sound])
                self.copied += self.insert(places, row_columns(ids, stored_contents), vectors)
                self.missing[places] = False
                self.resized_otherwise |= _RESIZING not in source.info


@dataclass
class Job:
    """The samples of one content whose vectors a network is about to give.

    Parameters
    ----------
    claim : Claim
        What it is part of.
    members : list of (position, id)
    """

    claim: Claim
    members: list[tuple[int, str]]


class BackboneLedger:
    """What is still to do for one network.

    Parameters
    ----------
    store : Store
    samples : Samples
    plan : BackbonePlan
    problems : sequence of mapping
        Samples known to be bad (``position``), everywhere or for the feature table that ``stage`` names.

    Attributes
    ----------
    jobs : dict
        What the network was given and did not give back yet, by content.
    pushed, seconds : int, float
        Images that went through it, and its part of the time that all took.
    """

    def __init__(self, store: Store, samples: Samples, plan: BackbonePlan, problems: Sequence[Mapping[str, Any]] = ()):
        self.plan = plan
        self.jobs: dict[bytes, Job] = {}
        self.pushed, self.seconds = 0, 0.0
        self.tables = []
        for table in plan.tables:
            stages = {"ingest", "extract", table.name}
            unusable = sorted({problem["position"] for problem in problems if problem["stage"] in stages})
            self.tables.append(TableLedger(store, samples, table, np.array(unusable, np.intp)))

    def count_known(self) -> None:
        """Take note of what `copy_known` would copy, and write nothing."""
        for table in self.tables:
            table.count_known()

    def copy_known(self) -> None:
        """Copy vectors of the same content from under other ids, and from other datasets."""
        for table in self.tables:
            table.copy_known()

    @property
    def open_tables(self) -> list[TableLedger]:
        """The tables for which the network has to run."""
        return [table for table in self.tables if table.open]

    def check_code(self) -> None:
        """Raise where vectors would be added to those of an earlier state of the plugin, a PluginError."""
        self.plan.check_code([table.plan for table in self.open_tables])

    def mixed_on(self, device: str) -> list[str]:
        """Return what is to be known of tables to which a device of a type adds other vectors than it did before."""
        begun = [table.plan.address for table in self.open_tables if table.resized_otherwise]
        text = self.plan.mixed(begun) if device == "cuda" else None
        return [text] if text else []

    def needs(self, content: bytes) -> bool:
        """Return whether an image of this content, which was just read, has to go through the network."""
        return content in self.jobs

    def images(self, samples: Samples) -> npt.NDArray[np.bool_]:
        """Return for which samples the network has to run; of those of one content, for the first."""
        lacking = np.zeros(samples.count, dtype=bool)
        for table in self.open_tables:
            lacking |= table.missing
        return samples.twins.led(lacking)
