"""A thread that does one thing after the other, none of which waits for the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue


class BackgroundThread:
    """Does what it is given, in order, until something of it fails.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str):
        self._todo: Queue[Callable[[], None] | None] = Queue()
        self._error: BaseException | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (action := self._todo.get()) is not None:
            try:
                if not self._failed:
                    action()
            except BaseException as error:
                self._error, self._failed = error, True
            finally:
                self._todo.task_done()
                # What it holds is not to stay until there is something else to do.
                del action
        self._todo.task_done()

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._todo.unfinished_tasks > 0

    def do(self, action: Callable[[], None]) -> None:
        """Wait until what was handed over is done, and hand over something else.

        Raises
        ------
        Exception
            That something before it ended in, once; nothing is done after it.
        """
        self.wait()
        self._todo.put(action)

    def wait(self) -> None:
        """Wait until all is done, and raise what it ended in."""
        self._todo.join()
        self._raise()

    def end(self) -> None:
        """Do what is left and end the thread, and raise what it ended in."""
        self._todo.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
