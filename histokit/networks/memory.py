"""Whether a batch of images can be held in memory at all."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from histokit.errors import UsageError, counted
from histokit.plugin import Preprocess
from histokit.store import DatasetRecord

#: A network holds the batch as it was read, normalised, and at least one map as large: bytes for each of its numbers.
_BYTES = 4 * 4

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@cache
def machine_memory() -> int:
    """Return how many bytes this machine has, or its container may use."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        try:
            sizes.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes)


def check_batch(rows: int | None, shape: Sequence[int], memory: int, where: str = "this machine") -> None:
    """Raise where a batch of inputs that was asked for cannot be held; batches that are chosen here can.

    Parameters
    ----------
    rows : int, optional
        As asked for.
    shape : sequence of int
        Of an input.
    memory : int
        Bytes that there are.
    where : str
        What has them.

    Raises
    ------
    UsageError
    """
    each = _BYTES * math.prod(shape)
    if rows is not None and rows * each > memory:
        raise UsageError(
            f"A batch of {rows:,} inputs of {' × '.join(map(str, shape))} numbers takes at least "
            f"{rows * each / 2**30:,.0f} GiB; {where} has {memory / 2**30:,.0f}.",
            next=f"Give a --batch-size below {max(2, memory // each // 4):,}, or none.",
        )


def capped(rows: int | None, record: DatasetRecord, notes: list[str]) -> int | None:
    """Return how many rows a batch has that is no larger than a dataset, so that little is computed for nothing.

    By all images and not by those that are left, so that an extraction that goes on has the same batches; never one
    row, whose bits are others. A note is added where it is fewer than asked for.
    """
    if rows is None or rows <= max(2, record.count):
        return rows
    fewer = max(2, record.count)
    notes.append(
        f"{record.name} has {counted(record.count, 'image', 'images')}: batches are of {fewer} rows, not {rows}"
    )
    return fewer


def input_shape(preprocess: Preprocess) -> tuple[int, int, int]:
    """Return channels, height and width of a network's inputs; one pixel where they have any size."""
    side = 1 if preprocess.resize == "none" else preprocess.size
    return len(preprocess.mean), side, side
