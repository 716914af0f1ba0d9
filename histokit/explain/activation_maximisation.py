"""Images that excite a filter most, found from noise, as Kensert et al. 2018 made them with keras-vis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.errors import UsageError
from histokit.plugin.options import convert_options

#: The scale of pixels: 0 to white.
WHITE = 255.0

#: Of Keras, below the root of the squared gradients.
_EPSILON = 1e-7
_LEAST_NORM = 1e-12
#: The spread of pictures that are shown, as a share of white.
_SHOWN_STD = 0.1


@dataclass(frozen=True, kw_only=True)
class FilterRecipe:
    """How images are found; the defaults are those of Kensert et al. 2018.

    Parameters
    ----------
    activation : float
        Weight of the mean of the filter's map, which is to be large.
    norm, power : float
        Weight and power of the norm of the image, per number of it, which is to be small.
    variation, beta : float
        Weight and power of the total variation of the image, per number of it, which is to be small.
    iterations : int
    decay : float
        Of the mean squared gradient by which steps are divided (RMSprop), without a rate.
    jitter : float
        By so large a share of its sides at most the image is shifted before each step, at random and around its edges.
    mean, std : float
        Of the noise at the start, on the scale of 0 to 255.
    """

    activation: float = 2.0
    norm: float = 6.0
    power: float = 6.0
    variation: float = 1.0
    beta: float = 2.0
    iterations: int = 200
    decay: float = 0.95
    jitter: float = 0.05
    mean: float = 127.5
    std: float = 12.75

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> FilterRecipe:
        """Return the recipe with some values changed, numbers or texts of them.

        Raises
        ------
        UsageError
            If there is no such value, or it cannot be this.
        """
        recipe = cls(**convert_options(cls, settings, "A picture of a filter"))
        for name, (low, high) in _LIMITS.items():
            value = getattr(recipe, name)
            if not low <= value <= high:
                raise UsageError(
                    f"--set {name}={value} is not a number from {low:g} to {high:g}.", next="Give such a number."
                )
        return recipe

    def to_json(self) -> dict[str, float]:
        """Return it as JSON-serialisable data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_LIMITS = {
    **dict.fromkeys(("activation", "norm", "variation", "mean", "std"), (0.0, 1e6)),
    **dict.fromkeys(("power", "beta"), (1.0, 100.0)),
    "iterations": (1, 100_000),
    "decay": (0.0, 0.999999),
    "jitter": (0.0, 0.5),
}


class Excited(NamedTuple):
    """What was found for n filters.

    Parameters
    ----------
    images : (n, C, H, W) Tensor
        Of the lowest objective, as they were after its step, as keras-vis keeps them.
    objectives, activations : (n,) arrays
        The lowest objective of each, before that step, and the mean of the filter's map of the image, after it.
    """

    images: Tensor
    objectives: NDArray[np.float64]
    activations: NDArray[np.float64]


def maximise(
    activations: Callable[[Tensor], Tensor],
    filters: Sequence[int],
    shape: tuple[int, int, int],
    recipe: FilterRecipe,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    step: Callable[[], None] = lambda: None,
) -> Excited:
    """Find an image for each of some filters, all in one batch; what comes of one does not depend on the others.

    Parameters
    ----------
    activations : callable
        From (n, C, H, W) images of 0 to 255 to the (n,) means of the map of the filter of each.
    filters : sequence of n int
    shape : tuple of int
        C, H, W.
    recipe : FilterRecipe
    seed : int
        The noise and the shifts of a filter are drawn by this and its number.
    device : torch.device
    step : callable
        Called after each iteration.
    """
    generators = [np.random.default_rng([seed, number]) for number in filters]
    images = torch.stack([_noise(generator, shape, recipe) for generator in generators]).to(device)
    cache = torch.zeros_like(images)
    best = images.clone()
    lowest = torch.full((len(filters),), torch.inf, device=device, dtype=torch.float64)
    reach = [int(side * recipe.jitter) for side in shape[1:]]
    for _ in range(recipe.iterations):
        images = torch.stack([_shifted(*pair, reach) for pair in zip(images, generators, strict=True)])
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            found = activations(leaf)
            objective = penalties(leaf, recipe) - recipe.activation * found
            (gradient,) = torch.autograd.grad(objective.sum(), leaf)
        change, cache = rmsprop_step(gradient, cache, recipe.decay)
        images = leaf.detach() + change
        better = objective.detach().double() < lowest
        lowest = torch.where(better, objective.detach().double(), lowest)
        best = torch.where(better[:, None, None, None], images, best)
        step()
    with torch.no_grad():
        excited = activations(best).double()
    return Excited(best, lowest.cpu().numpy(), excited.cpu().numpy())


def penalties(images: Tensor, recipe: FilterRecipe) -> Tensor:
    """Return the (n,) norms and total variations of images, weighted and per number of an image."""
    norm = images.abs().pow(recipe.power).sum(dim=(1, 2, 3)).pow(1 / recipe.power)
    down = images[:, :, 1:, :-1] - images[:, :, :-1, :-1]
    right = images[:, :, :-1, 1:] - images[:, :, :-1, :-1]
    variation = (down.square() + right.square()).pow(recipe.beta / 2).sum(dim=(1, 2, 3))
    return (recipe.norm * norm + recipe.variation * variation) / images[0].numel()


def rmsprop_step(gradients: Tensor, cache: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Return the step of each image by its gradient, brought to length 1, and the mean squares that are kept."""
    squares = gradients.square().sum(dim=(1, 2, 3), keepdim=True)
    unit = gradients / squares.clamp_min(_LEAST_NORM).sqrt()
    cache = decay * cache + (1 - decay) * unit.square()
    return -unit / (cache + _EPSILON).sqrt(), cache


def contrasted(images: Tensor) -> Tensor:
    """Return (n, C, H, W) images of 0 to 255 whose mean is grey and whose deviation is a tenth of white, clipped."""
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    spread = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return (centred / (spread + _EPSILON) * _SHOWN_STD + 0.5).clamp(0, 1) * WHITE


def _noise(generator: np.random.Generator, shape: tuple[int, int, int], recipe: FilterRecipe) -> Tensor:
    """Return uniform noise of exactly the mean and the deviation asked for."""
    drawn = generator.random(shape)
    standard = (drawn - drawn.mean()) / (drawn.std() + _EPSILON)
    return torch.from_numpy(standard * recipe.std + recipe.mean).float()


def _shifted(image: Tensor, generator: np.random.Generator, reach: Sequence[int]) -> Tensor:
    shifts = tuple(int(generator.integers(-most, most + 1)) for most in reach)
    return image.roll(shifts, dims=(1, 2))
