"""Members of zip and tar archives, read one at a time."""

from __future__ import annotations

import mmap
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from histokit.datasets.containers.container import readable
from histokit.datasets.walk import as_text
from histokit.errors import DataError, counted

_TAR_BLOCK = 512

#: Bytes among which the end of an archive is looked for.
_AT_ONCE = 1 << 20

#: What a zip archive calls systems whose paths have backslashes.
_WINDOWS = 0

_LINKS = (("link", "was"), ("links", "were"))


class Members(Protocol):
    """The files in an archive."""

    #: Their names, in the order of the archive.
    names: list[str]
    #: What is to be known of the archive.
    notes: list[str]

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        ...


class ZipMembers:
    """The files in a zip archive; check sums are looked at."""

    def __init__(self, file: Path):
        self._file = file
        with readable(file, "zip archive"):
            self._archive = zipfile.ZipFile(file)
        named = [(_slashed(info), info) for info in self._archive.infolist()]
        files = [(name, info) for name, info in named if not name.endswith("/")]
        self._members = {as_text(name): info for name, info in files}
        self.names = list(self._members)
        self.notes: list[str] = []
        _refuse_twice(file, [name for name, _ in files])

    def read(self, name: str) -> bytes:
        """Return the content of a file; threads may read at once."""
        info = self._members[name]
        with readable(self._file, "zip archive"):
            return self._archive.read(info)


class TarMembers:
    """The files in a tar archive that is not compressed as a whole."""

    def __init__(self, file: Path):
        self._places: dict[str, tuple[int, int]] = {}
        self.notes = []
        listed: list[str] = []
        stop, links = 0, 0
        with readable(file, "tar archive that is not compressed"), tarfile.open(file, "r:") as archive:
            while (info := archive.next()) is not None:
                # It keeps all of them otherwise.
                archive.members = []  # type: ignore[attr-defined]
                stop = info.offset_data + -(-info.size // _TAR_BLOCK) * _TAR_BLOCK if info.isreg() else archive.offset
                links += info.issym() or info.islnk()
                if info.isreg() and not info.issparse():
                    listed.append(info.name)
                    self._places[as_text(info.name)] = info.offset_data, info.size
            with open(file, "rb") as opened:
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.names = list(self._places)
        _refuse_twice(file, listed)
        if len(self._data) < stop + _TAR_BLOCK:
            self.notes.append(f"{file.name} ends without the mark that ends tar archives: files may be missing")
        if more := self._bytes_behind(stop):
            self.notes.append(
                f"{file.name} goes on after its end with {more:,} bytes (archives that were joined, or damage): they "
                "are not read; give each archive as a file of its own"
            )
        if links:
            self.notes.append(counted(links, *(f"{each} in {file.name} {was} passed over" for each, was in _LINKS)))

    def _bytes_behind(self, stop: int) -> int:
        """Return how many bytes follow on the last member and the zeros behind it."""
        for start in range(stop, len(self._data), _AT_ONCE):
            block = self._data[start : start + _AT_ONCE]
            if kept := len(block.lstrip(b"\0")):
                return len(self._data) - start - len(block) + kept
        return 0

    def read(self, name: str) -> bytes:
        """Return the content of a file; threads may read at once."""
        start, size = self._places[name]
        return self._data[start : start + size]


def _slashed(info: zipfile.ZipInfo) -> str:
    """Return the name of a member with slashes; some programs of Windows write backslashes, against the format."""
    return info.filename.replace("\\", "/") if info.create_system == _WINDOWS else info.filename


def is_hidden(name: str) -> bool:
    """Whether a member is hidden, or what macOS keeps beside a file."""
    # Tar writes ./ before all names where the folder . was packed.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.removeprefix("./").split("/"))


def _refuse_twice(file: Path, names: Iterable[str]) -> None:
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise DataError(
            f"The archive {str(file)!r} holds {count} files called {name!r}.", next="Pack it again, with one of each."
        )
