"""Arrays in zarr folders, of which parts are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.containers.container import readable
from histokit.datasets.containers.stack import Array, Stack
from histokit.errors import UsageError

_MARKS = ("zarr.json", ".zgroup", ".zarray")
_OF_ARRAYS = ("zarr.json", ".zarray")


def is_zarr(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is an array or a group of zarr, of version 2 or 3."""
    return any(os.path.isfile(os.path.join(folder, mark)) for mark in _MARKS)


@lru_cache(maxsize=4096)
def _described_in(folder: Path, root: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        for mark in _OF_ARRAYS:
            if (parent / mark).is_file():
                return parent / mark
        if parent == root:
            break
    return None


def described_by(chunk: Path, root: Path) -> Sequence[Path]:
    """Return the file that says how the numbers of a chunk are written, above it and in a root."""
    found = _described_in(chunk.parent, root)
    return [] if found is None else [found]


def open_zarr(file: Path) -> Mapping[str, Stack]:
    """Return the arrays of a zarr folder by their paths in it; one that is the folder itself has an empty name.

    Raises
    ------
    DataError
        If it cannot be read.
    UsageError
        If zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise UsageError("Zarr folders need the package zarr.", next="pip install 'histokit[zarr]'") from error
    with readable(file, "zarr folder"):
        opened: Any = zarr.open(str(file), mode="r")
        if isinstance(opened, zarr.Array):
            return {"": _stack(opened, "", file)}
        members = opened.members(max_depth=None)
        found = {path: _stack(item, path, file) for path, item in members if isinstance(item, zarr.Array)}
        return dict(sorted(found.items()))


def _stack(array: Any, path: str, file: Path) -> Stack:
    def load(start: int, stop: int) -> Array:
        with readable(file, "zarr folder"):
            return np.asarray(array[start:stop] if array.shape else array[()])

    pieces = array.shards or array.chunks
    counts = [range(-(-length // piece)) for length, piece in zip(array.shape[1:], pieces[1:], strict=True)]

    @lru_cache(maxsize=8)
    def files(block: int) -> tuple[str, ...]:
        """Return the files of a row of chunks; where there are none, zarr takes its fill value."""
        keys = (array.metadata.encode_chunk_key((block, *place)) for place in product(*counts))
        paths = (f"{path}/{key}" if path else key for key in keys)
        return tuple(each for each in paths if os.path.isfile(file / each))

    return Stack(
        array.shape,
        np.dtype(array.dtype),
        load,
        array.chunks[0] if array.chunks else 0,
        files=(lambda row: files(row // pieces[0])) if array.shape else None,
        pieces=math.prod(map(len, counts)) if array.shape else 0,
        attributes=dict(array.attrs),
        sources=described_by(file / path / "chunk", file),
    )
