"""Drawn images with the large and small structures of photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def photographs(height: int, width: int, count: int = 3) -> list[Pixels]:
    """Images with large and small structures."""
    generator = np.random.default_rng(height * width)
    small = generator.integers(0, 256, (count, height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in small]
    return [(each * 0.8 + generator.integers(0, 52, each.shape)).astype(np.uint8) for each in large]
