"""The HDF5 file of 24 scans, of which only windows are ever read."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError
from histokit_kimiapath24.tiles import SIDE

if TYPE_CHECKING:
    import h5py

#: Tiles that are read at once: 32 MB, and as much again while the next ones are read.
_AT_ONCE = 32

#: Bytes of decompressed chunks that are kept, for the next window may lie in the same ones.
_CACHE = 64 << 20

#: Blocks of the file that its digest has, evenly spaced, and bytes of each.
_BLOCKS, _BLOCK = 1_024, 64 << 10

PATCHES, TARGETS = "test_data/patches", "test_data/targets"


class ScanFile:
    """``Kimia_Path24.h5``, opened where it is first read, and once more where it has changed since.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        By each method, if the file cannot be read, or does not hold what it should.
    """

    def __init__(self, path: Path):
        self.path = path
        # HDF5 serves one thread at a time.
        self._lock = threading.RLock()
        self._state: tuple[int, ...] | None = None
        self._file: h5py.File | None = None
        self._last: tuple[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ScanFile, (self.path,)

    def scans(self) -> list[int]:
        """Return the numbers of the scans that are there."""
        with self._lock:
            names = map(re.compile(r"scan(\d+)").fullmatch, self._opened())
        return sorted(int(match[1]) for match in names if match)

    def columns(self, scan: int) -> int:
        """Return how many whole tiles a row of a scan has."""
        return self._shape(f"scan{scan}/data", 2)[1] // SIDE

    def tiles(self, scan: int) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
        """Yield x, y and the pixels of each whole tile of a scan, row by row; a strip of tiles is in memory at once."""
        name = f"scan{scan}/data"
        height, width = self._shape(name, 2)
        step = SIDE * _AT_ONCE
        for y in range(0, height - SIDE + 1, SIDE):
            for left in range(0, width - SIDE + 1, step):
                across = min(step, (width - left) // SIDE * SIDE)
                strip = self.window(name, (left, y, across, SIDE))
                for x in range(0, across, SIDE):
                    yield left + x, y, strip[:, x : x + SIDE]

    def window(self, name: str, box: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
        """Return a window of a scan, which is x, y, width and height in pixels."""
        x, y, width, height = box
        return self._read(name, (slice(y, y + height), slice(x, x + width)), (height, width))

    def patch(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a test patch."""
        return self._read(PATCHES, number, (SIDE, SIDE))

    def targets(self) -> list[int]:
        """Return the scan of each test patch; nothing where the file has none."""
        with self._lock:
            if "test_data" not in self._opened():
                return []
        count = self._shape(PATCHES, 3)[0]
        values = np.ravel(self._read(TARGETS, ()))
        if len(values) != count:
            raise self._unfit(f"{TARGETS} holds {len(values)} labels for {count} patches")
        wrong = [i for i, value in enumerate(values.tolist()) if value not in range(24)]
        if wrong:
            raise self._unfit(f"{TARGETS} holds {values[wrong[0]]} at {wrong[0]}, which is no scan of 0 to 23")
        return [int(value) for value in values]

    def digest(self) -> bytes:
        """Return a digest of a large file that reads 64 MB of it.

        It has the size of the file, name, shape, type and chunks of each of its arrays, the labels of the test patches,
        and 1,024 blocks of 64 KiB, evenly spaced from the first byte to the last. Another or a truncated file, another
        label, and a change of a scan or of a test patch are noticed; a change of less than 29 MB that keeps the size
        of the file may lie between two blocks and stay unseen.
        """
        state = blake2b(digest_size=16)
        with self._lock:
            self._opened().visititems(lambda name, item: state.update(_described(name, item)))
            state.update(repr(self.targets()).encode())
        size = self.path.stat().st_size
        state.update(str(size).encode())
        with open(self.path, "rb") as file:
            for start in np.linspace(0, max(0, size - _BLOCK), _BLOCKS, dtype=np.int64):
                file.seek(int(start))
                state.update(file.read(_BLOCK))
        return state.digest()

    def _shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        with self._lock:
            data = self._array(name)
            if data.dtype != np.uint8 or data.ndim != dimensions:
                raise self._unfit(f"{name} holds {data.dtype} {data.shape}, not uint8 in {dimensions} dimensions")
            if dimensions == 3 and data.shape[1:] != (SIDE, SIDE):
                raise self._unfit(f"{name} has the shape {data.shape}, not (n, {SIDE}, {SIDE})")
            return tuple(data.shape)

    def _read(self, name: str, where: Any, shape: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
        with self._lock:
            data = self._array(name)
            try:
                values = np.asarray(data[where])
            except Exception as error:  # Likewise.
                raise self._unfit(f"{name} cannot be read: {error}") from error
        if shape is not None and (values.shape != shape or values.dtype != np.uint8):
            raise self._unfit(f"{name} holds {values.dtype} {values.shape} there, not uint8 {shape}")
        return values

    def _array(self, name: str) -> Any:
        file = self._opened()
        if self._last is None or self._last[0] != name:
            try:
                found = file.get(name)
            except Exception as error:  # HDF5 raises whatever it stumbles upon in a damaged file.
                raise self._unfit(f"{name} cannot be opened: {error}") from error
            if found is None or not hasattr(found, "dtype"):
                raise self._unfit(f"it has no array {name}")
            # Its cache lives as long as it does.
            self._last = name, found
        return self._last[1]

    def _opened(self) -> h5py.File:
        import h5py

        try:
            status = os.stat(self.path)
            state = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            if self._file is None or self._state != state:
                if self._file is not None:
                    self._last = None
                    self._file.close()
                self._file = h5py.File(self.path, "r", rdcc_nbytes=_CACHE, rdcc_nslots=10_007, locking="best-effort")
                self._state = state
        except FileNotFoundError:
            raise DataError(f"The file {str(self.path)!r} does not exist.", next="Give Kimia_Path24.h5.") from None
        except OSError as error:
            raise self._unfit(str(error)) from error
        return self._file

    def _unfit(self, reason: str) -> DataError:
        return DataError(
            f"The file {str(self.path)!r} is not the HDF5 file of Kimia Path24: {reason}.",
            next="It should hold scan0/data to scan23/data, test_data/patches and test_data/targets; copy it again.",
        )


def _described(name: str, item: Any) -> bytes:
    facts = [getattr(item, each, None) for each in ("shape", "dtype", "chunks")]
    return repr((name, *map(str, facts))).encode()
