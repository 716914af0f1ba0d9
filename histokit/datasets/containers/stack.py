"""Arrays in a file, of which parts are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.datasets.containers.container import BLOCK_BYTES

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stack:
    """An array in a file.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    load : callable
        Returns the rows from one to another number.
    rows : int, optional
        That the file holds together; as many as `BLOCK_BYTES` where not given.
    stream : callable, optional
        Yields all rows, some at a time, for one who wants to know that they are whole; by `load` where not given.
    files : callable, optional
        Returns the files that a row lies in, relative to the container; the container itself where not given.
    pieces : int
        Files that a row lies in, where all are there; those that are not there hold the fill value.
    attributes : mapping
        What the file says of the array.
    sources : sequence of Path
        Other files, wherever they lie, that hold some of it.
    notes : sequence of str
        What is to be known of it.
    sparse : bool
        Whether there are chunks that were never written, whose rows are refused.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[int, int], Array]
    rows: int = 0
    stream: Callable[[], Iterator[Array]] | None = None
    files: Callable[[int], tuple[str, ...]] | None = None
    pieces: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sources: Sequence[Path] = ()
    notes: Sequence[str] = ()
    sparse: bool = False

    @property
    def row_bytes(self) -> int:
        """The memory that a row takes."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def block(self) -> int:
        """How many rows are read at once: whole chunks, where the file has such."""
        together = max(1, self.rows)
        if self.sparse:
            return together
        return together * max(1, BLOCK_BYTES // max(1, together * self.row_bytes))

    def unwritten(self) -> tuple[int, int]:
        """Return how many rows lie in files that are not there, and how many in some that are not there."""
        if self.files is None or not self.pieces:
            return 0, 0
        found = [len(self.files(row)) for row in range(self.shape[0])]
        whole = found.count(0)
        return whole, sum(count < self.pieces for count in found) - whole

    def blocks(self) -> Iterator[Array]:
        """Yield all rows, some at a time."""
        if self.stream is not None:
            yield from self.stream()
            return
        for start in range(0, self.shape[0], self.block):
            yield self.load(start, min(self.shape[0], start + self.block))

    def whole(self) -> Array:
        """Return all of the array."""
        return self.load(0, self.shape[0]) if self.shape else self.load(0, 1)

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def listed(stacks: Mapping[str, Stack], shown: int = 12) -> str:
    """Return the names, shapes and types of arrays as a text."""
    texts = [f"{name or 'array'} {stack}" for name, stack in stacks.items()]
    more = [f"and {len(texts) - shown} more"] if len(texts) > shown else []
    return ", ".join([*texts[:shown], *more]) or "none"


def numbers_or_texts(values: Array) -> Sequence[Any]:
    """Return an array of one dimension as Python's values; bytes are texts."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values.tolist()]
