"""Commands in processes of their own, which a test may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.durability.forks import END

FORKS = Path(__file__).with_name("forks.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@dataclass
class Life:
    """A command that runs in a process of its own, from its start to its end or its death.

    Parameters
    ----------
    processes : Processes
    pid : int
    path : Path
        What its files are called, but for the suffix.
    """

    processes: Processes
    pid: int
    path: Path
    code: int | None = None

    def kill(self) -> None:
        """Kill it, as ``kill -9`` and the kernel do."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Return its exit code; minus the signal where it was killed."""
        if self.code is None:
            self.code = self.processes.wait(self.pid)
        return self.code

    def begun(self, timeout: float = 60.0) -> None:
        """Wait until the first batch went through a network, or nothing had to."""
        until = time.monotonic() + timeout
        while not self.passed.keys() and time.monotonic() < until:
            time.sleep(0.002)

    @property
    def has_ended(self) -> bool:
        """Whether its command came to an end."""
        return END in self.passed

    @property
    def passed(self) -> Counter[str]:
        """How many images went through each network."""
        found: Counter[str] = Counter()
        log = self.path.with_suffix(".log")
        for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
            if line.endswith("\n"):
                network, rows = line.split()
                found[network] += int(rows)
        return found

    @property
    def out(self) -> str:
        """What it printed on standard output."""
        return self.path.with_suffix(".out").read_text()

    @property
    def document(self) -> Any:
        """The same, which is JSON."""
        return json.loads(self.out)

    @property
    def err(self) -> str:
        """What it printed on standard error."""
        return self.path.with_suffix(".err").read_text()


class Processes(ABC):
    """Starts commands, each in a process of its own.

    Parameters
    ----------
    folder : Path
        For what they print.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.started = 0

    def start(self, *arguments: object, **order: Any) -> Life:
        """Start ``histokit`` with arguments.

        Parameters
        ----------
        *arguments
        **order
            ``unprivileged``: as one whom permissions of files concern. ``moments``: what is to be done at each write.
            ``locks``: ``refused`` or ``empty``.
        """
        self.started += 1
        path = self.folder / f"life{self.started}"
        return Life(self, self.spawn(path, [str(argument) for argument in arguments], order), path)

    def run(self, *arguments: object) -> Life:
        """Run a command that must succeed."""
        life = self.start(*arguments)
        assert life.wait() == 0, life.err
        return life

    @abstractmethod
    def spawn(self, path: Path, arguments: list[str], order: dict[str, Any]) -> int:
        """Start one process and return its number."""

    @abstractmethod
    def wait(self, pid: int) -> int:
        """Return the exit code of a process."""

    @abstractmethod
    def close(self) -> None:
        """End what is left."""


class Forks(Processes):
    """Forks them from one Python that has imported everything: a few hundredths of a second each."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        pipe = subprocess.PIPE
        self.server = subprocess.Popen([sys.executable, FORKS], stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT)

    def spawn(self, path: Path, arguments: list[str], order: dict[str, Any]) -> int:
        """Fork one process."""
        files = {name: str(path.with_suffix(f".{name}")) for name in ("out", "err", "log")}
        return self._ask({"arguments": arguments, **order, **files})

    def wait(self, pid: int) -> int:
        """Return the exit code of a process."""
        return self._ask({"wait": pid})

    def _ask(self, order: dict[str, Any]) -> int:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def close(self) -> None:
        """End the Python that forks."""
        self.server.communicate()


class Fresh(Processes):
    """Starts a new Python for each: some seconds each, and nothing is shared."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(self, path: Path, arguments: list[str], order: dict[str, Any]) -> int:
        """Start one Python."""
        assert not order, "only what is forked can be told"
        log = str(path.with_suffix(".log"))
        with path.with_suffix(".out").open("wb") as out, path.with_suffix(".err").open("wb") as err:
            command = [sys.executable, FORKS, log, *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=ENVIRONMENT)
        self.running[process.pid] = process
        return process.pid

    def wait(self, pid: int) -> int:
        """Return the exit code of a process."""
        return self.running.pop(pid).wait()

    def close(self) -> None:
        """Kill what a failed test left behind."""
        for process in self.running.values():
            process.kill()
            process.wait()
