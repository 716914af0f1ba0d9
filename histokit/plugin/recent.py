"""What was worked out last, kept for those who ask for it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values that were worked out last, such as the field that is cut into the crops which come next.

    Threads share it: the first that asks for a value works it out, the others wait for it. A pickle of it is empty, for
    another process works things out for itself. Values are shared as well, so that arrays are not to be written to.

    Parameters
    ----------
    count : int
        How many are kept.

    Examples
    --------
    >>> squares = Recent[int]()
    >>> squares.get(3, lambda: 3 * 3)
    9
    """

    def __init__(self, count: int = 4):
        self._count = count
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Recent[Value]], tuple[int]]:
        return Recent, (self._count,)

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
            self._forget(key)
        return value.result()

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            if key in self._values and self._values[key].exception() is not None:
                del self._values[key]
            for old in [k for k, value in self._values.items() if value.done()][: -self._count]:
                del self._values[old]
