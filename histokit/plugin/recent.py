"""What was worked out last, kept for those who ask for it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


def _nothing(value: object) -> int:
    return 0


class Recent(Generic[Value]):
    """The values that were worked out last, such as the field that is cut into the crops which come next.

    Threads share it: the first that asks for a value works it out, the others wait for it. A pickle of it is empty, for
    another process works things out for itself. Values are shared as well, so that arrays are not to be written to.

    Parameters
    ----------
    count : int
        How many are kept.
    most : int, optional
        How many bytes they may take together; the last one is kept however large it is.
    size : callable
        A function of a module that gives the bytes of a value.

    Examples
    --------
    >>> squares = Recent[int]()
    >>> squares.get(3, lambda: 3 * 3)
    9
    """

    def __init__(self, count: int = 4, most: int | None = None, size: Callable[[Value], int] = _nothing):
        self._count, self._most, self._size = count, most, size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Recent[Value]], tuple[int, int | None, Callable[[Value], int]]]:
        return Recent, (self._count, self._most, self._size)

    def get(self, key: Hashable, work_out: Callable[[], Value]) -> Value:
        """Return the value of a key; where it is not known, work it out. What that raises is not kept.

        Parameters
        ----------
        key : hashable
            Names all that the value depends on; of a file also its size and time of change.
        work_out : callable
        """
        with self._lock:
            known = self._values.get(key)
            value = self._values.setdefault(key, known or Future())
            self._values.move_to_end(key)
        if known is None:
            try:
                value.set_result(work_out())
            except BaseException as error:
                value.set_exception(error)
            self._forget()
        return value.result()

    def _forget(self) -> None:
        """Let go of what could not be worked out, and of the oldest values while there are too many."""
        with self._lock:
            done = {key: value for key, value in self._values.items() if value.done()}
            sizes = {key: self._size(value.result()) for key, value in done.items() if value.exception() is None}
            for key in done.keys() - sizes.keys():
                del self._values[key]
            for key in list(sizes)[:-1]:
                if len(sizes) <= self._count and (self._most is None or sum(sizes.values()) <= self._most):
                    break
                del self._values[key], sizes[key]
