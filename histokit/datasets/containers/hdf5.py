"""Arrays in HDF5 files, of which parts are read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.containers.container import readable
from histokit.datasets.containers.stack import Array, Stack
from histokit.errors import DataError, UsageError


def open_hdf5(file: Path) -> Mapping[str, Stack]:
    """Return the arrays of an HDF5 file by their paths in it.

    Raises
    ------
    DataError
        If it cannot be read.
    UsageError
        If h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError("HDF5 files need the package h5py.", next="pip install 'histokit[hdf5]'") from error
    with readable(file, "HDF5 file"):
        # It stays open as long as one of its arrays is there, and h5py lets one thread in at a time.
        opened = h5py.File(file, "r")
        found: dict[str, Stack] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = _stack(item, file)

        opened.visititems(visit)
        return found


def _stack(dataset: Any, file: Path) -> Stack:
    sources = list(_sources(dataset, file))
    chunks = [range(0, size, piece) for size, piece in zip(dataset.shape or (), dataset.chunks or (), strict=False)]
    sparse = bool(chunks) and dataset.id.get_num_chunks() < math.prod(map(len, chunks))
    return Stack(
        dataset.shape or (),
        dataset.dtype,
        _loader(dataset, file, sparse, reopen=bool(sources)),
        dataset.chunks[0] if dataset.chunks else 0,
        attributes={name: dataset.attrs[name] for name in dataset.attrs},
        sources=sources,
        sparse=sparse,
    )


def _loader(dataset: Any, file: Path, sparse: bool, reopen: bool) -> Callable[[int, int], Array]:
    """Return what reads rows of an array; where it is opened anew for that, other files that it is made of are, too."""
    opened, name, held = dataset.file, dataset.name, None if reopen else dataset

    def load(start: int, stop: int) -> Array:
        with readable(file, "HDF5 file"):
            array = opened[name] if held is None else held
            if sparse:
                _refuse_holes(array, file, start, stop)
            return np.asarray(array[start:stop] if array.shape else array[()])

    return load


def _sources(dataset: Any, file: Path) -> Iterator[Path]:
    """Yield the other files that an array lies in, or is made of.

    Raises
    ------
    DataError
        If one is not there, or not whole: it would be read as its fill value.
    """
    for name, start, size in dataset.external or ():
        raw = file.parent / name
        needed = start + min(size, dataset.nbytes)
        if not raw.exists() or (len(dataset.external) == 1 and raw.stat().st_size < needed):
            raise DataError(
                f"The array {dataset.name} of {file} lies in {name}, which is not there or ends too early.",
                next="Put that file beside it, or leave this one out.",
            )
        yield raw
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        other = file if source.file_name == "." else file.parent / source.file_name
        if not other.exists():
            raise DataError(
                f"The array {dataset.name} of {file} is made of {source.file_name}, which is not there.",
                next="Put that file beside it, or leave this one out.",
            )
        if other != file:
            yield other


def _refuse_holes(dataset: Any, file: Path, start: int, stop: int) -> None:
    """Raise where rows have a chunk that was never written: they would be read as the fill value."""
    first, *others = zip(dataset.shape, dataset.chunks, strict=True)
    rows = range(start // first[1] * first[1], min(stop, first[0]), first[1])
    for place in itertools.product(rows, *(range(0, size, piece) for size, piece in others)):
        if dataset.id.get_chunk_info_by_coord(place).byte_offset is None:
            raise DataError(
                f"The array {dataset.name} of {file} was never written from row {place[0]} on.",
                next="Write the file again to its end, or leave these rows out.",
            )
