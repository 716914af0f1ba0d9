"""A process that reads samples for another one, which hands out tasks and shares a piece of memory with it.

It is a new interpreter and no fork: a fork would share the files and the locks of the process that it came from, its
threads would be missing, and a plugin's open file would have one position for all. It imports neither torch nor the
database, opens the dataset by its plugin as that process did, and ends when that process does.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from histokit.errors import HistokitError
from histokit.plugin import Dataset, Sample
from histokit.plugin.digests import FileState, is_same_state
from histokit.plugin.guarded import Guarded
from histokit.plugin.images import Pixels
from histokit.plugin.remarks import Remark
from histokit.reading.reader import ReadResult, read_sample
from histokit.reading.serving import serve, tasks

#: Where in the shared memory is written which sample of a task is being read, as a little-endian number.
HEADER = 8
NONE = 0

#: In place of a task's number, before the reason why the dataset cannot be opened.
NOT_OPENED = -1

#: In place of a task's number, once the dataset is open.
READY = 0


class Task(NamedTuple):
    """Samples to be read, and the part of the shared memory that their pixels may take."""

    number: int
    start: int
    stop: int
    #: Each with the states of its files as they were ingested, or none for one that is not to be read any more.
    samples: list[tuple[Sample | None, list[FileState | None]]]


class Found(NamedTuple):
    """What was found of one sample."""

    #: Offset, shape and type in the shared memory, the pixels themselves where that is full, or none.
    pixels: tuple[int, tuple[int, ...], str] | Pixels | None
    mpp: float | None
    reason: str | None
    remarks: tuple[Remark, ...]
    #: The states in which its files were read, where one of them is not that which was handed out: its content has to
    #: be looked at. Without any where that cannot be told.
    doubtful: Sequence[FileState] | None
    #: Whether there are no pixels because the plugin failed.
    by_plugin: bool


class _Files:
    """The dataset, as this process opened it."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.guarded = Guarded(dataset)
        #: It is told which samples are not to be read.
        self.deadly: Mapping[str, str] = {}

    def changed(self, sample: Sample) -> str | None:
        """Say nothing: states are compared afterwards."""
        return None


def read_tasks(connection: Connection, memory: mmap.mmap) -> None:
    """Read what is asked for.

    Parameters
    ----------
    connection : Connection
        Gives an `Opening` and then one `Task` after the other; takes `READY`, and (number, list of `Found`) for each.
    memory : mmap
    """
    opening = connection.recv()
    try:
        files = _Files(opening.open())
    except HistokitError as error:
        connection.send((NOT_OPENED, error.message))
        return
    connection.send((READY, None))
    for task in tasks(connection):
        connection.send((task.number, list(_read(files, task, memory))))


def _read(files: _Files, task: Task, memory: mmap.mmap) -> Iterator[Found | None]:
    used = task.start
    for place, (sample, states) in enumerate(task.samples):
        if sample is None:
            yield None
            continue
        memory[:HEADER] = (place + 1).to_bytes(HEADER, "little")
        result = read_sample(files, place, sample)
        pixels: Any = result.pixels
        if pixels is not None and used + pixels.nbytes <= task.stop:
            block = np.frombuffer(memory, pixels.dtype, pixels.size, used).reshape(pixels.shape)
            block[:] = pixels
            pixels, used = (used, pixels.shape, pixels.dtype.str), used + pixels.nbytes
        yield Found(
            pixels, result.mpp, result.reason, result.remarks, _doubtful(files, sample, states), result.by_plugin
        )
    memory[:HEADER] = NONE.to_bytes(HEADER, "little")


def _doubtful(files: _Files, sample: Sample, states: Sequence[FileState | None]) -> Sequence[FileState] | None:
    """Look at the files after they were read."""
    try:
        now = [files.guarded.file_state(path) for path in sample.image]
    except (OSError, HistokitError):
        return ()
    same = all(state is None or is_same_state(state, here) for state, here in zip(states, now, strict=True))
    return None if same else now


def restored(found: Found, position: int, memory: mmap.mmap) -> ReadResult:
    """Return what was found as a result whose pixels lie in the shared memory."""
    pixels: Any = found.pixels
    if isinstance(pixels, tuple):
        offset, shape, kind = pixels
        pixels = np.frombuffer(memory, kind, math.prod(shape), offset).reshape(shape)
    return ReadResult(position, pixels, found.mpp, found.reason, found.remarks, by_plugin=found.by_plugin)


def main() -> None:
    """Serve over the file descriptors that the command line names."""
    channel, shared, size = map(int, sys.argv[1:])
    memory = mmap.mmap(shared, size)
    serve(Connection(channel), lambda connection: read_tasks(connection, memory))
