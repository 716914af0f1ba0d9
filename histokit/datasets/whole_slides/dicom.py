"""Slides in DICOM: a file for each level and others for label and overview, which together are a series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from histokit.datasets.whole_slides.kinds import DICOM_MAGIC
from histokit.errors import UsageError
from histokit.files import oddity
from histokit.plugin.digests import FileState, state_of

#: VL Whole Slide Microscopy Image Storage (DICOM PS3.4, B.5).
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"

#: The last element that is looked for, Total Pixel Matrix Rows: places of thousands of tiles may follow.
_LAST = 0x00480007


class DicomFile(NamedTuple):
    """A file of a whole slide: the series that it is of, and the pixels of its level; none where it is no level."""

    series: str
    pixels: int


def dicom_file(path: Path) -> DicomFile | None:
    """Return what a file says of itself; none where it is no file of a whole slide, or is damaged.

    Raises
    ------
    OSError
        If it cannot be read, or is a pipe or a device.
    UsageError
        If pydicom is not installed.
    """
    if odd := oddity(path):
        raise OSError(f"{path.name} is {odd}")
    return _read(path, state_of(path.stat()))


@lru_cache(maxsize=1 << 16)
def _read(path: Path, state: FileState) -> DicomFile | None:
    with path.open("rb") as file:
        if file.read(132)[128:] != DICOM_MAGIC:
            return None
        file.seek(0)
        read_partial = _load_pydicom()
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
    """Yield the other files of a slide, in order, whatever they are called: so does OpenSlide find them."""
    own = dicom_file(path)
    if own is None:
        return
    for file in _by_series(path.parent, state_of(path.parent.stat())).get(own.series, ()):
        # Other files may have been written into those that were there.
        if file != path and _series_of(file) == own.series:
            yield file


@lru_cache(maxsize=1 << 10)
def _by_series(folder: Path, state: FileState) -> Mapping[str, Sequence[Path]]:
    """Return the files of each series in a folder: it is asked for each tile, and there may be thousands."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if series := _series_of(file):
            found[series].append(file)
    return dict(found)


def _series_of(file: Path) -> str | None:
    with suppress(OSError):
        if file.is_file() and (found := dicom_file(file)):
            return found.series
    return None
