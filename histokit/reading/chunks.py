"""Samples as they are read, a chunk at a time, by threads or by processes: whichever keep up with what takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain

from histokit.cores import cores
from histokit.errors import HistokitError
from histokit.plugin import Sample
from histokit.plugin.manager import known_elsewhere
from histokit.reading.ingested_files import IngestedFiles
from histokit.reading.other_process import possible
from histokit.reading.processes import CHUNK, ReaderProcesses
from histokit.reading.reader import READ_BYTES, THREADS, ReadResult, read_samples

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
        self._fast = fast
        self._readers: ReaderProcesses | None = None
        #: Whether processes were started that could not read.
        self._alone = False
        self._switched = bool(workers) and self._possible()
        if workers and not self._switched:
            self.notes.append("images are read by threads: no other process can open this dataset")

    def begin(self) -> None:
        """Start processes that will be needed in any case, so that they are there when the first sample is asked for.

        Raises
        ------
        UsageError
            If the machine takes no more of those that were asked for.
        """
        if self._switched:
            self._started()
        elif self._fast and self._outrun():
            self._switched = self._ready()

    def close(self) -> None:
        """End what `begin` started and nothing was asked of."""
        self._end()

    def chunks(self, samples: Iterable[tuple[int, Sample]]) -> Generator[list[ReadResult], None, None]:
        """Yield what was read, in order; pixels last until the next chunk is asked for.

        Raises
        ------
        DataError
            If not some samples but the whole root cannot be read.
        """
        try:
            with closing(self._chunks(iter(samples))) as chunks:
                for chunk in chunks:
                    if any(result.reason is not None for result in chunk):
                        self.files.check_root()
                    yield chunk
        finally:
            self._end()

    def _chunks(self, source: Iterator[tuple[int, Sample]]) -> Generator[list[ReadResult], None, None]:
        if self._readers is not None and not self._switched:
            self._switched = self._ready()
        if not self._switched:
            yield from self._by_threads(source)
        # Nothing is left unless processes are to go on.
        first = next(source, None)
        if first is not None:
            yield from self._started().chunks(chain([first], source))

    def _end(self) -> None:
        """End the processes, and keep what is to be known of them."""
        readers, self._readers = self._readers, None
        if readers is not None:
            self.notes += readers.notes
            readers.close()

    def _started(self) -> ReaderProcesses:
        if self._readers is None:
            self._readers = ReaderProcesses(self.files, self.workers or min(_PROCESSES, cores()))
            self._readers.start()
        return self._readers

    def _by_threads(self, source: Iterator[tuple[int, Sample]]) -> Iterator[list[ReadResult]]:
        threads = 0 if self.workers == 0 else THREADS
        chunk: list[ReadResult] = []
        held = 0
        for result in read_samples(self.files, self._until_switched(source), threads, 2 * CHUNK, self._read):
            chunk.append(result)
            held += result.nbytes
            if len(chunk) == CHUNK or held >= READ_BYTES:
                yield from self._timed(chunk)
                chunk, held = [], 0
        yield from self._timed(chunk)

    def _until_switched(self, source: Iterator[tuple[int, Sample]]) -> Iterator[tuple[int, Sample]]:
        while not self._switched and (item := next(source, None)) is not None:
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
        if self._readers is not None or self._outrun():
            # Threads go on until the first process is there.
            self._switched = self._ready()

    def _ready(self) -> bool:
        """Return whether processes that nobody asked for can read; where they never will, threads go on."""
        try:
            return self._started().ready()
        except HistokitError as error:
            self.notes.append(f"images are read by threads: {error.message}")
            self._alone = True
            self._end()
            return False

    def _outrun(self) -> bool:
        """Return whether processes are to be started."""
        if self.workers is not None or self._alone or cores() == 1 or not self._possible():
            return False
        if self._fast:
            return self._left() > _KNOWN_AFTER
        known, slower = self._count >= _KNOWN_AFTER, self._taking < self._reading
        return known and slower and self._left() * self._reading / self._count > _WORTH

    def _possible(self) -> bool:
        opening = self.files.opening
        elsewhere = opening is not None and known_elsewhere(opening.plugin)
        return elsewhere and not self.files.outdated and possible()


def lasting_results(
    files: IngestedFiles, samples: Iterable[tuple[int, Sample]], workers: int | None, ahead: int, notes: list[str]
) -> Iterator[ReadResult]:
    """Read samples in order, one by one, and yield results whose pixels last.

    Parameters
    ----------
    files : IngestedFiles
    samples : iterable of (position, Sample)
    workers : int, optional
        Processes that read; 0 reads in this thread. Threads do where not given.
    ahead : int
        How many samples threads read ahead at most.
    notes : list of str
        Takes what is to be known of how they were read.
    """
    if workers is None:
        yield from read_samples(files, samples, THREADS, ahead)
        return
    reader = ChunkReader(files, workers, False, lambda: 0)
    try:
        with closing(reader.chunks(samples)) as chunks:
            for result in chain.from_iterable(chunks):
                # A copy, because the memory of processes that read is used again.
                yield result._replace(pixels=None if result.pixels is None else result.pixels.copy())
    finally:
        notes += [note for note in reader.notes if note not in notes]
