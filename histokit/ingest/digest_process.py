"""A process that reads and digests files for ingestion, where that takes one interpreter longer than all the rest.

It imports next to nothing, so that it starts in a moment.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from itertools import repeat
from multiprocessing.connection import Connection
from typing import NamedTuple

from histokit.plugin.digests import digest_and_content, is_same_state, state_of
from histokit.plugin.reader_marks import AlikeMarks, is_unmarked, reader_mark
from histokit.reading.serving import serve, tasks

#: In place of a task's number, once the process can work.
READY = 0

_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))

#: What `histokit.plugin.digests.state_of` says of a file, its digest, and why there is none.
State = tuple[int, int, int, bytes | None, str | None]


class FileTask(NamedTuple):
    """Files that are to be read."""

    #: Paths are relative to it.
    root: str
    paths: Sequence[str]
    #: What was known of each file, if of any.
    before: Sequence[State | None] | None
    #: Whether to look for marks.
    marks: bool


class FilesFound(NamedTuple):
    """What files are."""

    #: None for one that cannot be read, or is no file.
    states: Sequence[State | None]
    #: By path, of files that may have one.
    marks: Mapping[str, bytes]


def read_files(task: FileTask) -> FilesFound:
    """Read and digest files, but those that are as they were."""
    root = os.path.join(task.root, "")
    before = task.before or repeat(None, len(task.paths))
    marks = _MarksFound() if task.marks else None
    states = [_read(root, *each, marks) for each in zip(task.paths, before, strict=True)]
    return FilesFound(states, marks.by_path if marks else {})


class _MarksFound:
    def __init__(self) -> None:
        self.by_path: dict[str, bytes] = {}
        self._alike = AlikeMarks()

    def keep(self, root: str, path: str, content: bytes | None) -> None:
        """Keep the mark of a file, which is looked for in the bytes that were read where these are few."""
        if not is_unmarked(path):
            self.by_path[path] = reader_mark(root + path) if content is None else self._alike.of(content)


def _read(root: str, path: str, before: State | None, marks: _MarksFound | None) -> State | None:
    """Return what a file is, and keep its mark."""
    if ".." in path or path[:1] in _SEPARATORS:
        # It may lead out of the root.
        return None
    try:
        status = os.stat(root + path)
        if not stat.S_ISREG(status.st_mode):
            return None
        state = state_of(status)
        if before and before[3] and is_same_state(before[:3], state):
            digest, content = before[3], None
        else:
            digest, content = digest_and_content(root + path, status.st_size)
        if marks is not None:
            marks.keep(root, path, content)
        return *state, digest, None
    except (OSError, ValueError):
        return None


def _work(connection: Connection) -> None:
    connection.send((READY, None))
    for number, task in tasks(connection):
        connection.send((number, tuple(read_files(FileTask(*task)))))


def main() -> None:
    """Serve over the file descriptor that the command line names."""
    serve(Connection(int(sys.argv[1])), _work)
