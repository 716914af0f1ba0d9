"""Images that were opened last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from histokit.plugin.remarks import Remark, collected_remarks, repeat

_RECENT_IMAGES = 4
_RECENT_BYTES = 256 << 20


class Opened(NamedTuple):
    """An image as it was opened: its (H, W, C) numbers, and the bits that its files say were recorded."""

    numbers: npt.NDArray[Any]
    bits: int | None = None


class RecentImages:
    """The images that were opened last: one that is cut into many boxes is decoded once, by whichever thread is first.

    Their arrays are shared and not to be written to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: OrderedDict[tuple[object, ...], Future[tuple[Opened, list[Remark]]]] = OrderedDict()

    def __reduce__(self) -> tuple[type[RecentImages], tuple[()]]:
        return RecentImages, ()

    def read(self, paths: Sequence[Path], part: str | None, load: Callable[[], Opened]) -> Opened:
        """Return what `load` gives of some files, unless they were just opened and have not changed since."""
        key = (part, *map(_state, paths))
        with self._lock:
            known = self._opened.get(key)
            image = self._opened.setdefault(key, known or Future())
            self._opened.move_to_end(key)
        if known is None:
            try:
                with collected_remarks() as remarks:
                    image.set_result((load(), remarks))
            except BaseException as error:
                image.set_exception(error)
            self._forget()
        opened, found = image.result()
        repeat(found)
        return opened

    def _forget(self) -> None:
        """Let go of images that could not be read, and of the oldest ones while there are too many."""
        with self._lock:
            done = {key: image for key, image in self._opened.items() if image.done()}
            whole = {key: image.result()[0] for key, image in done.items() if image.exception() is None}
            sizes = {key: opened.numbers.nbytes for key, opened in whole.items()}
            for key in done.keys() - sizes.keys():
                del self._opened[key]
            for key in list(sizes)[:-1]:
                if len(sizes) <= _RECENT_IMAGES and sum(sizes.values()) <= _RECENT_BYTES:
                    break
                del self._opened[key], sizes[key]


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat() if path.is_file() else None
    return (path, state.st_size, state.st_mtime_ns) if state else (path, 0, 0)
