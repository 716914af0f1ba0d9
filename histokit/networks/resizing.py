"""Resizing whole batches on processors and on GPUs, to the same grey levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

_Floats = npt.NDArray[np.float64]


def resized(batch: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize images where they are, with antialiasing as PIL does it.

    Parameters
    ----------
    batch : (n, C, H, W) Tensor
        uint8, or float32 from 0 to 255.
    size : (int, int)
        Height and width.
    interpolation : str
        ``nearest``, ``bilinear`` or ``bicubic``.

    Returns
    -------
    (n, C, height, width) Tensor
        Of the same type, on the same device.
    """
    if interpolation == "nearest":
        return functional.interpolate(batch, size, mode="nearest-exact")
    if batch.device.type == "cpu" or batch.dtype != torch.uint8:
        mode: Any = interpolation
        channels_last = batch.contiguous(memory_format=torch.channels_last)
        found = functional.interpolate(channels_last, size, mode=mode, antialias=True, align_corners=False)
        # Bicubic weights overshoot, which bytes cut off.
        return found if batch.dtype == torch.uint8 else found.clamp_(0, 255)
    return resized_in_floats(batch, size, interpolation)


def resized_in_floats(batch: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resize as `resized` does on processors, for devices on which torch cannot resize bytes; it runs on any.

    Each direction is a product with the whole numbers that torch weighs bytes with, columns first, rounded to grey
    levels before the rows follow. Rounded once, a fifth of the bytes would be others; with weights that are no whole
    numbers, all that lie in the middle of two levels, which are a quarter of them where an image is doubled.
    """
    height, width = size
    found = batch.contiguous()
    if batch.shape[-1] != width:
        weights = _weights(batch.shape[-1], width, interpolation, batch.device)
        found = weights.levels(found.float() @ weights.matrix.mT, -1)
    if batch.shape[-2] != height:
        weights = _weights(batch.shape[-2], height, interpolation, batch.device)
        found = weights.levels(weights.matrix @ found.float(), -2)
    return found


class _Weights(NamedTuple):
    """Weights of a direction in units of ``2 ** -bits``.

    The matrix holds their 256s above their rest, (2 × after, before): so the sums of both are whole numbers below
    2 ** 24, which float32 holds whatever the order that they are added in, as long as no pixel comes of more than 500.
    """

    matrix: Tensor
    bits: int

    def levels(self, sums: Tensor, axis: int) -> Tensor:
        """Return the grey levels of weighted sums."""
        high, rest = sums.chunk(2, axis)
        units = high.int().mul_(256).add_(rest.int()).add_(1 << (self.bits - 1))
        return units.bitwise_right_shift_(self.bits).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _weights(before: int, after: int, interpolation: str, device: torch.device) -> _Weights:
    exact = _exact_weights(before, after, *_FILTERS[interpolation])
    largest = float(exact.max())
    bits = next((b for b in range(_MOST_BITS) if int(0.5 + largest * 2 ** (b + 1)) >= 1 << 15), _MOST_BITS)
    whole = np.trunc(exact * 2**bits + np.copysign(0.5, exact))
    high = np.rint(whole / 256)
    halves = torch.from_numpy(np.concatenate([high, whole - 256 * high]).astype(np.float32))
    return _Weights(halves.to(device), bits)


def _exact_weights(before: int, after: int, support: float, filter_: Callable[[_Floats], _Floats]) -> _Floats:
    """Return the (after, before) weights of antialiased interpolation."""
    scale = before / after
    stretch = max(scale, 1.0)
    centres = scale * (np.arange(after) + 0.5)
    first = np.maximum((centres - support * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support * stretch + 0.5).astype(np.int64), before)
    places = np.arange(before)
    weights = filter_((places - centres[:, None] + 0.5) / stretch)
    weights[(places < first[:, None]) | (places >= last[:, None])] = 0
    return weights / weights.sum(1, keepdims=True)


def _triangle(x: _Floats) -> _Floats:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: _Floats) -> _Floats:
    """Keys' cubic with a = -0.5, as PIL and torch take it for antialiasing."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


#: Half of how many pixels a filter spans, and the filter.
_FILTERS: Mapping[str, tuple[float, Callable[[_Floats], _Floats]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}

_MOST_BITS = 22
