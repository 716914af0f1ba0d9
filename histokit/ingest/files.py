"""Digests of a dataset's files, remembered with size and mtime so that only changed files are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from histokit.errors import DataError
from histokit.plugin import Dataset
from histokit.store.records import FILE_SCHEMA


class FileState(NamedTuple):
    """What is known of a file; without digest where it cannot be read, and why."""

    size: int
    mtime_ns: int
    digest: bytes | None
    reason: str | None


class FileDigests:
    """Looks up the digest of each file once.

    Parameters
    ----------
    dataset : Dataset
    remembered : pyarrow.Table, optional
        Of `FILE_SCHEMA`, from an earlier ingestion.
    """

    def __init__(self, dataset: Dataset, remembered: pa.Table | None):
        self.dataset = dataset
        self.root = dataset.root.resolve()
        rows = remembered.to_pylist() if remembered is not None else []
        self.remembered = {r["path"]: FileState(r["size"], r["mtime_ns"], r["digest"], r["reason"]) for r in rows}
        self.states: dict[str, FileState] = {}
        self.read = 0

    def __call__(self, path: str) -> FileState:
        """Return the state of a file, given relative to the root."""
        if path not in self.states:
            self.states[path] = self._look(path)
        return self.states[path]

    def _look(self, path: str) -> FileState:
        # Links are followed; only the path as it is written must not leave the root.
        full = Path(os.path.normpath(self.root / path))
        try:
            if not full.is_relative_to(self.root):
                return FileState(0, 0, None, f"{path} lies outside the dataset's root {self.root}")
            status = full.stat()
            before = self.remembered.get(path)
            if before and before.digest and (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return before
            self.read += 1
            digest = self.dataset.file_digest(full)
            return FileState(status.st_size, status.st_mtime_ns, digest, None)
        except DataError as error:
            return FileState(0, 0, None, error.message)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return FileState(0, 0, None, f"{path} cannot be read: {reason}")

    def to_table(self) -> pa.Table:
        """Return what is known as a table of `FILE_SCHEMA`."""
        rows = [{"path": path, **state._asdict()} for path, state in self.states.items()]
        return pa.Table.from_pylist(rows, schema=FILE_SCHEMA)
