"""The folders of the colour version, however its archives were unpacked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from histokit.plugin import DataError
from histokit.plugin.dataset import Role

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
_FOLDER, _FLAT = re.compile(r"s(\d+)", re.IGNORECASE), re.compile(r"s(\d+)_.+", re.IGNORECASE)

#: Folders in folders that are looked into.
_DEPTH = 5


class PatchFile(NamedTuple):
    """An image file; without scan or set where its path does not tell them."""

    path: str
    scan: int | None
    role: Role | None


def patch_files(root: Path) -> Iterator[PatchFile]:
    """Yield the image files under a root, in the order of their paths.

    The scan is in the name of a folder, ``s7``, or in that of the file, ``s7_1.jpg``; the set in the name of a folder
    above, which has ``train`` or ``test`` in it.

    Raises
    ------
    DataError
        If a scan is none of 0 to 23.
    """
    for path in _files(root, "", _DEPTH):
        *folders, name = path.split("/")
        match = next(filter(None, map(_FOLDER.fullmatch, reversed(folders))), None) or _FLAT.fullmatch(name)
        scan = int(match[1]) if match else None
        if scan is not None and scan > 23:
            raise DataError(
                f"The image {path!r} is of the scan {scan}: there are 0 to 23.", next="Rename its folder, or remove it."
            )
        yield PatchFile(path, scan, next(filter(None, map(_role, folders)), None))


def _role(folder: str) -> Role | None:
    train, test = "train" in folder.lower(), "test" in folder.lower()
    if train == test:
        return None
    return "train" if train else "test"


def _files(folder: Path, prefix: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"The folder {str(folder)!r} cannot be opened ({error.strerror}).", next="Mend its permissions."
        ) from error
    for on_disk, is_folder in entries:
        # A name that is not valid UTF-8 is put aside by ingestion.
        name = os.fsencode(on_disk).decode("utf-8", "backslashreplace")
        if is_folder and depth:
            yield from _files(folder / on_disk, f"{prefix}{name}/", depth - 1)
        elif not is_folder and name.lower().endswith(_SUFFIXES):
            yield prefix + name
