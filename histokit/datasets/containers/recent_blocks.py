"""What was read last of a file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: What is kept of arrays and tables that were read last, for images come one after the other.
RECENT_BYTES = 256 << 20


class RecentBlocks:
    """The blocks that were read last, for the threads of one process; the oldest go first."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blocks: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0

    def get(self, key: Any, load: Callable[[], T]) -> T:
        """Return the block of a key, by loading it where it is not there; one thread at a time."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
            block = load()
            self._blocks[key] = block
            self._bytes += getattr(block, "nbytes", 0)
            while self._bytes > RECENT_BYTES and len(self._blocks) > 1:
                _, oldest = self._blocks.popitem(last=False)
                self._bytes -= getattr(oldest, "nbytes", 0)
            return block
