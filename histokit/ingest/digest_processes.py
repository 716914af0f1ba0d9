"""Files that are read and digested ahead: in this process at first, by others where that is what takes the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

from histokit.cores import cores
from histokit.ingest import digest_process
from histokit.ingest.digest_process import READY, FilesFound, FileTask, read_files
from histokit.reading.other_process import OtherProcess, possible

#: Tasks of all processes together that wait, are under way, or were not taken yet: they last while this process makes
#: rows of what it has; and those of one process at least.
_TASKS = 24
_EACH = 3

#: Processes at most: what one process hands out and takes back keeps no more of them busy.
_PROCESSES = 32

#: Seconds of reading after which processes are worth their start: as many may well be to come.
_WORTH = 0.1

#: Reading, over all else, from which on processes help.
_SHARE = 0.5

#: Seconds over which the two are compared.
_WINDOW = 1.0


class FileReaders:
    """Reads and digests files.

    Parameters
    ----------
    say : callable
        Told of a process that cannot be started or ends by itself; what it was to do is done in this process.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._processes: list[OtherProcess] = []
        self._ready: dict[OtherProcess, set[int]] = {}
        self._tasks: dict[int, FileTask] = {}
        self._found: dict[int, FilesFound] = {}
        self._number = 0
        self._may_start = min(_PROCESSES, cores()) if cores() > 1 and possible() else 0
        self._since = time.perf_counter()
        self._reading = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes."""
        for process in self._processes:
            process.end()

    def ask(self, task: FileTask) -> int:
        """Let files be read; return the number by which `result` gives what was found."""
        self._number += 1
        if task.paths and self._ready:
            process = min(self._ready, key=lambda each: len(self._ready[each]))
            self._ready[process].add(self._number)
            self._tasks[self._number] = task
            process.send((self._number, tuple(task)))
        else:
            self._found[self._number] = self._here(task)
        return self._number

    def result(self, number: int) -> FilesFound:
        """Return what was found, once it was."""
        before = time.perf_counter()
        while number not in self._found:
            self._receive(None)
        self._reading += time.perf_counter() - before
        return self._found.pop(number)

    def has_room(self) -> bool:
        """Return whether more can be asked for before a result is waited for."""
        self._receive(0.0)
        if self._may_start and len(self._ready) == len(self._processes):
            self._start()
        # Tasks without files are done at once and keep no process busy: of many, none might ever be taken.
        waiting, tasks = len(self._tasks) + len(self._found), self._tasks_each()
        return waiting < 2 * tasks * len(self._ready) and any(len(each) < tasks for each in self._ready.values())

    def _tasks_each(self) -> int:
        # Of those that are starting, too: the first that is ready would be given what all others are there for.
        return max(_EACH, _TASKS // max(1, len(self._processes)))

    def _here(self, task: FileTask) -> FilesFound:
        before = time.perf_counter()
        found = read_files(task)
        self._reading += time.perf_counter() - before
        return found

    def _start(self) -> None:
        """Start processes where this one spends much of its time on reading, or on waiting for those that read."""
        now = time.perf_counter()
        share = self._reading / max(1e-9, now - self._since - self._reading)
        worth = self._reading >= _WORTH and share >= _SHARE
        if worth:
            count = min(self._may_start, ceil(share) + 1)
            self._may_start -= count
            try:
                for _ in range(count):
                    self._processes.append(OtherProcess(digest_process.__name__))
            except OSError as error:
                # Nobody asked for them, and all can be read without.
                self._say(f"no other process can be started to read files ({error.strerror})")
                self._may_start = 0
        if worth or now - self._since > _WINDOW:
            self._since, self._reading = now, 0.0

    def _receive(self, seconds: float | None) -> None:
        if not self._processes:
            return
        for connection in wait([process.connection for process in self._processes], seconds):
            process = next(process for process in self._processes if process.connection is connection)
            try:
                number, found = process.connection.recv()
            except (EOFError, OSError):
                self._lose(process)
                continue
            if number == READY:
                self._ready[process] = set()
                continue
            self._found[number] = FilesFound(*found)
            self._ready[process].remove(number)
            del self._tasks[number]

    def _lose(self, process: OtherProcess) -> None:
        """Do what a process that has ended was to do."""
        rest = "others go on" if len(self._processes) > 1 else "this process goes on"
        self._say(f"the process {process.process.pid}, which read files, ended ({process.cause()}): {rest}")
        process.connection.close()
        self._processes.remove(process)
        for number in self._ready.pop(process, ()):
            self._found[number] = self._here(self._tasks.pop(number))
