"""Reading samples in processes of their own, where one interpreter would be too slow for what takes the pixels."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import IO

from histokit.errors import DataError, HistokitError, PluginError, UsageError
from histokit.plugin import Sample
from histokit.plugin.digests import FileState
from histokit.reading import reader_process
from histokit.reading.ingested_files import IngestedFiles
from histokit.reading.other_process import OtherProcess
from histokit.reading.reader import DEADLY, ReadResult, read_sample
from histokit.reading.reader_process import HEADER, NOT_OPENED, READY, Found, Task, restored

#: Samples of one task at most, and before the size of an image is known.
CHUNK = 64
_FIRST = 16

#: Tasks of one process that wait, are under way, or were not taken yet, and memory for the pixels of each.
_TASKS = 3
_TASK_BYTES = 12 << 20

#: A process that ends while it reads is told of, and a new one goes on; not for ever.
_DEATHS_WITHOUT_RESULT = 5

#: Processes that a sample may end before it counts as one that cannot be read.
_TIMES = 2

_IN_THIS_PROCESS = "Read in this process, which shows why: --workers 0"


@dataclass
class _Sent:
    """A task on its way: the samples that are asked for, and what was found, once it was."""

    positions: list[int]
    samples: list[Sample]
    part: int
    reader: _Reader
    found: list[Found | None] | None = None


class _Reader(OtherProcess):
    """One process, the memory that it shares, and the parts of that which are free."""

    def __init__(self, files: IngestedFiles):
        size = HEADER + _TASKS * _TASK_BYTES
        with _shared_file() as shared:
            shared.truncate(size)
            self.memory = mmap.mmap(shared.fileno(), size)
            super().__init__(reader_process.__name__, [shared.fileno()], [str(size)])
        self.free = list(range(_TASKS))
        self.send(files.opening)

    @property
    def place(self) -> int:
        """The number of the sample in its task that it was reading last, or -1."""
        return int.from_bytes(self.memory[:HEADER], "little") - 1


def _shared_file() -> IO[bytes]:
    """Return a file without a name that is in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("histokit-pixels", os.MFD_CLOEXEC), "r+b")
    return tempfile.TemporaryFile()


class ReaderProcesses:
    """Reads samples in several processes.

    Parameters
    ----------
    files : IngestedFiles
        Whose dataset other processes can open.
    count : int
        Of processes.

    Notes
    -----
    A process that ends, be it killed or by a fault of a library, loses nothing: `notes` tell of it and of the sample
    that it was reading, another one takes its place and its tasks; a sample that ended two of them counts as one
    that cannot be read.
    """

    def __init__(self, files: IngestedFiles, count: int):
        self.files = files
        self.notes: list[str] = []
        self._count = count
        self._readers: list[_Reader] = []
        self._sent: dict[int, _Sent] = {}
        self._number = 0
        self._ended: Counter[int] = Counter()
        self._deaths = 0
        self._opened = self._worked = self._plugin_failed = False
        self._bytes: float | None = None
        self._last: tuple[_Reader | None, tuple[tuple[str, ...], str | None] | None] = None, None

    def start(self) -> None:
        """Start those that are not there yet, without waiting for them.

        Raises
        ------
        UsageError
            If the machine takes no more of them.
        """
        try:
            while len(self._readers) < self._count:
                self._readers.append(_Reader(self.files))
        except OSError as error:
            started = len(self._readers)
            raise UsageError(
                f"{started} of {self._count} processes that read images could be started: {error.strerror}.",
                # Half, so that something is left for all else.
                next=f"Give --workers {started // 2}, or mend that.",
            ) from error

    def ready(self) -> bool:
        """Return whether one of them can read, without waiting for it.

        Raises
        ------
        DataError, PluginError
            If they end, or cannot open the dataset.
        """
        self._receive(0.0)
        return self._opened

    def close(self) -> None:
        """End them."""
        readers, self._readers = self._readers, []
        for reader in readers:
            with suppress(OSError):
                reader.end()

    def chunks(self, samples: Iterable[tuple[int, Sample]]) -> Iterator[list[ReadResult]]:
        """Yield what was read, in order, a chunk at a time; pixels last until the next chunk is asked for."""
        source = iter(samples)
        order: deque[int] = deque()
        chunk: list[tuple[int, Sample]] = []
        self.start()
        while True:
            while chunk := chunk or list(islice(source, self._size())):
                reader = self._reader_for(chunk[0][1])
                if reader is None:
                    break
                order.append(self._send(reader, [position for position, _ in chunk], [each for _, each in chunk]))
                chunk = []
            if not order:
                return
            number = order.popleft()
            while self._sent[number].found is None:
                self._receive()
            sent = self._sent.pop(number)
            yield list(self._results(sent))
            sent.reader.free.append(sent.part)

    def _reader_for(self, sample: Sample) -> _Reader | None:
        """Return the process that is to read what begins with a sample, or none where it has enough to do.

        That which has the image open of which the sample is another box, else that which has least to do.
        """
        last, opened = self._last
        reader = max(self._readers, key=lambda reader: len(reader.free))
        if opened is not None and opened == self._opens(sample) and last in self._readers:
            reader = last
        return reader if reader.free else None

    def _opens(self, sample: Sample) -> tuple[tuple[str, ...], str | None] | None:
        """Return what is opened for a box of it, whole, and kept for others of its boxes."""
        if sample.box is None or not self.files.dataset.opens_whole:
            return None
        return sample.image, sample.part

    def _size(self) -> int:
        if self._bytes is None:
            return _FIRST
        return int(max(1, min(CHUNK, _TASK_BYTES // max(1.0, self._bytes))))

    def _send(self, reader: _Reader, positions: list[int], samples: list[Sample]) -> int:
        self._number += 1
        self._sent[self._number] = _Sent(positions, samples, reader.free.pop(), reader)
        self._last = reader, self._opens(samples[-1])
        self._ask(self._number)
        return self._number

    def _ask(self, number: int) -> None:
        sent = self._sent[number]
        start = HEADER + sent.part * _TASK_BYTES
        states = iter(self.files.states([path for sample in sent.samples for path in sample.image]))
        asked = [
            (None if self._ended[position] >= _TIMES else sample, [next(states) for _ in sample.image])
            for position, sample in zip(sent.positions, sent.samples, strict=True)
        ]
        sent.reader.send(Task(number, start, start + _TASK_BYTES, asked))

    def _receive(self, seconds: float | None = None) -> None:
        for ready in wait([reader.connection for reader in self._readers], seconds):
            reader = next(reader for reader in self._readers if reader.connection is ready)
            try:
                number, found = reader.connection.recv()
            except (EOFError, OSError):
                self._replace(reader)
                continue
            if number == NOT_OPENED:
                raise PluginError(f"Another process cannot read this dataset: {found}", next=_IN_THIS_PROCESS)
            if number == READY:
                self._opened = True
                continue
            self._sent[number].found = found
            self._deaths, self._worked = 0, True

    def _replace(self, dead: _Reader) -> None:
        """Let a new process do what one that has ended was to do."""
        cause = dead.cause()
        waiting = [number for number, sent in self._sent.items() if sent.reader is dead and sent.found is None]
        first, about = self._sent[waiting[0]] if waiting else None, ""
        if first is not None and 0 <= dead.place < len(first.samples):
            about = f" while it read {first.samples[dead.place].id}"
            self._ended[first.positions[dead.place]] += 1
        self._deaths = 0 if first is not None and self._at_fault(first, dead.place) else self._deaths + 1
        if self._deaths >= _DEATHS_WITHOUT_RESULT:
            raise DataError(
                f"The processes that read images end by themselves, the last one{about} ({cause}).",
                next=_IN_THIS_PROCESS,
            )
        self.notes.append(f"the process {dead.process.pid} ended{about} ({cause}): another one reads in its place")
        self._readers.remove(dead)
        dead.connection.close()
        self.start()
        new = self._readers[-1]
        for number in waiting:
            self._sent[number].reader, self._sent[number].part = new, new.free.pop()
            self._ask(number)

    def _at_fault(self, sent: _Sent, place: int) -> bool:
        """Return whether a sample ended its last process, and others can be read, so that they do not end for ever."""
        if not 0 <= place < len(sent.positions) or self._ended[sent.positions[place]] != _TIMES:
            return False
        return self._worked or any(self._ended[position] < _TIMES for position in sent.positions[:place])

    def _results(self, sent: _Sent) -> Iterator[ReadResult]:
        assert sent.found is not None
        sizes = []
        for position, sample, found in zip(sent.positions, sent.samples, sent.found, strict=True):
            if found is None:
                yield ReadResult(position, None, sample.mpp, f"{_TIMES} {DEADLY}", deadly=True)
                continue
            if found.doubtful is not None and not self._is_what_was_ingested(sample, found.doubtful):
                yield read_sample(self.files, position, sample)
                continue
            result = restored(found, position, sent.reader.memory)
            if result.by_plugin and not self._plugin_failed:
                self._plugin_failed = True
                advice = "whether it fails in this one, too, is told by --workers 0 (and --retry, of extract)"
                self.notes.append(f"the plugin failed in another process, first on {sample.id}: {advice}")
            if result.nbytes:
                sizes.append(result.nbytes)
            yield result
        if sizes:
            self._bytes = sum(sizes) / len(sizes)

    def _is_what_was_ingested(self, sample: Sample, states: Sequence[FileState]) -> bool:
        """Return whether files have their content in the states in which they were read; looking at it is done here."""
        try:
            same = self.files.changed(sample) is None
        except (OSError, HistokitError):
            return False
        return same and self.files.states(sample.image) == states
