"""The files of a dataset as they were when it was ingested."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import DataError, PluginError
from histokit.plugin import Dataset, Sample
from histokit.plugin.digests import UNKNOWN, FileState, is_same_state, state_of
from histokit.plugin.guarded import Guarded
from histokit.plugin.image_files import ImageFiles
from histokit.plugin.manager import registry
from histokit.plugin.reader_marks import NETPBM, NETPBM_SUFFIXES, NUMBERED, READER_REVISION
from histokit.reading.reader import DEADLY
from histokit.store import DatasetRecord, Store
from histokit.store.database import quote
from histokit.store.ingested_tables import Ingested
from histokit.store.repeat_commands import ingest_command

#: What the state of a file is made of; earlier versions wrote the first two.
_STATE = ("size", "mtime_ns", "inode_ctime")


class Opening(NamedTuple):
    """How a dataset is opened by its plugin, in this process and in others."""

    plugin: str
    root: str
    options: Mapping[str, Any]
    state: Any

    def open(self) -> Dataset:
        """Open it."""
        return registry().open_dataset(*self)


class IngestedFiles:
    """Tells whether a file is still the one that was ingested, so that no vector is stored under another's content.

    Parameters
    ----------
    dataset : Dataset
    files : Ingested, optional
        Of `histokit.store.records.FILE_SCHEMA`.
    reader : int
        Revision of the reader of images when they were ingested.
    opening : Opening, optional
        By which another process opens the dataset; none where only this one can.
    again : str
        The command that ingests the dataset again, from another ROOT.
    deadly : mapping, optional
        Samples that ended processes which read them: id → reason. This one does not read them.

    Raises
    ------
    StoreError
        If the files are not what was written.
    """

    def __init__(
        self,
        dataset: Dataset,
        files: Ingested | None,
        reader: int = READER_REVISION,
        opening: Opening | None = None,
        again: str = "histokit ingest PLUGIN ROOT --name NAME",
        deadly: Mapping[str, str] | None = None,
    ):
        self.opening, self._again = opening, again
        self.deadly: Mapping[str, str] = deadly or {}
        self.dataset = dataset
        self.guarded = Guarded(dataset)
        #: Whether files may be read otherwise than when they were ingested.
        self.outdated = reader < min(NUMBERED, READER_REVISION)
        self._revision, self._images = reader, ImageFiles(dataset)
        self._files = None if files is None else files.table
        count = 0 if self._files is None else self._files.count_rows()
        # Arrays, because a dictionary of millions of paths would fill the memory.
        keys, states = np.empty(count, np.int64), np.empty((count, len(_STATE)), np.int64)
        start = 0
        known = () if self._files is None else self._files.schema.names
        columns = [name for name in ("path", *_STATE, "digest") if name in known]
        # The digests are read as well, so that one pass tells whether all is what was written.
        for batch in () if files is None else files.batches(columns):
            here = slice(start, start + len(batch))
            keys[here] = _keys(batch.column("path").to_pylist())
            states[here] = state_columns(batch)
            if reader < min(NETPBM, READER_REVISION) and not self.outdated:
                names = pc.utf8_lower(batch.column("path"))
                self.outdated = any(pc.any(pc.ends_with(names, end)).as_py() for end in NETPBM_SUFFIXES)
            start = here.stop
        self._rows = np.argsort(keys)
        self._keys, self._states = keys[self._rows], states[self._rows]
        #: The file that was last found to be another one, and its state.
        self._other: tuple[int, FileState] | None = None

    def changed(self, sample: Sample) -> str | None:
        """Return why a sample's pixels may not be those that were ingested, or none where they are."""
        for path in sample.image:
            if self._differs(path):
                return f"{path} changed since the dataset was ingested: ingest it again"
            if self.outdated and self._images.altered(path, self._revision):
                return f"{path} is read otherwise than by the version that ingested the dataset: ingest it again"
        return None

    def check_root(self) -> None:
        """Raise where all files are gone at once, as those of a drive are that is not mounted.

        Raises
        ------
        DataError
        """
        root = self.dataset.root
        if not len(self._keys):
            return
        try:
            gone = "is empty" if root.is_dir() and not any(root.iterdir()) else ""
            root.stat()
        except OSError as error:
            gone = f"cannot be reached: {error.strerror}"
        if gone:
            raise DataError(
                f"The root {str(root)!r} of the dataset {gone}.",
                next=f"Mount its drive, or ingest it from the ROOT where it is now: {self._again}",
            )

    def states(self, paths: Sequence[str]) -> list[FileState | None]:
        """Return the states in which files had the content that was ingested, or none where that is not known."""
        keys = _keys(paths)
        places = np.searchsorted(self._keys, keys)
        known = places < len(self._keys)
        known[known] = self._keys[places[known]] == keys[known]
        found = iter(self._states[places[known]].tolist())
        return [tuple(next(found)) if here else None for here in known.tolist()]

    def _differs(self, path: str) -> bool:
        key = hash(path)
        place = int(np.searchsorted(self._keys, key))
        if place == len(self._keys) or self._keys[place] != key:
            return False
        state = self._state(path)
        before: FileState = tuple(self._states[place].tolist())
        if is_same_state(before, state) or self._files is None:
            return False
        if self._other == (place, state):
            return True
        digest = self._files.take([int(self._rows[place])], columns=["digest"]).column("digest")[0].as_py()
        try:
            same = self.guarded.file_digest(self.dataset.root / path) == digest
        except OSError:
            # A folder, a pipe, or what nobody may read.
            return True
        except DataError:
            same = False
        # Neither one that was touched or copied nor another one is read again for the next of its samples.
        if same:
            self._states[place] = state
        else:
            self._other = place, state
        return not same

    def _state(self, path: str) -> FileState:
        try:
            return self.guarded.file_state(path)
        except DataError:
            # What tells of files beside it is spoilt.
            return state_of(os.stat(self.dataset.root / path))


def state_columns(files: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Return the states of files in rows of `histokit.store.records.FILE_SCHEMA`, (n, 3)."""
    states = np.full((len(files), len(_STATE)), UNKNOWN, np.int64)
    for place, name in enumerate(_STATE):
        if name in files.schema.names:
            states[:, place] = files.column(name).fill_null(UNKNOWN).to_numpy()
    return states


def _keys(paths: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return numbers of 64 bits by which paths are found again in this process, (n,)."""
    return np.fromiter(map(hash, paths), np.int64, len(paths))


def _files(store: Store, record: DatasetRecord) -> Ingested | None:
    return store.ingested(record, "files") if store.database.exists(f"files.{record.name}") else None


def _deadly(store: Store, record: DatasetRecord) -> dict[str, str]:
    """Return the samples whose content ended processes that read it, and why they have no pixels."""
    rows = [row for row in store.problems(record.name).to_pylist() if row["reason"].endswith(DEADLY)]
    if not rows:
        return {}
    listed = ", ".join(quote(row["id"]) for row in rows)
    now = store.samples(record.name, ["id", "content"], f"id IN ({listed})")
    contents = dict(zip(now.column("id").to_pylist(), now.column("content").to_pylist(), strict=True))
    return {row["id"]: row["reason"] for row in rows if contents.get(row["id"]) == row["content"]}


def open_files(store: Store, record: DatasetRecord) -> IngestedFiles:
    """Open a dataset by its plugin, to read its images.

    Raises
    ------
    PluginError
        If the plugin is absent, or has another version than when the dataset was ingested.
    """
    opening = Opening(record.plugin, record.root, record.options, record.state)
    opened = opening.open()
    if opened.version != record.plugin_version:
        raise PluginError(
            f"The dataset {record.name!r} was ingested with version {record.plugin_version} of the plugin "
            f"{record.plugin!r}; installed is {opened.version}.",
            next="Ingest it again; features whose pixels are the same are kept.",
        )
    again = ingest_command(replace(record, root="ROOT"))
    return IngestedFiles(opened, _files(store, record), record.reader, opening, again, _deadly(store, record))
