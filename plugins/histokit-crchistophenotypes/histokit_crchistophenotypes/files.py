"""The files of the data: in a folder, or in an archive that may hold further archives."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError, decode_image

_RECENT_IMAGES = 4


class Files(Protocol):
    """Files by name, with slashes."""

    path: Path

    def names(self) -> list[str]:
        """Return the names of all files that may belong to the data."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file; an OSError is raised where that cannot be."""
        ...


class Folder:
    """What was unpacked to a folder."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[str]:
        """Return the names of files in ``img*``, here or one folder below."""
        found = (each for pattern in ("[iI][mM][gG]*/*", "*/[iI][mM][gG]*/*") for each in self.path.glob(pattern))
        return [each.relative_to(self.path).as_posix() for each in found]

    def open(self, name: str) -> IO[bytes]:
        """Open a file."""
        return open(self.path / name, "rb")


class Archive:
    """A zip file, as it was downloaded; the zip files in it are looked into as if they were folders.

    It is opened where it is first read, and once more where it has changed since. Threads may share it.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        By each method, if the archive cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        self._state: tuple[int, int] | None = None
        self._members: dict[str, tuple[ZipFile, ZipInfo]] = {}
        self._recent: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()
        self._digests: dict[str, bytes] = {}
        self._held = ExitStack()
        weakref.finalize(self, self._held.close)

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.path,)

    def names(self) -> list[str]:
        """Return the names of all members."""
        with self._lock:
            return list(self._opened())

    def read(self, name: str) -> bytes:
        """Return all bytes of a member; FileNotFoundError is raised where there is none of that name."""
        with self._lock:
            archive, info = self._opened().get(name) or (None, None)
            if archive is None or info is None:
                raise FileNotFoundError(f"{self.path} has no member {name}")
            try:
                return archive.read(info)
            except Exception as error:  # Decompressors raise whatever they stumble upon in a damaged file.
                raise self._unfit(f"{name} in it: {error}") from error

    def open(self, name: str) -> IO[bytes]:
        """Open a member."""
        return BytesIO(self.read(name))

    def digest(self, name: str) -> bytes:
        """Return the digest of a member's bytes; FileNotFoundError is raised where there is none of that name."""
        with self._lock:
            self._opened()
            if name not in self._digests:
                self._digests[name] = blake2b(self.read(name), digest_size=16).digest()
            return self._digests[name]

    def contents(self) -> bytes:
        """Return a digest of what all members are called and hold, by their checksums, however they were packed."""
        with self._lock:
            members = [(name, info.file_size, info.CRC) for name, (_, info) in sorted(self._opened().items())]
        return blake2b(repr(members).encode(), digest_size=16).digest()

    def image(self, name: str) -> npt.NDArray[np.uint8]:
        """Return an image, which many boxes are cut from one after the other; it is not to be written to."""
        with self._lock:
            self._opened()
            if name not in self._recent:
                self._recent[name] = decode_image(self.read(name), f"{self.path}/{name}")
                while len(self._recent) > _RECENT_IMAGES:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(name)
            return self._recent[name]

    def _opened(self) -> dict[str, tuple[ZipFile, ZipInfo]]:
        try:
            status = os.stat(self.path)
            if self._state != (status.st_size, status.st_mtime_ns):
                self._held.close()
                self._recent.clear()
                self._digests.clear()
                self._members = dict(_members(self._held.enter_context(ZipFile(self.path)), "", self._held))
                self._state = status.st_size, status.st_mtime_ns
        except Exception as error:  # Likewise.
            raise self._unfit(str(error) or type(error).__name__) from error
        return self._members

    def _unfit(self, reason: str) -> DataError:
        return DataError(f"The archive {str(self.path)!r} cannot be read ({reason}).", next="Download it again.")


def _members(archive: ZipFile, prefix: str, held: ExitStack) -> Iterator[tuple[str, tuple[ZipFile, ZipInfo]]]:
    for info in archive.infolist():
        name = prefix + info.filename
        # What macOS adds has the names of the files that it tells of.
        if info.is_dir() or any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/")):
            continue
        if not name.lower().endswith(".zip"):
            yield name, (archive, info)
            continue
        try:
            inner = held.enter_context(archive.open(info))
            if info.compress_type != ZIP_STORED:
                # Whoever goes back in what is compressed begins anew.
                packed, inner = inner, held.enter_context(_temporary_file())
                shutil.copyfileobj(packed, inner)
            opened = held.enter_context(ZipFile(inner))
        except Exception as error:  # Likewise.
            raise BadZipFile(f"{name} in it: {error}") from error
        yield from _members(opened, f"{name}/", held)


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile()
