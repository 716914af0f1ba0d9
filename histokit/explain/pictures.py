"""What a network was given, as a picture for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from histokit.networks.transform import as_pixels
from histokit.reading.thumbnails import as_colours

#: So many channels are shown as red, green and blue.
COLOURS = 3


def as_picture(pixels: Tensor) -> NDArray[np.uint8]:
    """Return a resized image as (H, W, 3) colours, as of `as_colours`; more than three channels as their brightest.

    A map may be of any channel: what is in none of the first three would not be seen below it.

    Parameters
    ----------
    pixels : (C, H, W) Tensor
        Of which 255 is white.
    """
    return as_colours(as_pixels(pixels if len(pixels) <= COLOURS else pixels.amax(0, keepdim=True)))


def pictures_note(channels: int) -> list[str]:
    """Say how images of so many channels are shown, where that is not in their colours."""
    return [f"of {channels} channels each place shows the brightest, in grey"] * (channels > COLOURS)
