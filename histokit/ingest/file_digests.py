"""Digests of a dataset's files, remembered with their states so that only changed files are read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice, repeat
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from histokit import streams
from histokit.cores import cores
from histokit.datasets.walk import is_escaped
from histokit.errors import DataError, counted
from histokit.files import oddity_of
from histokit.ingest.digest_process import FilesFound, FileTask, State
from histokit.ingest.digest_processes import FileReaders
from histokit.ingest.file_states import FileStates
from histokit.plugin import Dataset, Sample
from histokit.plugin.calls import plain_text, shown_error
from histokit.plugin.digests import is_same_state
from histokit.plugin.guarded import Guarded
from histokit.plugin.signatures import HEAD, Signature, text_in_place
from histokit.store.records import FILE_SCHEMA
from histokit.store.spilled_rows import SpilledRows

#: Samples whose files tell whether files are large, and from which size in bytes they are.
_LOOKED_AT = 32
_LARGE = 256 << 10

#: Disks and memory are busy with so many; samples that are looked at before it is their turn.
_THREADS = 32
_AHEAD = 256

#: Samples whose files are read as one task.
_GROUP = 128

#: As many images as small as a pointer of Git LFS say that all are so small: no more are looked into.
_SMALL_IMAGES = 1_000

_OWN_DIGEST = Dataset.file_digest


class FileState(NamedTuple):
    """What is known of a file; without digest where it cannot be read, and why."""

    size: int
    mtime_ns: int
    inode_ctime: int
    digest: bytes | None
    reason: str | None


class FileDigests:
    """Looks up the digest of each file once.

    Parameters
    ----------
    dataset : Dataset
    remembered : pyarrow.Table, optional
        Of `FILE_SCHEMA`, from an earlier ingestion.
    store : Path
        Of the store, beside which there is room for what is known of many files.
    """

    def __init__(self, dataset: Dataset, remembered: pa.Table | None, store: Path):
        self.dataset = dataset
        self.guarded = Guarded(dataset)
        self.root = dataset.root.resolve()
        self._within = os.path.join(self.root, "")
        self.remembered = FileStates() if remembered is None else FileStates.of(remembered)
        self.rows = SpilledRows(FILE_SCHEMA, store)
        self.states = FileStates(self.rows)
        self.read = 0
        self._stand_ins = self._small_images = 0
        self._stand_in: tuple[str, Signature] | None = None

    def __call__(self, path: str) -> FileState:
        """Return the state of a file, given relative to the root."""
        return FileState._make(self.states.get(path) or self._looked(path))

    def digest(self, path: str) -> bytes | None:
        """Return the digest of a file, or none where it cannot be read."""
        return (self.states.get(path) or self._looked(path))[3]

    def _looked(self, path: str) -> State:
        state = self._look(path)
        self._keep(path, state, self.remembered.get(path) if self.remembered else None)
        return state

    def _keep(self, path: str, state: State, before: State | None) -> None:
        self.states.add(path, state)
        if 0 < state[0] <= HEAD and state[3] is not None and self._small_images < _SMALL_IMAGES:
            self._look_into(path)
        self.read += state[3] is not None and not (before and is_same_state(before[:3], state[:3]))

    def _look_into(self, path: str) -> None:
        """Take note of a file that is as small as what stands in the place of an image, and is such a thing."""
        # A path may be of a folder, or of what only the plugin finds.
        with suppress(OSError, ValueError), open(os.path.join(self.root, path), "rb") as file:
            if found := text_in_place(file.read(HEAD)):
                self._stand_ins += 1
                self._stand_in = self._stand_in or (path, found)
            else:
                self._small_images += 1

    def warnings(self) -> list[str]:
        """What is to be known of files that are not what their names promise."""
        if self._stand_in is None:
            return []
        path, found = self._stand_in
        files = counted(self._stand_ins, "file is not what it", "files are not what they")
        first = f"the first, {path}, is {found.what}"
        return [f"{files} should be; {first}: {found.advice}, then ingest the dataset again."]

    def ahead(self, samples: Iterable[Sample]) -> Generator[Sample, None, None]:
        """Yield samples whose files are known; files of those that come next are read meanwhile.

        Reading and digesting a large file leaves the interpreter to others, so that threads do it; that of a small one
        does not, and is left to other processes where it takes most of the time. A plugin's own digest is asked for
        here, one by one, as files come up.
        """
        source = iter(samples)
        if type(self.dataset).file_digest is not _OWN_DIGEST:
            yield from source
            return
        first = list(islice(source, _LOOKED_AT))
        way = self._by_threads if _mean_size(self.root, first) >= _LARGE else self._by_groups
        yield from way(chain(first, source))

    def _by_groups(self, source: Iterator[Sample]) -> Iterator[Sample]:
        waiting: deque[tuple[list[Sample], list[str], list[State | None] | None, int]] = deque()
        asked: set[str] = set()
        marks = type(self.dataset).pixel_key is Dataset.pixel_key
        with FileReaders(_warn) as readers:
            while group := list(islice(source, _GROUP)):
                paths = list(dict.fromkeys(path for sample in group for path in sample.image if path not in asked))
                known = self.states.find(paths)
                paths = [path for path, state in zip(paths, known, strict=True) if state is None]
                asked.update(paths)
                before = self.remembered.find(paths) if self.remembered else None
                waiting.append((group, paths, before, readers.ask(FileTask(str(self.root), paths, before, marks))))
                while waiting and not readers.has_room():
                    group, paths, before, number = waiting.popleft()
                    self._keep_found(paths, before, readers.result(number))
                    asked.difference_update(paths)
                    yield from group
            for group, paths, before, number in waiting:
                self._keep_found(paths, before, readers.result(number))
                yield from group

    def _keep_found(self, paths: Sequence[str], before: Sequence[State | None] | None, found: FilesFound) -> None:
        """Keep what was found of files; `_look` finds out why it was nothing."""
        for path, state, known in zip(paths, found.states, before or repeat(None, len(paths)), strict=True):
            self._keep(path, self._look(path) if state is None else state, known)
        self.dataset.marks_ahead.update(found.marks)

    def _by_threads(self, source: Iterator[Sample]) -> Iterator[Sample]:
        pool = ThreadPoolExecutor(min(_THREADS, cores()), thread_name_prefix="digest")
        ended = False
        try:
            waiting: deque[tuple[Sample, dict[str, Future[State]]]] = deque()
            asked: set[str] = set()
            for sample in source:
                paths = [path for path in sample.image if path not in asked and not self.states.get(path)]
                asked.update(paths)
                waiting.append((sample, {path: pool.submit(self._look, path) for path in paths}))
                if len(waiting) > _AHEAD:
                    yield self._known(*waiting.popleft())
            while waiting:
                yield self._known(*waiting.popleft())
            ended = True
        finally:
            pool.shutdown(wait=ended, cancel_futures=True)

    def _known(self, sample: Sample, looked: Mapping[str, Future[State]]) -> Sample:
        for path, state in looked.items():
            self._keep(path, state.result(), self.remembered.get(path) if self.remembered else None)
        return sample

    def _look(self, path: str) -> State:
        full = os.path.join(self.root, path)
        try:
            reason = self._leaves_root(full)
            if reason is not None:
                return FileState(0, 0, 0, None, f"{path} {reason}")
            status = os.stat(full)
            # A folder may be what a plugin reads.
            if odd := oddity_of(status):
                return FileState(0, 0, 0, None, f"{path} cannot be read: it is {odd}, no file")
            before = self.remembered.get(path) if self.remembered else None
            state = self.guarded.file_state(path)
            if before and before[3] and is_same_state(before[:3], state):
                return FileState(*state, before[3], None)
            return FileState(*state, self.guarded.file_digest(Path(full)), None)
        except DataError as error:
            return FileState(0, 0, 0, None, error.line)
        except (OSError, ValueError) as error:
            return FileState(0, 0, 0, None, f"{path} cannot be read: {_reason(path, error)}")

    def _leaves_root(self, full: str) -> str | None:
        """Return why a path must not be read; links are followed, but the path as it is written stays in the root."""
        plain = os.path.normpath(full)
        if not os.path.join(plain, "").startswith(self._within):
            return f"lies outside the dataset's root {self.root}"
        if ".." in full and os.path.realpath(full) != os.path.realpath(plain):
            return "goes up from where a link leads: write where the file is"
        return None

    def to_rows(self) -> SpilledRows:
        """Return what is known as rows of `FILE_SCHEMA`, after which nothing more can be looked up."""
        return self.states.to_rows()


def _warn(text: str) -> None:
    streams.write("stderr", f"warning: {text}\n")


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
    if "\0" in path:
        return "no file has a null character in its name"
    told = error.strerror if isinstance(error, OSError) else str(error)
    return plain_text(str(told)) if told else shown_error(error)
