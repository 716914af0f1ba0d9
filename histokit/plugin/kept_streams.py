"""Standard output and standard error while plugins run: what they print goes to stderr, and what they close stays.

So does the working folder: the files that a command writes are named from the one in which it was called.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from histokit import streams

_FINAL = ("close", "detach")


class _Here(threading.local):
    """How many calls into plugins the thread is in."""

    inside = 0


class _Stream:
    """A standard stream that no plugin closes; standard output is standard error inside calls into plugins."""

    def __init__(self, name: str, real: Any):
        self.name, self.real = name, real

    def __getattr__(self, attribute: str) -> Any:
        inside = _here.inside > 0
        if inside and attribute in _FINAL:
            return lambda: None
        return getattr(_kept["stderr"].real if inside and "stderr" in _kept else self.real, attribute)


_here = _Here()
_lock = threading.Lock()
_count = 0
_folder: str | None = None
_kept: dict[str, _Stream] = {}


@contextmanager
def kept_streams() -> Iterator[None]:
    """Let a thread print to stderr, and put both streams back, open, when it is done; the last one, the folder too."""
    global _count, _folder
    with _lock:
        _count += 1
        if _count == 1:
            _folder = working_folder()
            _kept.update((name, _Stream(name, getattr(sys, name))) for name in ("stdout", "stderr"))
        _put_back()
    _here.inside += 1
    try:
        yield
    finally:
        _here.inside -= 1
        with _lock:
            _count -= 1
            streams.reopen_files()
            for stream in _kept.values():
                stream.real = streams.reopened(stream.name, stream.real)
            _put_back()
            if not _count:
                _kept.clear()
                with suppress(OSError):
                    go_to(_folder)


def working_folder() -> str | None:
    """Return the working folder, or none where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def go_to(folder: str | None) -> None:
    """Make a folder the working folder, if one is given."""
    if folder and folder != working_folder():
        os.chdir(folder)


def _put_back() -> None:
    for name, stream in _kept.items():
        setattr(sys, name, cast(Any, stream) if _count else stream.real)
