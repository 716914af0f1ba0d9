"""A slide as levels of falling resolution, whatever library reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.plugin.images import Box, Pixels

#: A level counts as fine enough although it is coarser by so much: widths of levels are rounded.
_SLACK = 1.01

#: A thumbnail may be coarser by so much, where that saves reading a level of many times as many pixels.
_NEARLY = 1.25


class SlideLevel(NamedTuple):
    """One level of a slide: its size, and how many pixels of the first level one of its pixels is wide and high."""

    width: int
    height: int
    downsample: float


class Pyramid(ABC):
    """A slide that is open.

    Attributes
    ----------
    levels : sequence of SlideLevel
        The finest one first.
    mpp : (x, y), optional
        Micrometres per pixel of the finest level, where the slide tells it.
    mark : bytes
        Not empty where its pixels came out otherwise before.
    """

    levels: Sequence[SlideLevel]
    mpp: tuple[float, float] | None
    mark: bytes = b""

    @abstractmethod
    def region(self, level: int, box: Box) -> Pixels:
        """Return a box of a level, in its own pixels and inside it, as an (H, W, 3) uint8 array."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finest level."""
        return self.levels[0].width, self.levels[0].height

    def level_for(self, downsample: float) -> int:
        """Return the coarsest level that is as fine as asked for."""
        fine = [number for number, level in enumerate(self.levels) if level.downsample <= downsample * _SLACK]
        return max(fine, key=lambda number: self.levels[number].downsample, default=0)

    def tile(self, box: Box, size: int) -> Pixels:
        """Return a box of the finest level, brought to a size: read from the nearest level that is finer, then shrunk.

        Parameters
        ----------
        box : (x, y, width, height) in pixels of the finest level
        size : int
            Side of what comes out, in pixels.

        Returns
        -------
        (size, size, 3) uint8 array
        """
        from PIL import Image

        x, y, width, height = box
        number = self.level_for(min(width, height) / size)
        level = self.levels[number]
        across, down = (min(max(1, round(side / level.downsample)), most) for side, most in _sides(box, level))
        left, top = (
            min(max(0, round(start / level.downsample)), most - side)
            for start, side, most in ((x, across, level.width), (y, down, level.height))
        )
        pixels = self.region(number, (left, top, across, down))
        if (across, down) == (size, size):
            return pixels
        return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))

    def thumbnail_blocks(self, downsample: float) -> tuple[float, tuple[int, int], Iterator[tuple[int, int, Pixels]]]:
        """Read the whole slide at a low resolution, block by block.

        Parameters
        ----------
        downsample : float
            Wanted; what comes out may be finer, because the pixels of a level are averaged by whole numbers of them, or
            coarser by a quarter, where a level is.

        Returns
        -------
        float
            The downsample that comes out.
        (width, height)
            Of the thumbnail.
        iterator of (x, y, pixels)
            Blocks of it, and where they belong.
        """
        number = self.level_for(downsample * _NEARLY)
        level = self.levels[number]
        factor = max(1, int(downsample * _SLACK / level.downsample))
        size = -(-level.width // factor), -(-level.height // factor)
        return level.downsample * factor, size, self._blocks(number, factor)

    def _blocks(self, number: int, factor: int) -> Iterator[tuple[int, int, Pixels]]:
        from PIL import Image

        level = self.levels[number]
        side = max(1, _BLOCK // factor) * factor
        for top in range(0, level.height, side):
            for left in range(0, level.width, side):
                box = (left, top, min(side, level.width - left), min(side, level.height - top))
                block = Image.fromarray(self.region(number, box))
                yield left // factor, top // factor, np.asarray(block.reduce(factor) if factor > 1 else block)


def over_paper(pixels: npt.NDArray[np.uint8], held: bool = False) -> npt.NDArray[np.uint8]:
    """Lay (H, W, 4) pixels, whose last number is how opaque they are, over white.

    Parameters
    ----------
    pixels : (H, W, 4) uint8 array
    held : bool
        Whether colours were multiplied by it.
    """
    share = pixels[..., 3:].astype(np.uint32)
    colours = pixels[..., :3].astype(np.uint32) * (255 if held else share)
    return ((colours + 255 * (255 - share) + 127) // 255).clip(0, 255).astype(np.uint8)


#: Side of what is read at once for a thumbnail, in pixels.
_BLOCK = 2048


def _sides(box: Box, level: SlideLevel) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box[2], level.width), (box[3], level.height)
