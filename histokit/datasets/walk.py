"""Walking through a folder of images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from histokit.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"})


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


@dataclass
class Walk:
    """A walk through a folder, in an order that is the same on every machine.

    Hidden files and folders are skipped. Symbolic links are followed, for data are often linked into
    place; links that lead out of the root, nowhere or in circles are counted. So are folders that
    cannot be opened. A file whose name is not valid UTF-8 comes under the name that `as_text` gives it, for
    ingestion to put aside.

    Parameters
    ----------
    root : Path
    """

    root: Path
    outside: Tally = field(default_factory=Tally)
    dead_links: Tally = field(default_factory=Tally)
    closed: Tally = field(default_factory=Tally)

    def files(self) -> Iterator[str]:
        """Yield the path of each file, relative to the root, with slashes.

        Raises
        ------
        DataError
            If the root is absent, not a folder or cannot be opened.
        """
        if not os.path.isdir(self.root):
            raise DataError(
                f"The folder {str(self.root)!r} {absence(self.root)}.", next="Give the folder that holds the images."
            )
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise DataError(f"The folder {str(self.root)!r} cannot be opened.", next="Mend its permissions.")
        real_root = os.path.realpath(self.root)
        yield from self._walk(str(self.root), "", real_root, (real_root,))

    def _walk(self, folder: str, prefix: str, real_root: str, above: tuple[str, ...]) -> Iterator[str]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError:
            self.closed.add(prefix)
            return
        for entry in entries:
            path = prefix + as_text(entry.name)
            real = os.path.realpath(entry.path) if entry.is_symlink() else ""
            if real and (not os.path.exists(real) or real in above):
                self.dead_links.add(path)
                continue
            if real and os.path.commonpath([real, real_root]) != real_root:
                self.outside.add(path)
            if entry.is_dir():
                chain = (*above, real or os.path.join(above[-1], entry.name))
                yield from self._walk(entry.path, path + "/", real_root, chain)
            else:
                yield path

    def warnings(self) -> list[str]:
        """Return what the user should know of the links that were met."""
        found = []
        if self.outside:
            found.append(f"{_links(self.outside)} out of the folder, for example {self.outside}; they were followed")
        if self.dead_links:
            found.append(f"{_links(self.dead_links)} nowhere or in a circle, for example {self.dead_links}")
        if self.closed:
            folders = "1 folder" if self.closed.count == 1 else f"{self.closed.count} folders"
            found.append(f"{folders} cannot be opened, for example {self.closed}; what is in there was left out")
        return found


def is_image(path: str) -> bool:
    """Whether a path has the suffix of an image file."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _links(tally: Tally) -> str:
    return "1 symbolic link leads" if tally.count == 1 else f"{tally.count} symbolic links lead"


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
    found = ""
    for part in path.split("/") if not path.isascii() else [path]:
        forms = dict.fromkeys([part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))])
        there = next((form for form in forms if not is_absent(root / (found + form))), None)
        if there is None:
            return None
        found += there + "/"
    return found.removesuffix("/") if not path.endswith("/") else found


def is_absent(path: Path) -> bool:
    """Whether there is nothing at a path; what is there and cannot be read is put aside by ingestion."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def as_text(name: str) -> str:
    """Return a file's name as text that can be stored: bytes that are not valid UTF-8 stand there as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_escaped(path: str) -> bool:
    """Whether a path holds what `as_text` puts in the place of a byte."""
    return re.search(r"\\x[89a-f][0-9a-f]", path) is not None
