"""Memory for the maps of a network, taken from the system once and not anew for every operation."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

#: Parameters of the C library's mallopt(3), and what they are before anything is set.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = {_MMAP_MAX: 65_536, _TRIM_THRESHOLD: 128 << 10}
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next operation, and give it back at the end.

    By default glibc takes each block of some megabytes from the system and returns it at once. A network on a
    processor then spends half of its time on pages that are cleared again and again. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    for parameter, value in _KEEP.items():
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _DEFAULTS.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)
