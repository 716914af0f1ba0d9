"""Arrays of numbers as pixels, where it is told what the numbers mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.datasets.containers.container import Values
from histokit.errors import DataError
from histokit.plugin.images import Pixels
from histokit.plugin.remarks import remark

_WHITE = {"0-1": 1.0, "0-255": 255.0}


def type_problem(dtype: np.dtype, told: bool) -> str | None:
    """Return what to type for an array of some type to be read as images; none where its meaning is known.

    Parameters
    ----------
    dtype : numpy.dtype
    told : bool
        Whether an option says what is black and white.
    """
    kind = dtype.kind
    if kind not in "buif":
        return "Save pixels as uint8"
    if told or dtype.newbyteorder("=") in (np.uint8, np.uint16):
        return None
    unit = "-o values=0-1 where 1 is white"
    if kind == "b":
        return unit
    return f"Say what white is: {unit}, -o values=0-255 where 255 is, or -o scale=minmax or range:BLACK,WHITE"


def as_numbers(image: npt.NDArray[Any], channels_first: bool) -> npt.NDArray[Any]:
    """Return an array as (H, W, C) numbers in the order of bytes of this machine.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, or (C, H, W) where channels come first
    channels_first : bool
    """
    if image.ndim == 2:
        image = image[:, :, None]
    elif channels_first:
        image = np.moveaxis(image, 0, -1)
    if image.dtype == np.bool_:
        # Which have no differences, and so no percentiles.
        return image.view(np.uint8)
    return image.astype(image.dtype.newbyteorder("=")) if image.dtype.byteorder == ">" else image


def mapped(image: npt.NDArray[Any], values: Values, where: str) -> Pixels:
    """Return numbers between what black and white are as uint8.

    Parameters
    ----------
    image : array
    values : {"0-1", "0-255"}
    where : str
        The image, for messages.

    Raises
    ------
    DataError
        If a number lies outside of `values`.
    """
    numbers = image.astype(np.float64)
    white = _WHITE[values]
    outside = ~((numbers >= 0) & (numbers <= white))
    if outside.any():
        raise DataError(
            f"{where} holds {numbers[outside].flat[0]:g}, which is not in {values.replace('-', ' to ')}.",
            next="Name what black and white are: -o values=0-1 or -o values=0-255; or save pixels as uint8.",
        )
    if values == "0-255" and image.dtype.kind == "f" and numbers.max() <= 1:
        remark("dark", where, f"no number above {numbers.max():g}, where 255 is white: -o values=0-1 where 1 is")
    return np.rint(numbers * (255.0 / white)).astype(np.uint8)
