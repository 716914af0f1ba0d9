"""What of an image's numbers becomes black and what white."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError, UsageError
from histokit.plugin.deep_colours import WHITE, DeepPixels

#: What intensities are taken together for: each image, each crop, or all of a dataset.
OVER = ("image", "crop", "dataset")

_FORMS = "full, bits:12, minmax, percentile:0.1,99.9 or range:-100,400"


class Scale(NamedTuple):
    """How numbers become intensities.

    Parameters
    ----------
    how : str
        ``full``, ``bits``, ``minmax``, ``percentile`` or ``range``.
    low, high : float
        Percentiles, or the numbers that are black and white.
    """

    how: str
    low: float = 0.0
    high: float = 100.0

    @property
    def of_the_data(self) -> bool:
        """Whether the limits come from the pixels."""
        return self.how in ("minmax", "percentile")


def parse_scale(text: str) -> Scale:
    """Return what a text such as ``percentile:0.1,99.9`` stands for.

    Raises
    ------
    UsageError
    """
    how, _, rest = text.partition(":")
    try:
        numbers = [float(number) for number in rest.split(",")] if rest else []
    except ValueError:
        numbers = [math.nan]
    wrong = not all(map(math.isfinite, numbers))
    if how in ("full", "minmax") and not rest:
        return Scale(how)
    if how == "bits" and len(numbers) == 1 and not wrong and numbers[0] in range(1, 17):
        return Scale(how, 0.0, 2 ** numbers[0] - 1)
    two = len(numbers) == 2 and not wrong and numbers[0] < numbers[1]
    if how == "range" and two:
        return Scale(how, *numbers)
    if how == "percentile" and two and numbers[0] >= 0 and numbers[1] <= 100:
        return Scale(how, *numbers)
    raise UsageError(f"The option scale={text!r} is none of {_FORMS}.", next="Write scale as one of these.")


def limits_of(scale: Scale, pixels: npt.NDArray[Any], joint: bool) -> npt.NDArray[np.float64]:
    """Return what is black and what is white.

    Parameters
    ----------
    scale : Scale
    pixels : (H, W, C) array
    joint : bool
        Whether all channels have the same limits.

    Returns
    -------
    (C, 2) float64 array

    Raises
    ------
    DataError
        If limits are to come from pixels that are no finite numbers.
    """
    channels = pixels.shape[2]
    if not scale.of_the_data:
        return np.tile([[scale.low, scale.high]], (channels, 1))
    require_finite(pixels)
    columns = pixels.reshape(1, -1) if joint else pixels.reshape(-1, channels).T
    if scale.how == "minmax":
        found = np.stack([columns.min(1), columns.max(1)], axis=1).astype(np.float64)
    else:
        # Between two numbers, NumPy takes their difference in their own type, which overflows where they have a sign.
        wide = columns if columns.dtype.kind == "u" or columns.dtype.itemsize > 4 else columns.astype(np.float64)
        found = np.percentile(wide, [scale.low, scale.high], axis=1).T
    return np.tile(found, (channels, 1)) if joint else found


def require_finite(pixels: npt.NDArray[Any]) -> None:
    """Raise where pixels, in which limits are sought, are no finite numbers.

    Raises
    ------
    DataError
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(
            "has pixels that are no numbers (NaN or infinite).", next="Give scale=range:BLACK,WHITE, or mend the file."
        )


def scaled(pixels: npt.NDArray[Any], limits: npt.NDArray[np.float64]) -> DeepPixels:
    """Map numbers to intensities: what is black to 0, what is white to 65535, what lies beyond to these.

    Parameters
    ----------
    pixels : (H, W, C) array
        NaN becomes 0.
    limits : (C, 2) float64 array
        Where both are the same, all becomes 0.
    """
    span = limits[:, 1] - limits[:, 0]
    factor = np.divide(WHITE, span, out=np.zeros_like(span), where=span > 0)
    values = (pixels.astype(np.float64) - limits[:, 0]) * factor
    return np.rint(np.nan_to_num(values, nan=0.0).clip(0, WHITE)).astype(np.uint16)


class Histogram:
    """Counts the values of many images, for limits over all of them.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int):
        self._counts = np.zeros((channels, WHITE + 1), np.int64)
        self._limits = np.tile([[math.inf, -math.inf]], (channels, 1))
        self._whole = True

    @property
    def empty(self) -> bool:
        """Whether no image was counted."""
        return bool(np.isinf(self._limits).any())

    def add(self, pixels: npt.NDArray[Any]) -> None:
        """Count the pixels of one more image, (H, W, C)."""
        columns = pixels.reshape(-1, pixels.shape[2]).T
        self._limits[:, 0] = np.minimum(self._limits[:, 0], columns.min(1))
        self._limits[:, 1] = np.maximum(self._limits[:, 1], columns.max(1))
        if pixels.dtype not in (np.uint8, np.uint16):
            self._whole = False
            return
        for counts, column in zip(self._counts, columns, strict=True):
            counts += np.bincount(column, minlength=WHITE + 1)

    def limits(self, scale: Scale) -> npt.NDArray[np.float64]:
        """Return what is black and white in each channel; percentiles are values that occur.

        Raises
        ------
        UsageError
            If percentiles are wanted of other numbers than whole ones of 8 or 16 bits.
        """
        if scale.how == "minmax":
            return self._limits
        if not self._whole:
            raise UsageError(
                "Percentiles over a dataset are taken of whole numbers of 8 or 16 bits without a sign.",
                next="Use scale=minmax or range:BLACK,WHITE, or percentiles of each image.",
            )
        shares = np.cumsum(self._counts, axis=1) / self._counts.sum(1, keepdims=True)
        wanted = np.array([scale.low, scale.high]) / 100
        found = np.stack([(shares < share).sum(1) for share in wanted], axis=1).astype(np.float64)
        return found.clip(self._limits[:, :1], self._limits[:, 1:])
