"""Threads that meet in the midst of what a plugin does, where they would do so once in hundreds of reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: Seconds that a thread waits before a line of the plugin, and before how many.
_PAUSE, _PAUSES = 2e-4, 200


@contextmanager
def pausing(cls: type) -> Iterator[None]:
    """Let this thread wait before lines of the package that a class is of, so that others go on from there."""
    package = cls.__module__.partition(".")[0]
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
