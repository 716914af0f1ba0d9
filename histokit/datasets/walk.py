"""Walking through a folder of images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from histokit.errors import DataError, counted
from histokit.files import suffix_of
from histokit.plugin.raw_images import is_foreign

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"})

#: Where the kernel shows processes and devices as files, with links to all of the disk; shared memory is for users.
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_SHARED_MEMORY = "/dev/shm/"

#: What a store is told by, and how the names of its tables end.
_OF_STORES, _TABLE = "datasets.lance", ".lance"


@dataclass
class Tally:
    """Counts things and keeps the first few as examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < 3:
            self.examples.append(example)

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return ", ".join(map(repr, self.examples))


class _Folder(NamedTuple):
    """A folder whose entries are being walked through."""

    prefix: str
    real: str
    entries: Iterator[os.DirEntry[str]]


@dataclass
class Walk:
    """A walk through a folder, in an order that is the same on every machine.

    Hidden files and folders are skipped. Symbolic links are followed, for data are often linked into place; links that
    lead out of the root, nowhere or in circles are counted. So are folders that cannot be opened, those of the system
    and the tables of stores, which are left out. Each folder comes once: where it is, if that is in the root, and a
    link to it is left out; else under the first link that leads there. A file whose name is not valid UTF-8 comes under
    the name that `as_text` gives it, for ingestion to put aside.

    Parameters
    ----------
    root : Path
    is_one : callable, optional
        Says of a folder, by its path, that it is a file as it were: it is yielded, and not walked through.
    """

    root: Path
    is_one: Callable[[str], bool] | None = None
    outside: Tally = field(default_factory=Tally)
    dead_links: Tally = field(default_factory=Tally)
    again: Tally = field(default_factory=Tally)
    closed: Tally = field(default_factory=Tally)
    system: Tally = field(default_factory=Tally)
    stores: Tally = field(default_factory=Tally)

    def files(self) -> Iterator[str]:
        """Yield the path of each file, relative to the root, with slashes.

        Raises
        ------
        DataError
            If the root is absent, not a folder, one of the system or cannot be opened.
        """
        if not os.path.isdir(self.root):
            raise DataError(
                f"The folder {str(self.root)!r} {absence(self.root)}.", next="Give the folder that holds the images."
            )
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise DataError(f"The folder {str(self.root)!r} cannot be opened.", next="Mend its permissions.")
        real_root = os.path.realpath(self.root)
        if _is_system(real_root):
            raise DataError(
                f"The folder {str(self.root)!r} is the system's: what is in there is no data.",
                next="Give the folder that holds the images.",
            )
        yield from self._walk(real_root)

    def _walk(self, real_root: str) -> Iterator[str]:
        # No recursion, because folders may be deeper than Python's calls.
        open_folders = [self._open(str(self.root), "", real_root)]
        walked = {real_root}
        while open_folders:
            folder = open_folders[-1]
            entry = next(folder.entries, None)
            if entry is None:
                open_folders.pop()
                continue
            path = folder.prefix + as_text(entry.name)
            linked = entry.is_symlink()
            if not linked and not entry.is_dir():
                yield path
                continue
            real = os.path.realpath(entry.path) if linked else os.path.join(folder.real, entry.name)
            if linked and (not os.path.exists(real) or any(real == above.real for above in open_folders)):
                self.dead_links.add(path)
                continue
            is_folder = entry.is_dir()
            if is_folder and _is_system(real):
                self.system.add(path)
                continue
            if is_folder and (real in walked or (linked and _comes_anyway(real, real_root))):
                self.again.add(path)
                continue
            if linked and not _is_inside(real, real_root):
                self.outside.add(path)
            if is_folder:
                walked.add(real)
            if is_folder and not (self.is_one and self.is_one(entry.path)):
                open_folders.append(self._open(entry.path, path + "/", real))
            else:
                yield path

    def _open(self, folder: str, prefix: str, real: str) -> _Folder:
        try:
            with os.scandir(folder) as listing:
                entries = sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError:
            self.closed.add(prefix)
            entries = []
        if any(entry.name == _OF_STORES for entry in entries):
            self.stores.add(prefix.rstrip("/") or ".")
            entries = [entry for entry in entries if not entry.name.endswith(_TABLE)]
        return _Folder(prefix, real, iter(entries))

    def warnings(self) -> list[str]:
        """Return what the user should know of the links that were met."""
        found = []
        if self.outside:
            found.append(f"{_links(self.outside)} out of the folder, for example {self.outside}; they were followed")
        if self.dead_links:
            found.append(f"{_links(self.dead_links)} nowhere or in a circle, for example {self.dead_links}")
        if self.again:
            which = "a folder that comes" if self.again.count == 1 else "folders that come"
            found.append(f"{_links(self.again)} to {which} under another name, for example {self.again}; left out")
        if self.closed:
            folders = counted(self.closed.count, "folder", "folders")
            found.append(f"{folders} cannot be opened, for example {self.closed}; what is in there was left out")
        if self.system:
            folders = counted(self.system.count, "folder is", "folders are")
            found.append(f"{folders} the system's, for example {self.system}; what is in there was left out")
        if self.stores:
            lie = counted(self.stores.count, "store of histokit lies", "stores of histokit lie")
            found.append(f"{lie} among the images, for example {self.stores}; its tables were left out")
        return found


def _is_system(real: str) -> bool:
    folder = f"{real}/"
    return folder.startswith(_SYSTEM) and not folder.startswith(_SHARED_MEMORY)


def _is_inside(real: str, real_root: str) -> bool:
    return os.path.commonpath([real, real_root]) == real_root


def _comes_anyway(real: str, real_root: str) -> bool:
    """Whether a walk meets a folder where it is, without a link."""
    return _is_inside(real, real_root) and not re.search(r"(^|/)\.", os.path.relpath(real, real_root))


def is_image(path: str) -> bool:
    """Whether a path has the suffix of an image file, which a plugin may read."""
    suffix = suffix_of(path)
    return suffix in IMAGE_SUFFIXES or is_foreign(suffix)


def _links(tally: Tally) -> str:
    return counted(tally.count, "symbolic link leads", "symbolic links lead")


def absence(path: Path) -> str:
    """Return what is the matter with a path that is no folder that can be opened, as the end of a sentence."""
    try:
        path.stat()
    except PermissionError:
        return "cannot be reached, for want of permission"
    except OSError:
        return "does not exist"
    return "is not a folder"


def on_disk(root: Path, path: str) -> str | None:
    """Return a path relative to the root as it is written on disk, where letters and accents may be taken apart."""
    if path.isascii() and not path.endswith(("/", ".")):
        # Without paths as objects, of which there may be one for each of a million rows.
        return None if is_absent(os.path.join(root, path)) else path
    found = ""
    for part in path.split("/") if not path.isascii() else [path]:
        forms = dict.fromkeys([part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))])
        there = next((form for form in forms if not is_absent(root / (found + form))), None)
        if there is None:
            return None
        found += there + "/"
    return found.removesuffix("/") if not path.endswith("/") else found


def is_absent(path: str | os.PathLike[str]) -> bool:
    """Whether there is nothing at a path; what is there and cannot be read is put aside by ingestion."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def as_text(name: str) -> str:
    """Return a file's name as text that can be stored: bytes that are not valid UTF-8 stand there as ``\\xff``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def is_escaped(path: str) -> bool:
    """Whether a path holds what `as_text` puts in the place of a byte."""
    return re.search(r"\\x[89a-f][0-9a-f]", path) is not None
