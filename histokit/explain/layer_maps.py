"""The map that a layer gives, and the gradient of an output with respect to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from histokit.errors import DataError, UsageError
from histokit.plugin import Layer
from histokit.plugin.pooling import leading_tokens

Floats = NDArray[np.float32]

#: Positions of at least this share of the largest value are counted.
_HALF = 0.5


@dataclass(frozen=True)
class MapLayer:
    """A layer whose output has positions.

    Parameters
    ----------
    layer : Layer
    prefix_tokens : int
        Class and register tokens, which have no position.
    """

    layer: Layer
    prefix_tokens: int

    def maps(self, output: Tensor, height: int, width: int) -> Tensor:
        """Return what the layer gives as (N, C, h, w).

        Parameters
        ----------
        output : Tensor
            (N, C, h, w), (N, h, w, C) where the layer says so, or (N, T, C) tokens, which lie row by row.
        height, width : int
            Of the network's input, which tells how many rows tokens make.

        Raises
        ------
        UsageError
            If it has no positions.
        """
        if output.ndim == 4:
            found = output.movedim(3, 1) if self.layer.channels_last else output
            if min(found.shape) > 0 and found.shape[2] * found.shape[3] > 1:
                return found
        if output.ndim == 3:
            patches = output[:, leading_tokens(output.shape[1], self.prefix_tokens, (height, width)) :]
            rows = round((patches.shape[1] * height / width) ** 0.5)
            columns = round((patches.shape[1] * width / height) ** 0.5)
            if patches.shape[1] > 1 and patches.shape[1] == rows * columns:
                return patches.movedim(2, 1).unflatten(2, (rows, -1))
        raise UsageError(
            f"The layer {self.layer.name!r} gives shape {tuple(output.shape)}: it has no map.",
            next="Choose a --layer whose output has rows and columns, or patch tokens.",
        )

    def is_spatial(self, output: Any, height: int, width: int) -> bool:
        """Return whether what comes of one image has positions, and is not of windows of it, one by one."""
        try:
            return len(self.maps(first_tensor(output), height, width)) == 1
        except (UsageError, TypeError):
            return False


class ScoredMaps(NamedTuple):
    """What a model says of N images.

    Parameters
    ----------
    maps : (N, h, w) float32 Tensor
    scores : list of N float
        Of the outputs that the maps are of.
    intercepts : list of N float or None
        By which the means of the maps differ from the scores, where that is all.
    """

    maps: Tensor
    scores: list[float]
    intercepts: Sequence[float | None]


def first_tensor(output: Any) -> Tensor:
    """Return the tensor that a module gives, be it the first of several."""
    while isinstance(output, Sequence) and not isinstance(output, str) and len(output):
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"{type(output).__name__} is no tensor")
    return output


def with_first(output: Any, tensor: Tensor) -> Any:
    """Return what a module gives with another tensor in the place of the first."""
    if isinstance(output, Tensor):
        return tensor
    rest = [with_first(output[0], tensor), *output[1:]]
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)


@contextmanager
def tapped(module: nn.Module, take: Callable[[Any], Any]) -> Iterator[None]:
    """Hand what a module gives to a function inside, before anything else sees it; what that returns goes on."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: take(output), prepend=True)
    try:
        yield
    finally:
        handle.remove()


#: How often a module is used when its network runs, once that is known: it need not run on behind the last time.
_USES: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


class _Taken(Exception):  # noqa: N818 (a signal, not an error)
    """Raised in a hook when nothing more is needed."""


def maps_of(run: Callable[[Tensor], Any], module: nn.Module, layer: MapLayer, batch: Tensor) -> Tensor:
    """Run a network up to a layer, and return its (N, C, h, w) float32 maps.

    Parameters
    ----------
    run : callable
        The network.
    module : Module
        In it, whose output is taken; of one that is used several times, the last, as features are.
    layer : MapLayer
        What the module is.
    batch : (N, C, H, W) Tensor
    """
    held: list[Tensor] = []
    uses, known = 0, _USES.get(module)

    def take(output: Any) -> Any:
        nonlocal uses
        uses += 1
        # What follows may overwrite its input.
        held[:] = [first_tensor(output) if uses == known else first_tensor(output).clone()]
        if uses == known:
            raise _Taken
        return output

    with tapped(module, take), suppress(_Taken):
        run(batch)
    if not held:
        raise _not_reached(layer)
    _USES[module] = uses
    return _finite(layer.maps(held[0], *batch.shape[-2:]).float(), layer)


def _finite(maps: Tensor, layer: MapLayer) -> Tensor:
    """Return maps, of which one that is no number would be drawn as one that says nothing."""
    if bad := int((~torch.isfinite(maps).flatten(1).all(1)).sum()):
        raise DataError(
            f"The layer {layer.layer.name!r} gives NaN or infinity for {bad} of {len(maps)} images.",
            next="Choose another --layer, or other images.",
        )
    return maps


def _not_reached(layer: MapLayer) -> UsageError:
    return UsageError(
        f"The layer {layer.layer.name!r} is not reached when the network runs.", next="Choose another --layer."
    )


def maps_and_gradients(
    network: nn.Module, module: nn.Module, layer: MapLayer, batch: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Run a network and return the maps of a layer, the gradients of a score of each image, and the outputs.

    Parameters
    ----------
    network : Module
    module : Module
        In it, whose output is taken; of one that is used several times, the last.
    layer : MapLayer
        What the module is.
    batch : (N, C, H, W) Tensor
    score : callable
        From (N, K) outputs to (N,) numbers, of which each depends on its own image.

    Returns
    -------
    maps, gradients : (N, C, h, w) Tensor
        No gradients where the score does not depend on the layer.
    outputs : (N, K) Tensor
    """
    held: list[Tensor] = []

    def take(output: Any) -> Any:
        leaf = first_tensor(output).detach().clone().requires_grad_()
        held[:] = [leaf]
        # Another copy goes on: what follows may overwrite its input.
        return with_first(output, leaf.clone())

    with torch.enable_grad(), tapped(module, take):
        outputs: Tensor = network(batch)
    if not held:
        raise _not_reached(layer)
    size = batch.shape[-2], batch.shape[-1]
    gradient = None
    if outputs.requires_grad:
        (gradient,) = torch.autograd.grad(score(outputs).sum(), held[0], allow_unused=True)
    return (
        _finite(layer.maps(held[0].detach(), *size), layer),
        None if gradient is None else layer.maps(gradient, *size),
        outputs.detach(),
    )


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return the (N, h, w) maps of Selvaraju et al. 2017: channels by the mean of their gradient, added, above 0."""
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()


def upsampled(maps: Tensor, height: int, width: int) -> Tensor:
    """Return (N, h, w) maps at another size, bilinearly."""
    return functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def area_of(heat: Floats) -> float:
    """Return which share of a map has at least half of its largest value, of either sign; 0 where all is the same."""
    low, high = float(heat.min()), float(heat.max())
    if not np.isfinite([low, high]).all() or low == high:
        return 0.0
    return float((np.abs(heat) >= _HALF * max(abs(low), abs(high))).mean())


def shares(heat: Floats, signed: bool) -> tuple[Floats, bool]:
    """Return a map from 0 (its least) to 1 (its largest), and whether it is the same everywhere, which gives zeros.

    Of a `signed` map 0 stays 0, and the largest of either sign is 1 or -1.
    """
    low, high = float(heat.min()), float(heat.max())
    if not np.isfinite([low, high]).all() or low == high:
        return np.zeros_like(heat), True
    if signed:
        return heat / np.float32(max(abs(low), abs(high))), False
    return (heat - np.float32(low)) / np.float32(high - low), False
