"""Kinds of slides by their files: what these end in, and what else is opened with one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from histokit.errors import DataError
from histokit.files import oddity, suffix_of

#: What DICOM files end in.
DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))

#: Of files; others that OpenSlide reads have to be named by a pattern.
SLIDE_SUFFIXES = DICOM_SUFFIXES.union(
    (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".czi", ".tif", ".tiff")
)

#: What stands behind the first 128 bytes of a DICOM file.
DICOM_MAGIC = b"DICM"

#: Files beside a slide that belong to it, of formats of many files.
_FOLDER_OF = (".mrxs",)
_LISTED_BY = (".vms", ".vmu")

#: Whoever opens one waits, or reads for ever; a socket cannot be opened.
_WAITED_FOR = ("a pipe", "a device")


def is_dicom(path: Path) -> bool:
    """Return whether a file is one of DICOM: by its name, or by its content where the name says nothing of slides."""
    suffix = suffix_of(path.name)
    if suffix in SLIDE_SUFFIXES:
        return suffix in DICOM_SUFFIXES
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(132)[128:] == DICOM_MAGIC
    return False


def listed_beside(path: Path) -> list[Path]:
    """Return in order what the format of a slide has beside it; nothing of DICOM, whose files have to be looked at."""
    suffix = suffix_of(path.name)
    if suffix in _FOLDER_OF and path.with_suffix("").is_dir():
        return sorted(path.with_suffix("").iterdir())
    if suffix in _LISTED_BY:
        names = set(re.findall(r"=\s*([^\s=/\\]+\.[A-Za-z0-9]+)\s*$", path.read_text(errors="replace"), re.MULTILINE))
        return sorted(path.parent / name for name in names)
    return []


def refuse_waiting(path: Path) -> None:
    """Raise where OpenSlide would wait for ever for something that it opens with a slide.

    Raises
    ------
    DataError
    """
    for file in _opened_with(path):
        if (odd := oddity(file)) in _WAITED_FOR:
            raise DataError(
                f"{path.name} cannot be opened: {file.name!r}, which is opened with it, is {odd}, no file.",
                next="Take that out of the folder; then ingest the dataset again.",
            )


def _opened_with(path: Path) -> Iterator[Path]:
    with suppress(OSError):
        # Of a slide in DICOM, all that lies in its folder.
        yield from sorted(path.parent.iterdir()) if is_dicom(path) else listed_beside(path)
