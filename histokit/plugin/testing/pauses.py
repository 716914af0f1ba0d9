"""Threads that meet in the midst of what a plugin does, where they would do so once in hundreds of reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from types import FrameType
from typing import Any

from histokit.plugin.calls import shown_error
from histokit.plugin.testing.checks import require

#: Seconds that a thread waits before a line of the plugin, and before how many.
_PAUSE, _PAUSES = 2e-4, 200


#: Threads that read at once.
THREADS = 4


def read_at_once(names: Sequence[str], read: Callable[[int], bytes], module: str, hint: str) -> None:
    """Let threads read a few things at once, and raise an `AssertionError` where they get others than one alone.

    Parameters
    ----------
    names : sequence of n str
        How each is read, for messages.
    read : callable
        Returns a digest of what the one at a place holds.
    module : str
        Of the plugin.
    hint : str
        What to do.
    """
    alone = [read(place) for place in range(len(names))]
    together = Barrier(THREADS)

    def wrong(thread: int) -> str | None:
        together.wait()
        with _pausing(module):
            for step in range(len(names)):
                place = (thread + step) % len(names)
                if read(place) != alone[place]:
                    return names[place]
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        for found in [pool.submit(wrong, thread) for thread in range(THREADS)]:
            try:
                name = found.result()
            except Exception as error:
                raise AssertionError(
                    f"of {THREADS} threads that read, one fails ({shown_error(error)}): {hint}"
                ) from error
            require(name is None, f"{name} gives other pixels where {THREADS} threads read: {hint}")


@contextmanager
def _pausing(module: str) -> Iterator[None]:
    """Let this thread wait before lines of the package of a module, so that others go on from there."""
    package = module.partition(".")[0]
    left = _PAUSES

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if str(frame.f_globals.get("__name__")).partition(".")[0] != package:
            return None
        if event == "line" and left:
            left -= 1
            time.sleep(_PAUSE)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
