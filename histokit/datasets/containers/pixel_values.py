"""Arrays of numbers as pixels, where it is told what the numbers mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histokit.datasets.containers.container import Values
from histokit.errors import DataError
from histokit.plugin.images import Pixels

_WHITE = {"0-1": 1.0, "0-255": 255.0}


def type_problem(dtype: np.dtype, values: Values | None, bits: int | None) -> str | None:
    """Return what to type for an array of some type to be read as images; none where its meaning is known."""
    kind = dtype.kind
    if kind not in "buif":
        return "Save pixels as uint8"
    if values is not None or dtype == np.uint8:
        return None
    if dtype.newbyteorder("=") == np.uint16:
        return None if bits is not None else "Say how many bits were recorded: -o bits=16, or 12 for many cameras"
    unit = "-o values=0-1 where 1 is white"
    return unit if kind == "b" else f"Say what white is: {unit}, -o values=0-255 where 255 is"


def as_pixels(image: npt.NDArray[np.generic], values: Values | None, channels_first: bool, where: str) -> Pixels:
    """Return an array as (H, W, 3) pixels; grey is repeated.

    Parameters
    ----------
    image : (H, W), (H, W, 1 or 3) array, or (1 or 3, H, W) where channels come first
    values : {"0-1", "0-255"}, optional
        What black and white are; uint8 and uint16 as they are where not given.
    channels_first : bool
    where : str
        The image, for messages.

    Raises
    ------
    DataError
        If a number lies outside of `values`.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    elif channels_first:
        image = np.moveaxis(image, 0, -1)
    if values is not None:
        image = _mapped(image, values, where)
    elif image.dtype.byteorder == ">":
        image = image.astype(image.dtype.newbyteorder("="))
    pixels = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.array(image, order="C")
    return pixels


def _mapped(image: npt.NDArray[np.generic], values: Values, where: str) -> Pixels:
    numbers = image.astype(np.float64)
    white = _WHITE[values]
    outside = ~((numbers >= 0) & (numbers <= white))
    if outside.any():
        raise DataError(
            f"{where} holds {numbers[outside].flat[0]:g}, which is not in {values.replace('-', ' to ')}.",
            next="Name what black and white are: -o values=0-1 or -o values=0-255; or save pixels as uint8.",
        )
    return np.rint(numbers * (255.0 / white)).astype(np.uint8)
