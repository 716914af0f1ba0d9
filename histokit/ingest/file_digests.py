"""Digests of a dataset's files, remembered with size and mtime so that only changed files are read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from histokit.datasets.walk import is_escaped
from histokit.errors import DataError
from histokit.files import oddity_of
from histokit.plugin import Dataset, Sample
from histokit.plugin.calls import plain_text, shown_error
from histokit.plugin.guarded import Guarded
from histokit.reading.chunks import cores
from histokit.store.records import FILE_SCHEMA

#: Samples whose files tell whether files are large, and from which size in bytes they are.
_LOOKED_AT = 32
_LARGE = 256 << 10

#: Disks and memory are busy with so many; samples that are looked at before it is their turn.
_THREADS = 32
_AHEAD = 256


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
        self._within = os.path.join(self.root, "")
        rows = remembered.to_pylist() if remembered is not None else []
        self.remembered = {r["path"]: FileState(r["size"], r["mtime_ns"], r["digest"], r["reason"]) for r in rows}
        self.states: dict[str, FileState] = {}
        self.read = 0

    def __call__(self, path: str) -> FileState:
        """Return the state of a file, given relative to the root."""
        if path not in self.states:
            self._keep(path, self._look(path))
        return self.states[path]

    def _keep(self, path: str, state: FileState) -> None:
        self.states[path] = state
        self.read += state.digest is not None and state is not self.remembered.get(path)

    def ahead(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield samples whose files are known; large files of those that come next are read by threads meanwhile.

        Reading and digesting a large file leaves the interpreter to others, which that of a small one does not; nor is
        a plugin's own digest asked for by several threads.
        """
        source = iter(samples)
        first = list(islice(source, _LOOKED_AT))
        large = _mean_size(self.root, first) >= _LARGE
        if not large or type(self.dataset).file_digest is not Dataset.file_digest:
            yield from chain(first, source)
            return
        pool = ThreadPoolExecutor(min(_THREADS, cores()), thread_name_prefix="digest")
        ended = False
        try:
            waiting: deque[tuple[Sample, dict[str, Future[FileState]]]] = deque()
            asked: set[str] = set()
            for sample in chain(first, source):
                paths = [path for path in sample.image if path not in self.states and path not in asked]
                asked.update(paths)
                waiting.append((sample, {path: pool.submit(self._look, path) for path in paths}))
                if len(waiting) > _AHEAD:
                    yield self._known(*waiting.popleft())
            while waiting:
                yield self._known(*waiting.popleft())
            ended = True
        finally:
            pool.shutdown(wait=ended, cancel_futures=True)

    def _known(self, sample: Sample, looked: Mapping[str, Future[FileState]]) -> Sample:
        for path, state in looked.items():
            self._keep(path, state.result())
        return sample

    def _look(self, path: str) -> FileState:
        full = os.path.join(self.root, path)
        try:
            reason = self._leaves_root(full)
            if reason is not None:
                return FileState(0, 0, None, f"{path} {reason}")
            status = os.stat(full)
            # A folder may be what a plugin reads.
            if odd := oddity_of(status):
                return FileState(0, 0, None, f"{path} cannot be read: it is {odd}, no file")
            before = self.remembered.get(path)
            if before and before.digest and (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return before
            digest = self.guarded.file_digest(Path(full))
            return FileState(status.st_size, status.st_mtime_ns, digest, None)
        except DataError as error:
            return FileState(0, 0, None, error.message)
        except (OSError, ValueError) as error:
            return FileState(0, 0, None, f"{path} cannot be read: {_reason(path, error)}")

    def _leaves_root(self, full: str) -> str | None:
        """Return why a path must not be read; links are followed, but the path as it is written stays in the root."""
        plain = os.path.normpath(full)
        if not os.path.join(plain, "").startswith(self._within):
            return f"lies outside the dataset's root {self.root}"
        if ".." in full and os.path.realpath(full) != os.path.realpath(plain):
            return "goes up from where a link leads: write where the file is"
        return None

    def to_table(self) -> pa.Table:
        """Return what is known as a table of `FILE_SCHEMA`."""
        rows = [{"path": path, **state._asdict()} for path, state in self.states.items()]
        return pa.Table.from_pylist(rows, schema=FILE_SCHEMA)


def _mean_size(root: Path, samples: Sequence[Sample]) -> float:
    paths = {path for sample in samples for path in sample.image}
    sizes = []
    for path in paths:
        with suppress(OSError, ValueError):
            sizes.append(os.stat(os.path.join(root, path)).st_size)
    return sum(sizes) / len(sizes) if sizes else 0.0


def _reason(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and is_escaped(path):
        return "its name is not valid UTF-8: rename it"
    told = error.strerror if isinstance(error, OSError) else str(error)
    return plain_text(str(told)) if told else shown_error(error)
