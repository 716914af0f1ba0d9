"""Stains are those of scikit-image, and change as they are told to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.color import hed2rgb, rgb2hed

from histokit.finetune.augment import Augmenter
from histokit.finetune.recipe import Augment
from histokit.finetune.stain import RGB_FROM_HED, vary_stains

#: How many natural optical densities one unit of scikit-image is.
UNIT = math.log(1e6)


def stained(count: int = 6, side: int = 8) -> np.ndarray:
    """Return (n, H, W, 3) colours from 0 to 1 that are made of haematoxylin, eosin and DAB."""
    amounts = np.random.default_rng(0).uniform(0.005, 0.06, (count, side, side, 3))
    return np.stack([hed2rgb(image) for image in amounts])


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images * 255).float().permute(0, 3, 1, 2).contiguous()


def test_the_stains_are_scikit_images() -> None:
    images = stained()
    rng = np.random.default_rng(1)
    scales, shifts = rng.uniform(0.8, 1.2, (6, 3)), rng.uniform(0, 0.2, (6, 3))
    expected = np.stack(
        [
            hed2rgb(rgb2hed(image) * scale + shift / UNIT)
            for image, scale, shift in zip(images, scales, shifts, strict=True)
        ]
    )
    found = vary_stains(tensor(images), torch.from_numpy(scales), torch.from_numpy(shifts))
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), expected * 255, atol=2e-3)
    # They are other images, not those that went in.
    assert np.abs(expected - images).max() > 0.05


def test_each_stain_is_changed_alone() -> None:
    images = stained(3)
    scales = 1 + torch.eye(3, dtype=torch.float64) / 2
    found = vary_stains(tensor(images), scales, torch.zeros(3, 3, dtype=torch.float64))
    for stain, image in enumerate(found.permute(0, 2, 3, 1).numpy()):
        ratios = rgb2hed(np.float64(image) / 255) / rgb2hed(images[stain])
        np.testing.assert_allclose(ratios, np.broadcast_to(1 + 0.5 * np.eye(3)[stain], ratios.shape), atol=2e-3)


def test_unchanged_stains_leave_every_colour() -> None:
    levels = torch.arange(0, 256, 15, dtype=torch.float32)
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 1, -1)
    found = vary_stains(colours.clone(), torch.ones(1, 3).double(), torch.zeros(1, 3).double())
    assert float((found - colours).abs().max()) < 1e-2


def test_white_takes_the_colour_of_what_is_added() -> None:
    white = torch.full((3, 3, 2, 2), 255.0)
    found = vary_stains(white, torch.ones(3, 3).double(), 0.1 * torch.eye(3).double())
    expected = 255 * np.exp(-0.1 * np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]))
    np.testing.assert_allclose(found[:, :, 0, 0].numpy(), expected, rtol=1e-5)
    brighter = vary_stains(torch.full((1, 3, 2, 2), 255.0), torch.ones(1, 3).double(), -0.1 * torch.ones(1, 3).double())
    assert torch.equal(brighter, torch.full((1, 3, 2, 2), 255.0))


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_changes_are_drawn_uniformly_on_both_sides(sigma: float) -> None:
    # Two colours of one image tell both factors and additions.
    amounts = np.array([[0.4, 0.5, 0.3], [0.8, 0.6, 0.9]])
    colours = 255 * np.exp(-amounts @ RGB_FROM_HED.numpy())
    images = torch.from_numpy(colours).float().T.reshape(1, 3, 1, 2).expand(4000, 3, 2, 2)
    found = Augmenter(Augment(stain=sigma), 2, 3)(images, torch.Generator().manual_seed(0)).double()
    densities = -torch.log(found[:, :, 0] / 255).mT.numpy() @ np.linalg.inv(RGB_FROM_HED.numpy())
    factors = (densities[:, 1] - densities[:, 0]) / (amounts[1] - amounts[0])
    additions = densities[:, 0] - factors * amounts[0]
    for drawn in ((factors - 1) / sigma, additions / sigma):
        assert np.abs(drawn).max() < 1.01
        np.testing.assert_allclose(drawn.mean(0), 0, atol=0.05)
        np.testing.assert_allclose(drawn.var(0), 1 / 3, rtol=0.05)
    together = np.corrcoef(np.concatenate([factors, additions], 1).T) - np.eye(6)
    assert np.abs(together).max() < 0.08
