"""Where a slide holds tissue: by the saturation of colours on a thumbnail, without pen and black."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.datasets.whole_slides.pyramid import Pyramid
from histokit.plugin.images import Pixels

#: Ways to find tissue: Otsu's threshold on each slide, the same threshold on all, or none.
Method = Literal["otsu", "fixed", "none"]

#: Pixels of the thumbnail along the side of a tile, and in all at most: memory stays the same, whatever the slide.
_PER_TILE = 16
_MOST_PIXELS = 1 << 24

#: Brightness, of 255, below which a pixel is black: what scanners fill in, edges of glass, dust, black pen.
_BLACK = 50


class PenColour(NamedTuple):
    """Hues in degrees, from the first to the last one, which above a saturation of 0 to 1 no stain has."""

    hues: tuple[int, int]
    saturation: float


#: Green is no stain's at all; blue and red are pen where they are purer than haematoxylin and eosin.
PEN = (
    PenColour((70, 195), 0.1),
    PenColour((195, 245), 0.6),
    PenColour((0, 15), 0.75),
    PenColour((345, 360), 0.75),
)


@dataclass(frozen=True)
class TissueRule:
    """How tissue is told from glass.

    Parameters
    ----------
    method : str
        ``otsu`` takes the threshold of Otsu (1979) on the saturations of a slide, ``fixed`` the given one, ``none``
        takes all for tissue.
    threshold : float
        Saturation of 0 to 1 above which a pixel is tissue; with ``otsu``, the least that its threshold can be, so
        that noise on empty glass is not taken for tissue.
    pen : bool
        Whether marks of a pen are tissue too.
    """

    method: Method
    threshold: float
    pen: bool = False


@dataclass(frozen=True)
class TissueMask:
    """The tissue of a slide.

    Parameters
    ----------
    summed : (h + 1, w + 1) int32 array
        Pixels of tissue above and left of each corner.
    downsample : float
        Pixels of the slide that one of the mask is wide.
    threshold : float
        Saturation of 0 to 1 above which pixels were taken.
    """

    summed: npt.NDArray[np.int32]
    downsample: float
    threshold: float

    @property
    def share(self) -> float:
        """The share of the slide that is tissue."""
        return float(self.summed[-1, -1]) / max(1, (self.summed.shape[0] - 1) * (self.summed.shape[1] - 1))

    def shares(self, xs: npt.NDArray[np.int64], y: int, width: int, height: int) -> npt.NDArray[np.float64]:
        """Return the share of tissue in each box of a row; edges are moved to those of the mask's pixels."""
        rows, columns = self.summed.shape
        top, bottom = self._edges(np.array([y]), height, rows)
        left, right = self._edges(xs, width, columns)
        inside = (
            self.summed[bottom, right] - self.summed[top, right] - self.summed[bottom, left] + self.summed[top, left]
        )
        return np.asarray(inside / ((bottom - top) * (right - left)))

    def _edges(self, starts: npt.NDArray[np.int64], length: int, size: int) -> tuple[npt.NDArray[np.int64], ...]:
        first = np.minimum(np.rint(starts / self.downsample).astype(np.int64), size - 2)
        last = np.minimum(np.rint((starts + length) / self.downsample).astype(np.int64), size - 1)
        return first, np.maximum(last, first + 1)


def find_tissue(slide: Pyramid, tile: int, rule: TissueRule) -> TissueMask:
    """Find the tissue of a slide.

    The thumbnail has 16 pixels along a tile, up to twice as many where levels are coarse, 13 where a level nearly has
    them, or fewer on slides of more than 16 million pixels at that. Each of its pixels is the mean of those of the
    slide; saturations go through a median of 3 × 3.

    Parameters
    ----------
    slide : Pyramid
    tile : int
        Side of a tile, in pixels of the slide.
    rule : TissueRule
        Whose method is not ``none``.
    """
    width, height = slide.size
    wanted = max(1.0, tile / _PER_TILE, (width * height / _MOST_PIXELS) ** 0.5)
    downsample, size, blocks = slide.thumbnail_blocks(wanted)
    saturation, out = _colours(size, blocks, rule.pen)
    threshold = rule.threshold
    if rule.method == "otsu":
        threshold = max(threshold, _otsu(saturation[~out]))
    mask = (saturation > threshold * 255) & ~out
    summed = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=0, dtype=np.int32, out=summed[1:, 1:])
    np.cumsum(summed[1:, 1:], axis=1, out=summed[1:, 1:])
    return TissueMask(summed, downsample, threshold)


def _colours(
    size: tuple[int, int], blocks: Iterator[tuple[int, int, Pixels]], pen: bool
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return the saturation of each pixel of a thumbnail, and which ones are black or pen."""
    from PIL import Image, ImageFilter

    saturation = np.zeros(size[::-1], np.uint8)
    out = np.zeros(size[::-1], bool)
    for x, y, pixels in blocks:
        hue, grey, value = np.moveaxis(np.asarray(Image.fromarray(pixels).convert("HSV")), 2, 0)
        here = np.s_[y : y + len(hue), x : x + hue.shape[1]]
        saturation[here] = grey
        out[here] = value < _BLACK
        for colour in () if pen else PEN:
            first, last = (round(degrees * 255 / 360) for degrees in colour.hues)
            out[here] |= (hue >= first) & (hue <= last) & (grey > colour.saturation * 255)
    smooth = np.asarray(Image.fromarray(saturation).filter(ImageFilter.MedianFilter(3)))
    return smooth, out


def _otsu(saturations: npt.NDArray[np.uint8]) -> float:
    counts = np.bincount(saturations, minlength=256)
    if np.count_nonzero(counts) < 2:
        return 0.0
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(hist=(counts, np.arange(256)))) / 255
