"""Slides that are open in this process."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

from histokit.datasets.whole_slides.kinds import refuse_waiting
from histokit.datasets.whole_slides.openslide_pyramid import OpenSlidePyramid, load_openslide
from histokit.datasets.whole_slides.pyramid import Pyramid
from histokit.datasets.whole_slides.tiff_facts import scanner
from histokit.datasets.whole_slides.tiff_pyramid import TiffPyramid
from histokit.datasets.whole_slides.tile_cache import TileCache
from histokit.errors import DataError, first_line
from histokit.files import oddity, suffix_of
from histokit.plugin.digests import FileState, state_of
from histokit.plugin.signatures import refuse_stand_in

#: Slides that stay open; each takes some memory and a few file descriptors.
_OPEN = 8
#: Bytes of decoded parts that OpenSlide keeps, of all slides together.
_OPENSLIDE_BYTES = 64 << 20

_SILENT = logging.NullHandler()


class OpenSlides:
    """Keeps the slides open that were read last; threads share them, and another process opens them anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._open: OrderedDict[tuple[Path, FileState | None], Pyramid] = OrderedDict()

    def __reduce__(self) -> tuple[type[OpenSlides], tuple[()]]:
        return OpenSlides, ()

    @cached_property
    def _tiles(self) -> TileCache:
        return TileCache()

    @cached_property
    def _openslide_cache(self) -> Any:
        return load_openslide().OpenSlideCache(_OPENSLIDE_BYTES)

    def get(self, path: Path) -> Pyramid:
        """Return a slide, opened unless it is open and the file has not changed since.

        Raises
        ------
        DataError
            If it cannot be opened.
        UsageError
            If that needs a package which is not installed.
        """
        key = path, state_of(path.stat()) if path.is_file() else None
        with self._lock:
            if self._process != os.getpid():
                # After a fork, file positions would be shared with the other process.
                self._open, self._process = OrderedDict(), os.getpid()
            slide = self._open.get(key)
            if slide is None:
                slide = self._open[key] = self.open(path)
            self._open.move_to_end(key)
            while len(self._open) > _OPEN:
                # Not closed here: another thread may be reading it, and its file closes with the last of them.
                self._open.popitem(last=False)
        return slide

    def forget(self, slide: Pyramid) -> None:
        """Open a slide anew the next time: once OpenSlide failed on a part of one, it reads no other part."""
        with self._lock:
            for key in [key for key, kept in self._open.items() if kept is slide]:
                del self._open[key]

    def open(self, path: Path) -> Pyramid:
        """Open a slide by the library that its format is read with, whatever is installed."""
        if not path.is_file():
            what = oddity(path) or ("a folder" if path.is_dir() else None)
            raise DataError(
                f"{path.name} {f'is {what}, no file' if what else 'does not exist'}.", next="Give files of slides."
            )
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty.", next="Copy the slide again.")
        if suffix_of(path.name) in (".tif", ".tiff") and _scanner(path) is None:
            return TiffPyramid(path, self._tiles)
        refuse_waiting(path)
        return OpenSlidePyramid(path, self._openslide_cache)


def _scanner(path: Path) -> str | None:
    import tifffile

    # What is wrong with a file is told by its error, and not a second time by the last resort of logging.
    logging.getLogger("tifffile").addHandler(_SILENT)

    try:
        with tifffile.TiffFile(path) as file:
            return scanner(file)
    except Exception as error:  # tifffile raises whatever it stumbles upon in a damaged file.
        refuse_stand_in(path)
        raise DataError(
            f"{path.name} is no TIFF file that can be opened: {first_line(error)}.", next="Copy the slide again."
        ) from error
