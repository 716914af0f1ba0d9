"""Images that were opened last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from histokit.plugin.digests import FileState, state_of
from histokit.plugin.recent import Recent
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
        self._opened: Recent[tuple[Opened, list[Remark]]] = Recent(_RECENT_IMAGES, _RECENT_BYTES, _bytes)

    def read(self, paths: Sequence[Path], part: str | None, load: Callable[[], Opened]) -> Opened:
        """Return what `load` gives of some files, unless they were just opened and have not changed since."""

        def remarked() -> tuple[Opened, list[Remark]]:
            with collected_remarks() as remarks:
                return load(), remarks

        opened, found = self._opened.get((part, *map(_state, paths)), remarked)
        repeat(found)
        return opened


def _bytes(held: tuple[Opened, list[Remark]]) -> int:
    return held[0].numbers.nbytes


def _state(path: Path) -> tuple[Path, FileState | None]:
    return path, state_of(path.stat()) if path.is_file() else None
