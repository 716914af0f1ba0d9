"""What a process does that works for another one, which hands out tasks through a connection and ends it."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NoReturn

from histokit.errors import memory_was_short

#: The exit code of a process that had too little memory.
NO_MEMORY = errno.ENOMEM


def serve(connection: Connection, work: Callable[[Connection], None]) -> None:
    """Do what is asked for through a connection until nobody asks any more.

    Parameters
    ----------
    connection : Connection
    work : callable
        Called with the connection.
    """
    # The process that asks is the one that is interrupted; it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Standard output carries the result of a command, not what a plugin or a library prints.
    os.dup2(2, 1)
    _keep(connection)
    try:
        work(connection)
    except (EOFError, ConnectionError):
        _leave()
    except Exception as error:
        if not memory_was_short(error):
            raise
        # No traceback: the process that asks says so in a line.
        os._exit(NO_MEMORY)


def tasks(connection: Connection) -> Iterator[Any]:
    """Yield tasks, which are taken as they come, so that nobody waits to hand them over while an answer is awaited."""
    taken: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_take, args=(connection, taken), daemon=True).start()
    while True:
        yield taken.get()


def _take(connection: Connection, taken: SimpleQueue[Any]) -> None:
    try:
        while True:
            taken.put(connection.recv())
    except (EOFError, OSError):
        # The process that asks has ended; a read that hangs is not waited for.
        _leave()


def _keep(connection: Connection) -> None:
    """Keep a connection from processes that a plugin starts: held by them, it would not end with this one."""
    os.set_inheritable(connection.fileno(), False)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=connection.close)


def _leave() -> NoReturn:
    """End this process and those that a plugin started in it: nobody is left to do so."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGTERM)
    os._exit(0)
