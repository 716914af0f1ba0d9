"""Slides of scanners, as OpenSlide reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histokit.datasets.whole_slides.pyramid import Pyramid, SlideLevel, over_paper
from histokit.errors import DataError, UsageError
from histokit.plugin.images import Box, Pixels
from histokit.plugin.signatures import refuse_stand_in

if TYPE_CHECKING:
    import openslide


def load_openslide() -> Any:
    """Import OpenSlide.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import openslide
    except ImportError:
        raise UsageError(
            "Slides of scanners need the packages openslide-python and openslide-bin.",
            next="Install them with: pip install 'histokit[slides]'",
        ) from None
    return openslide


class OpenSlidePyramid(Pyramid):
    """A slide that OpenSlide reads; many threads may read it at once.

    Parameters
    ----------
    path : Path
    cache : openslide.OpenSlideCache, optional
        Of decoded parts, which several slides share.

    Raises
    ------
    DataError
        If it is none, or damaged.
    """

    def __init__(self, path: Path, cache: openslide.OpenSlideCache | None = None):
        library = load_openslide()
        self.path = path
        try:
            self._slide = library.OpenSlide(path)
            sizes, downsamples = self._slide.level_dimensions, self._slide.level_downsamples
            properties = dict(self._slide.properties)
        except (library.OpenSlideError, OSError) as error:
            refuse_stand_in(path)
            raise DataError(f"{path.name} cannot be opened: {_told(error)}.", next=_AGAIN) from error
        self.levels = [SlideLevel(width, height, by) for (width, height), by in zip(sizes, downsamples, strict=True)]
        # Of some formats the first level need not be at 1 exactly.
        self.mpp = _resolution(properties)
        if cache is not None:
            self._slide.set_cache(cache)

    def region(self, level: int, box: Box) -> Pixels:
        """Return a box of a level; what was not scanned is white.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        library = load_openslide()
        x, y, width, height = box
        by = self.levels[level].downsample
        try:
            image = self._slide.read_region((round(x * by), round(y * by)), level, (width, height))
        except (library.OpenSlideError, OSError) as error:
            raise DataError(f"{self.path.name} cannot be read at {box}: {_told(error)}.", next=_AGAIN) from error
        pixels = np.asarray(image)
        return np.ascontiguousarray(pixels[..., :3]) if pixels[..., 3].min() == 255 else over_paper(pixels)

    def close(self) -> None:
        """Let go of the file."""
        self._slide.close()


_AGAIN = "Copy the slide again, or take it out of the folder; then ingest the dataset again."


def _told(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _resolution(properties: dict[str, str]) -> tuple[float, float] | None:
    try:
        x, y = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
    return (x, y) if x > 0 and y > 0 else None
