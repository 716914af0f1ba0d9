"""What a network was given, as a picture for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from histokit.networks.transform import as_pixels
from histokit.reading.thumbnails import as_colours


def as_picture(pixels: Tensor) -> NDArray[np.uint8]:
    """Return a resized image as (H, W, 3) colours, as of `as_colours`.

    Parameters
    ----------
    pixels : (C, H, W) Tensor
        Of which 255 is white.
    """
    return as_colours(as_pixels(pixels))
