"""Arrays in HDF5 files, of which parts are read."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.containers.container import readable
from histokit.datasets.containers.stack import Array, Stack
from histokit.errors import DataError, UsageError

#: Arrays that are made of others that are made of others, and so on.
_DEEPEST = 8


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
    parts = list(_parts(dataset, file))
    sources = list(dict.fromkeys(part for part in parts if isinstance(part, Path)))
    return Stack(
        dataset.shape or (),
        dataset.dtype,
        _loader(dataset, file, reopen=bool(parts)),
        dataset.chunks[0] if dataset.chunks else 0,
        attributes={name: dataset.attrs[name] for name in dataset.attrs},
        sources=sources,
        notes=[part for part in parts if isinstance(part, str)],
        sparse=_is_sparse(dataset),
    )


def _is_sparse(dataset: Any) -> bool:
    """Whether there are chunks that were never written."""
    chunks = [range(0, size, piece) for size, piece in zip(dataset.shape or (), dataset.chunks or (), strict=False)]
    return bool(chunks) and dataset.id.get_num_chunks() < math.prod(map(len, chunks))


def _loader(dataset: Any, file: Path, reopen: bool) -> Callable[[int, int], Array]:
    """Return what reads rows of an array; where it is opened anew for that, other files that it is made of are, too."""
    opened, name, sparse = dataset.file, dataset.name, _is_sparse(dataset)
    held = None if reopen else dataset

    def load(start: int, stop: int) -> Array:
        with readable(file, "HDF5 file"):
            array = _beside(opened, name, file.parent) if held is None else held
            if sparse:
                _refuse_holes(array, file, start, stop)
            return np.asarray(array[start:stop] if array.shape else array[()])

    return load


def _beside(opened: Any, name: str, folder: Path) -> Any:
    """Open an array whose numbers lie in other files of the same folder, which HDF5 looks for in the current one."""
    import h5py

    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_efile_prefix(os.fsencode(folder))
    return h5py.Dataset(h5py.h5d.open(opened.id, name.encode(), access))


def _parts(dataset: Any, file: Path, depth: int = 0) -> Iterator[Path | str]:
    """Yield the other files that an array lies in, or is made of, and what is to be known of them, as texts.

    Raises
    ------
    DataError
        If one is not there, or not whole: it would be read as its fill value.
    """
    left = dataset.nbytes
    for name, start, size in dataset.external or ():
        raw, used = file.parent / name, min(size, left)
        left -= used
        if not raw.exists() or raw.stat().st_size < start + used:
            raise DataError(
                f"The array {dataset.name} of {file} lies in {name}, which is not there or ends too early.",
                next="Put that file beside it, or leave this one out.",
            )
        yield raw
    if dataset.is_virtual:
        yield from _virtual_parts(dataset, file, depth)


def _virtual_parts(dataset: Any, file: Path, depth: int) -> Iterator[Path | str]:
    import h5py

    sources = dataset.virtual_sources()
    missing = dataset.size - sum(source.vspace.get_select_npoints() for source in sources)
    if missing > 0:
        yield f"{missing:,} of {dataset.size:,} numbers of the array {dataset.name} of {file.name} are in no source"
    for path, name in dict.fromkeys((source.file_name, source.dset_name) for source in sources):
        other = file if path == "." else file.parent / path
        if not other.exists():
            raise DataError(
                f"The array {dataset.name} of {file} is made of {path}, which is not there.",
                next="Put that file beside it, or leave this one out.",
            )
        yield from [other] if other != file else []
        with h5py.File(other, "r") as opened:
            if name not in opened:
                raise DataError(
                    f"The array {dataset.name} of {file} is made of {name} in {path}, which is not there.",
                    next="Write that array, or leave this file out.",
                )
            if _is_sparse(opened[name]):
                yield f"Parts of {name} in {other.name}, of which the array {dataset.name} is made, were never written"
            # Sources may have sources.
            yield from _parts(opened[name], other, depth + 1) if depth < _DEEPEST else []


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
