"""Slides in DICOM: a file for each level and others for label and overview, which together are a series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from histokit.errors import UsageError
from histokit.files import suffix_of
from histokit.plugin.digests import FileState, state_of

#: What DICOM files end in.
DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))

#: VL Whole Slide Microscopy Image Storage (DICOM PS3.4, B.5).
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"

#: The last element that is looked for, Total Pixel Matrix Rows: places of thousands of tiles may follow.
_LAST = 0x00480007


class DicomFile(NamedTuple):
    """A file of a whole slide: the series that it is of, and the pixels of its level; none where it is no level."""

    series: str
    pixels: int


def is_dicom(path: str) -> bool:
    """Return whether a file is one of DICOM, by its name."""
    return suffix_of(path) in DICOM_SUFFIXES


def dicom_file(path: Path) -> DicomFile | None:
    """Return what a file says of itself; none where it is no file of a whole slide, or is damaged.

    Raises
    ------
    OSError
        If it cannot be read.
    UsageError
        If pydicom is not installed.
    """
    return _read(path, state_of(path.stat()))


@lru_cache(maxsize=1 << 16)
def _read(path: Path, state: FileState) -> DicomFile | None:
    read_partial = _load_pydicom()
    with path.open("rb") as file:
        try:
            found = read_partial(file, stop_when=lambda tag, *_: tag > _LAST)
            if found.SOPClassUID != _WHOLE_SLIDE:
                return None
            is_level = found.ImageType[2] == "VOLUME"
            pixels = found.TotalPixelMatrixColumns * found.TotalPixelMatrixRows if is_level else 0
            return DicomFile(str(found.SeriesInstanceUID), int(pixels))
        except OSError:
            raise
        except Exception:  # pydicom raises whatever it stumbles upon in a damaged file.
            return None


def _load_pydicom() -> Any:
    try:
        from pydicom.filereader import read_partial
    except ImportError:
        raise UsageError(
            "DICOM slides need the package pydicom.", next="Install it with: pip install 'histokit[slides]'"
        ) from None
    return read_partial


def finest_levels(paths: Iterable[Path]) -> tuple[dict[Path, str], list[Path]]:
    """Return of each slide the file of its finest level with its series, and what is no file of a slide.

    By any file of a slide OpenSlide opens all of those that lie in its folder. One that cannot be read stands for
    itself, with no series.
    """
    slides: defaultdict[tuple[Path, str], list[tuple[int, Path]]] = defaultdict(list)
    others = []
    for path in paths:
        try:
            found = dicom_file(path)
        except OSError:
            slides[path, ""].append((0, path))
            continue
        if found is None:
            others.append(path)
        else:
            slides[path.parent, found.series].append((-found.pixels, path))
    return {min(files)[1]: series for (_, series), files in slides.items()}, others


def files_of_series(path: Path) -> Iterator[Path]:
    """Yield the other files of a slide, in order."""
    own = dicom_file(path)
    for file in sorted(path.parent.iterdir()):
        if own and is_dicom(file.name) and file != path and file.is_file():
            found = dicom_file(file)
            if found and found.series == own.series:
                yield file
