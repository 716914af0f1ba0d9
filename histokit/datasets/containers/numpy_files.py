"""Arrays in ``.npy`` and ``.npz`` files, of which parts are read."""

from __future__ import annotations

import mmap
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from histokit.datasets.containers.container import BLOCK_BYTES, readable
from histokit.datasets.containers.deflated import Deflated
from histokit.datasets.containers.stack import Array, Stack
from histokit.errors import DataError

#: Of a member's own header in a zip archive, before its name and what else is there.
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def open_npy(file: Path) -> Mapping[str, Stack]:
    """Return the array of a ``.npy`` file, under an empty name; it is mapped, not read.

    Raises
    ------
    DataError
        If it cannot be read, or holds Python objects.
    """
    with readable(file, "NumPy array (.npy)"):
        with open(file, "rb") as opened:
            _refuse_objects(_header(opened)[2], "the array", file)
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        return {"": Stack(array.shape, array.dtype, lambda start, stop: array[start:stop] if array.ndim else array)}


def open_npz(file: Path) -> Mapping[str, Stack]:
    """Return the arrays of a ``.npz`` file by name.

    Arrays that are stored as they are, are mapped; those that are compressed are unpacked in blocks.

    Raises
    ------
    DataError
        If the file cannot be read, or a name comes twice.
    """
    with readable(file, "NumPy archive (.npz)"), zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        names = [info.filename.removesuffix(".npy") for info in members]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"The file {str(file)!r} has two members {twice + '.npy'!r}.", next="Save it again, with one of each."
            )
        return {name: _Member(file, archive, info).stack for name, info in zip(names, members, strict=True)}


class _Member:
    """An array in a ``.npz`` file."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo):
        self.file, self.info = file, info
        with archive.open(info) as opened:
            self.shape, self.fortran, self.dtype = _header(opened)
            self.start = opened.tell()
        self.row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        expected = self.start + prod(self.shape) * self.dtype.itemsize
        if self.dtype.hasobject is False and info.file_size != expected:
            raise DataError(
                f"The member {info.filename!r} of {str(file)!r} has {info.file_size:,} bytes where its header says "
                f"{expected:,}.",
                next="Fetch the file again, whole.",
            )

    @property
    def stack(self) -> Stack:
        return Stack(self.shape, self.dtype, self.load, stream=self.stream if len(self.shape) > 1 else None)

    @cached_property
    def _source(self) -> Array | Deflated:
        """The array where it is stored as it is, else what unpacks it."""
        info = self.info
        what = f"the member {info.filename!r}"
        _refuse_objects(self.dtype, what, self.file)
        with open(self.file, "rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        _, name, extra = _LOCAL_HEADER.unpack_from(data, info.header_offset)
        start = info.header_offset + _LOCAL_HEADER.size + name + extra
        if info.compress_type == zipfile.ZIP_STORED:
            count = prod(self.shape)
            flat = np.frombuffer(data, self.dtype, count, start + self.start)
            return flat.reshape(self.shape[::-1]).T if self.fortran else flat.reshape(self.shape)
        if info.compress_type != zipfile.ZIP_DEFLATED:
            raise DataError(
                f"The file {str(self.file)!r} holds {what} packed otherwise than NumPy does.",
                next="Save it again with numpy.savez_compressed(…).",
            )
        if self.fortran:
            return self._unpacked()
        return Deflated(data, start, info.compress_size, info.file_size)

    def _unpacked(self) -> Array:
        """Return an array that is stored column by column, of which each image is spread over all: from the disk."""
        with tempfile.TemporaryFile() as unpacked:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.info) as opened:
                opened.read(self.start)
                shutil.copyfileobj(opened, unpacked, BLOCK_BYTES)
            unpacked.flush()
            if not unpacked.tell():
                return np.empty(self.shape, self.dtype)
            return np.memmap(unpacked, self.dtype, "r", shape=self.shape, order="F")

    def load(self, start: int, stop: int) -> Array:
        with readable(self.file, "NumPy archive (.npz)"):
            source = self._source
            if not isinstance(source, Deflated):
                return source[start:stop] if self.shape else source
            count = stop - start
            data = source.read(self.start + start * self.row_bytes, count * self.row_bytes)
            shape: tuple[int, ...] = (count, *self.shape[1:]) if self.shape else ()
            return np.frombuffer(data, self.dtype).reshape(shape)

    def stream(self) -> Iterator[Array]:
        """Yield all rows, some at a time; the check sum of the member is looked at."""
        rows = max(1, BLOCK_BYTES // max(1, self.row_bytes))
        with readable(self.file, "NumPy archive (.npz)"), zipfile.ZipFile(self.file) as archive:
            if self.fortran:
                yield from map(partial(_row, self), range(self.shape[0]))
            with archive.open(self.info) as opened:
                opened.read(self.start)
                while data := opened.read(rows * self.row_bytes):
                    if not self.fortran:
                        yield np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])


def _row(member: _Member, number: int) -> Array:
    return member.load(number, number + 1)


def _header(opened: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(opened)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(opened)


def _refuse_objects(dtype: np.dtype, what: str, file: Path) -> None:
    if dtype.hasobject:
        raise DataError(
            f"The file {str(file)!r} holds {what} as Python objects, which are not read.",
            next="Save it as an array of numbers or of texts.",
        )
