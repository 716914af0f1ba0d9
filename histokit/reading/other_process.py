"""Another process that works for this one: a new interpreter, and a connection to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from histokit.plugin.interpreter import how_ended, interpreter_of
from histokit.reading.serving import NO_MEMORY

#: Seconds in which a process that was told to end does so.
_GRACE = 2.0


def possible() -> bool:
    """Return whether other processes can be started, and handed what they talk through."""
    return bool(sys.executable) and sys.platform != "win32"


class OtherProcess:
    """A new interpreter that calls ``main()`` of a module, which serves as `histokit.reading.serving` says.

    Parameters
    ----------
    module : str
    descriptors : sequence of int
        Of files that it inherits; their numbers follow that of its connection on its command line.
    words : sequence of str
        The rest of its command line.
    """

    def __init__(self, module: str, descriptors: Sequence[int] = (), words: Sequence[str] = ()):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            handed = (theirs.fileno(), *descriptors)
            command = interpreter_of(module, *map(str, handed), *words)
            # In a group of its own, Ctrl-C reaches only the process that asks, which ends it.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=handed, start_new_session=True)
            self.connection = Connection(ours.detach())

    def send(self, what: Any) -> None:
        """Send something; a process that has just ended is noticed where its answer is waited for."""
        with suppress(OSError):
            self.connection.send(what)

    def end(self) -> None:
        """End the process, whatever it is doing, and those that a plugin started in it."""
        self.connection.close()
        if self.process.returncode is None:
            # Of one that was waited for, the number may be another's by now, with all that follow it.
            self._end_others()
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)

    def cause(self) -> str:
        """Wait until the process has ended, and say how; those that a plugin started in it end as well."""
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "it closed what it answers through"
        finally:
            self._end_others()
        if code == NO_MEMORY:
            return "it had too little memory"
        return f"{how_ended(code)}{', as where memory is short' if code == -signal.SIGKILL else ''}"

    def _end_others(self) -> None:
        """End the group that the process leads: those that a plugin started would wait for it for ever."""
        with suppress(OSError):
            # Of those that Python starts, the one that tidies up behind others takes no notice, and ends after them.
            os.killpg(self.process.pid, signal.SIGTERM)
