"""Memory for blocks of megabytes, taken from the system once and not anew for every operation."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

#: Parameters of the C library's mallopt(3). Who sets one ends their adaptation to the blocks that are freed, so they
#: are afterwards what they would have adapted to.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_AFTERWARDS = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1}


_lock = threading.Lock()
_depth = 0
_pool = pa.default_memory_pool()


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next operation, and give it back at the end.

    By default glibc takes each block of some megabytes from the system and returns it at once. A network on a
    processor then spends half of its time on pages that are cleared again and again. Other C libraries are left
    alone. pyarrow takes its memory from the C library as well: its own pool does not get back what Lance's threads
    free, and grows with every write. Both are settings of the whole process, for as long as any thread is inside.
    """
    global _depth, _pool
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    with _lock:
        _depth += 1
        if _depth == 1:
            _pool = pa.default_memory_pool()
            pa.set_memory_pool(pa.system_memory_pool())
            _set(library, _KEEP)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                pa.set_memory_pool(_pool)
                _set(library, _AFTERWARDS)
                if library is not None:
                    library.malloc_trim(0)


def _set(library: ctypes.CDLL | None, values: dict[int, int]) -> None:
    if library is not None:
        for parameter, value in values.items():
            library.mallopt(parameter, value)
