"""Digests of slides, which are too large to be read whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from histokit.datasets.whole_slides.dicom import files_of_series
from histokit.datasets.whole_slides.kinds import is_dicom, listed_beside
from histokit.plugin.digests import digest_bytes, digest_file
from histokit.plugin.tiff_tags import TagError, byte_order, read_pages

#: Up to so many bytes, a file is read whole.
WHOLE = 64 << 20

_END = 1 << 20
_BLOCKS, _BLOCK = 64, 64 << 10


def slide_digest(path: Path) -> bytes:
    """Return the 16-byte digest of a slide.

    Of a file of up to 64 MiB all bytes count. Of a larger one count its size, its first and last MiB, 64 blocks of
    64 KiB that are spread over it evenly, and, where it is a TIFF file, the places and lengths in bytes of all tiles.
    A slide that was scanned, compressed or cut anew has others; one in whose middle single bytes were changed without
    changing any length may have the same.

    Files that belong to a slide count as well: the folder beside a ``.mrxs``, what a ``.vms`` or ``.vmu`` lists, the
    series of a DICOM file.
    """
    beside = list(files_beside(path))
    if not beside:
        return _digest(path)
    return digest_bytes(_digest(path), *(part for file in beside for part in (file.name.encode(), _digest(file))))


def files_beside(path: Path) -> Iterator[Path]:
    """Yield the other files that belong to a slide."""
    yield from (file for file in listed_beside(path) if file.is_file())
    if is_dicom(path):
        yield from files_of_series(path)


def _digest(path: Path) -> bytes:
    size = os.stat(path).st_size
    if size <= WHOLE:
        return digest_file(path)
    with open(path, "rb") as file:
        parts = [b"sampled", size.to_bytes(8, "little"), file.read(_END)]
        for number in range(_BLOCKS):
            file.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
            parts.append(file.read(_BLOCK))
        file.seek(size - _END)
        parts.append(file.read(_END))
        if byte_order(parts[2][:4]) is not None:
            try:
                parts += [repr(sorted(page.tags.items())).encode() for page in read_pages(file)]
            except TagError:
                parts.append(b"no directory")
    return digest_bytes(*parts)
