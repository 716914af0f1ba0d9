"""What a process does that works for another one, which hands out tasks through a connection and ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any


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
    try:
        work(connection)
    except (EOFError, ConnectionError):
        os._exit(0)


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
        os._exit(0)
