"""What a network was given, as a picture for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_COLOURS = 3


def as_picture(pixels: Tensor) -> NDArray[np.uint8]:
    """Return a resized image as (H, W, 3) colours: one channel is grey, two are red and green, of more the first three.

    Parameters
    ----------
    pixels : (C, H, W) Tensor
        Of which 255 is white.
    """
    found = pixels.detach().float().round().clamp(0, 255).byte().cpu().numpy().transpose(1, 2, 0)
    if found.shape[2] == 1:
        found = found.repeat(_COLOURS, axis=2)
    lacking = max(0, _COLOURS - found.shape[2])
    picture: NDArray[np.uint8] = np.pad(found, ((0, 0), (0, 0), (0, lacking)))[..., :_COLOURS]
    return np.ascontiguousarray(picture)
