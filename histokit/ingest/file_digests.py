"""Digests of a dataset's files, remembered with size and mtime so that only changed files are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from histokit.datasets.walk import is_escaped
from histokit.errors import DataError
from histokit.files import oddity
from histokit.plugin import Dataset
from histokit.plugin.calls import plain_text, shown_error
from histokit.plugin.guarded import Guarded
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
        self.guarded = Guarded(dataset)
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
        full = self.root / path
        try:
            reason = self._leaves_root(full)
            if reason is not None:
                return FileState(0, 0, None, f"{path} {reason}")
            status = full.stat()
            # A folder may be what a plugin reads.
            if odd := oddity(full):
                return FileState(0, 0, None, f"{path} cannot be read: it is {odd}, no file")
            before = self.remembered.get(path)
            if before and before.digest and (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return before
            self.read += 1
            digest = self.guarded.file_digest(full)
            return FileState(status.st_size, status.st_mtime_ns, digest, None)
        except DataError as error:
            return FileState(0, 0, None, error.message)
        except (OSError, ValueError) as error:
            return FileState(0, 0, None, f"{path} cannot be read: {_reason(path, error)}")

    def _leaves_root(self, full: Path) -> str | None:
        """Return why a path must not be read; links are followed, but the path as it is written stays in the root."""
        plain = Path(os.path.normpath(full))
        if not plain.is_relative_to(self.root):
            return f"lies outside the dataset's root {self.root}"
        if ".." in full.parts and os.path.realpath(full) != os.path.realpath(plain):
            return "goes up from where a link leads: write where the file is"
        return None

    def to_table(self) -> pa.Table:
        """Return what is known as a table of `FILE_SCHEMA`."""
        rows = [{"path": path, **state._asdict()} for path, state in self.states.items()]
        return pa.Table.from_pylist(rows, schema=FILE_SCHEMA)


def _reason(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and is_escaped(path):
        return "its name is not valid UTF-8: rename it"
    told = error.strerror if isinstance(error, OSError) else str(error)
    return plain_text(str(told)) if told else shown_error(error)
