"""The formulas of ``texture``, as modules whose outputs are vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from skimage.color import rgb2hed, rgb2hsv
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from torch import Tensor, nn

from histokit.backbones.texture_columns import COLUMNS, DISTANCES, PROPERTIES, RADII, points

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

#: Haematoxylin density that becomes the brightest of 256 grey values.
DENSEST = 0.3
#: Grey values that co-occurrences are counted between.
LEVELS = 32
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
#: Luminance as in ITU-R BT.601.
LUMINANCE = (0.299, 0.587, 0.114)


class Features(nn.Module):
    """A family of features: from an (N, 3, H, W) batch on a scale of 0 to 1 to (N, d) float32."""

    def __init__(self, name: str):
        super().__init__()
        self.column_names = COLUMNS[name]
        self.describe = {"stain": stain_statistics, "lbp": binary_patterns, "glcm": co_occurrences}[name]

    def forward(self, batch: Tensor) -> Tensor:
        """Return one vector for each image."""
        pixels = (batch.float() * 255).round().clamp(0, 255).to(torch.uint8)
        images = pixels.permute(0, 2, 3, 1).cpu().numpy()
        vectors = np.stack([self.describe(image) for image in images])
        return torch.from_numpy(vectors.astype(np.float32)).to(batch.device)


class Joined(nn.Module):
    """All families beside one another."""

    column_names = COLUMNS["joined"]

    def forward(self, *families: Tensor) -> Tensor:
        """Return the joined vectors."""
        return torch.cat(families, dim=1)


class TextureNetwork(nn.Module):
    """All families of features, each a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stain = Features("stain")
        self.lbp = Features("lbp")
        self.glcm = Features("glcm")
        self.joined = Joined()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the joined features of an (N, 3, H, W) batch."""
        joined: Tensor = self.joined(self.stain(batch), self.lbp(batch), self.glcm(batch))
        return joined


def stain_statistics(image: Bytes) -> Floats:
    """Return statistics of colour, and of stains after Ruifrok and Johnston's separation (2001).

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    """
    hsv = rgb2hsv(image)
    channels = np.concatenate([image / 255.0, hsv[..., 1:], rgb2hed(image)], axis=-1).reshape(-1, 8)
    angle = 2 * np.pi * hsv[..., 0]
    hue = [(hsv[..., 1] * np.cos(angle)).mean(), (hsv[..., 1] * np.sin(angle)).mean()]
    return np.concatenate([_statistics(channels).ravel(), hue])


def _statistics(channels: Floats) -> Floats:
    mean, std = channels.mean(axis=0), channels.std(axis=0)
    quantiles = np.quantile(channels, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    flat = std < 1e-9
    skewness = ((channels - mean) ** 3).mean(axis=0) / np.where(flat, 1.0, std) ** 3
    return np.stack([mean, std, *quantiles, skewness], axis=1)


def binary_patterns(image: Bytes) -> Floats:
    """Return histograms of uniform local binary patterns (Ojala et al. 2002), each adding up to 1."""
    histograms = []
    for plane in _planes(image):
        for radius in RADII:
            codes = local_binary_pattern(plane, points(radius), radius, method="uniform").astype(np.intp)
            histograms.append(np.bincount(codes.ravel(), minlength=points(radius) + 2) / codes.size)
    return np.concatenate(histograms)


def co_occurrences(image: Bytes) -> Floats:
    """Return properties of grey-level co-occurrence (Haralick et al. 1973), as means over angles that have pairs."""
    return np.concatenate([_properties(plane // (256 // LEVELS)) for plane in _planes(image)])


def _properties(plane: Bytes) -> Floats:
    counts = graycomatrix(plane, DISTANCES, ANGLES, levels=LEVELS, symmetric=True)
    pairs = counts.sum(axis=(0, 1)) > 0
    values = np.stack([graycoprops(counts, name) for name in PROPERTIES], axis=1)
    kept = np.where(pairs[:, None, :], values, 0.0).sum(axis=2)
    return (kept / np.maximum(pairs.sum(axis=1), 1)[:, None]).ravel()


def _planes(image: Bytes) -> list[Bytes]:
    grey = (image @ np.asarray(LUMINANCE)).round().astype(np.uint8)
    density = rgb2hed(image)[..., 0]
    return [grey, (density / DENSEST * 255).clip(0, 255).round().astype(np.uint8)]
