"""Haematoxylin, eosin and what is left, varied in the space of optical densities."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Optical densities of red, green and blue for haematoxylin, eosin and DAB: Ruifrok and Johnston, Analytical and
#: Quantitative Cytology and Histology 23 (2001), table 1, as in scikit-image's `rgb_from_hed`.
RGB_FROM_HED = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=torch.float64)
HED_FROM_RGB = torch.from_numpy(np.linalg.inv(RGB_FROM_HED.numpy()))

#: The least share of light of which a logarithm is taken, as in scikit-image.
_DARKEST = 1e-6

#: How many images are varied at a time on processors.
_NEAR = 8


def vary_stains(images: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """Multiply the amount of each stain, and add to it.

    An optical density is -ln(I / 255), and stains are these densities times the inverse of `RGB_FROM_HED`; so they are
    ``skimage.color.rgb2hed`` times ln(10 ** 6), but for amounts below 0, which are kept: without a change, images
    come out as they went in.

    Parameters
    ----------
    images : (N, 3, H, W) Tensor
        float32 from 0 to 255; changed where it is.
    scales, shifts : (N, 3) Tensor
        Float64, on the processor: of each image's haematoxylin, eosin and rest.

    Returns
    -------
    (N, 3, H, W) Tensor
        The same, from 0 to 255.
    """
    # There and back is one matrix for each image, applied to ln(I) in place of densities: both are linear.
    mixing = HED_FROM_RGB * scales[:, None] @ RGB_FROM_HED
    offset = math.log(255) * (1 - mixing.sum(1)) - shifts @ RGB_FROM_HED
    weights, ends = (values.float().to(images.device)[..., None, None] for values in (mixing, offset))
    # So few that processors keep them near: in half of the time.
    step = _NEAR if images.device.type == "cpu" else max(1, len(images))
    for piece in zip(images.split(step), weights.split(step), ends.split(step), strict=True):
        _mix(*piece)
    return images


def _mix(images: Tensor, weights: Tensor, ends: Tensor) -> None:
    light = images.clamp(min=255 * _DARKEST).log_()
    # Sums of planes, which no setting for products of matrices rounds to fewer bits.
    for colour, plane in enumerate(images.unbind(1)):
        torch.addcmul(ends[:, colour], light[:, 0], weights[:, 0, colour], out=plane)
        for other in (1, 2):
            plane.addcmul_(light[:, other], weights[:, other, colour])
    images.exp_().clamp_(max=255)
