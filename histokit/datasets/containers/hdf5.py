"""Arrays in HDF5 files, of which parts are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from histokit.datasets.containers.container import readable
from histokit.datasets.containers.stack import Array, Stack
from histokit.errors import UsageError


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
    def load(start: int, stop: int) -> Array:
        with readable(file, "HDF5 file"):
            return np.asarray(dataset[start:stop] if dataset.shape else dataset[()])

    attributes = {name: dataset.attrs[name] for name in dataset.attrs}
    rows = dataset.chunks[0] if dataset.chunks else 0
    return Stack(dataset.shape or (), dataset.dtype, load, rows, attributes=attributes)
