"""Samples as they are read, a chunk at a time, by threads or by processes: whichever keep up with what takes them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain

from histokit.plugin import Sample
from histokit.plugin.manager import known_elsewhere
from histokit.reading.ingested_files import IngestedFiles
from histokit.reading.processes import CHUNK, ReaderProcesses
from histokit.reading.reader import READ_BYTES, ReadResult, read_samples

#: Threads share one interpreter, and more of them read no faster.
_THREADS = 8

#: Processes at most that nobody asked for: each takes some tens of megabytes.
_PROCESSES = 32

#: Images after which it is known how fast they are read, and taken.
_KNOWN_AFTER = 2 * CHUNK

#: Seconds of reading that have to be left for processes to be worth their start.
_WORTH = 2.0


class ChunkReader:
    """Reads samples in the order in which they come.

    Parameters
    ----------
    files : IngestedFiles
    workers : int, optional
        Processes that read; 0 reads in this thread. Where not given, threads read as long as they keep up.
    fast : bool
        Whether what takes the pixels is known to be faster than threads, as a GPU is.
    left : callable
        Gives how many samples are still to come, about.
    """

    def __init__(self, files: IngestedFiles, workers: int | None, fast: bool, left: Callable[[], int]):
        self.files = files
        self.workers = workers
        self.notes: list[str] = []
        self._left = left
        self._reading = self._taking = 0.0
        self._count = 0
        self._processes = bool(workers) or (fast and left() > _KNOWN_AFTER)
        if self._processes and not self._possible():
            self._processes = False
            if workers:
                self.notes.append("images are read by threads: no other process can open this dataset")

    def chunks(self, samples: Iterable[tuple[int, Sample]]) -> Generator[list[ReadResult], None, None]:
        """Yield what was read, in order; pixels last until the next chunk is asked for."""
        source = iter(samples)
        if not self._processes:
            yield from self._by_threads(source)
        # Nothing is left unless processes are to go on.
        first = next(source, None)
        if first is None:
            return
        with ReaderProcesses(self.files, self.workers or min(_PROCESSES, cores())) as processes:
            try:
                yield from processes.chunks(chain([first], source))
            finally:
                self.notes += processes.notes

    def _by_threads(self, source: Iterator[tuple[int, Sample]]) -> Iterator[list[ReadResult]]:
        threads = 0 if self.workers == 0 else min(_THREADS, os.cpu_count() or 1)
        chunk: list[ReadResult] = []
        held = 0
        for result in read_samples(self.files, self._until_outrun(source), threads, 2 * CHUNK, self._read):
            chunk.append(result)
            held += result.nbytes
            if len(chunk) == CHUNK or held >= READ_BYTES:
                yield from self._timed(chunk)
                chunk, held = [], 0
        yield from self._timed(chunk)

    def _until_outrun(self, source: Iterator[tuple[int, Sample]]) -> Iterator[tuple[int, Sample]]:
        while not self._processes and (item := next(source, None)) is not None:
            yield item

    def _read(self, seconds: float) -> None:
        self._reading += seconds
        self._count += 1

    def _timed(self, chunk: list[ReadResult]) -> Iterator[list[ReadResult]]:
        if not chunk:
            return
        before = time.monotonic()
        yield chunk
        self._taking += time.monotonic() - before
        if self.workers is None and self._count >= _KNOWN_AFTER:
            outrun = self._taking < self._reading and self._left() * self._reading / self._count > _WORTH
            self._processes = outrun and cores() > 1 and self._possible()

    def _possible(self) -> bool:
        opening = self.files.opening
        elsewhere = opening is not None and known_elsewhere(opening.plugin)
        return elsewhere and not self.files.outdated and bool(sys.executable) and sys.platform != "win32"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
