"""Layers behind the one at which a network is cut: they hold weights that nothing trains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def called(base: nn.Module) -> Iterator[set[nn.Module]]:
    """Collect the modules without children whose ``forward()`` is called inside."""
    found: set[nn.Module] = set()
    leaves = [module for module in base.modules() if next(module.children(), None) is None]
    hooks = [leaf.register_forward_pre_hook(lambda module, _: found.add(module)) for leaf in leaves]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def take_out_unused(base: nn.Module, reached: Collection[nn.Module], vectors: Callable[[], Tensor]) -> None:
    """Put nothing in the place of modules that have weights, and have no part in what a network gives.

    Parameters
    ----------
    base : Module
    reached : collection of Module
        Whose ``forward()`` was called.
    vectors : callable
        Runs the network. A module may have a part without a call: attention asks one of timm's for its biases, and
        takes torch's ``out_proj.weight`` itself.
    """
    unreached = {
        name: module
        for name, module in base.named_modules()
        if name and module not in reached and next(module.children(), None) is None and list(module.parameters())
    }
    for name in unreached.keys() - _asked_otherwise(base, unreached, vectors):
        base.set_submodule(name, nn.Identity())


def _asked_otherwise(base: nn.Module, modules: dict[str, nn.Module], vectors: Callable[[], Tensor]) -> set[str]:
    """Return the names of those modules on whose weights what a network gives depends."""
    weights = [(name, weight) for name, module in modules.items() for weight in module.parameters()]
    if not weights:
        return set()
    base.requires_grad_(False)
    for _, weight in weights:
        weight.requires_grad_(True)
    with torch.enable_grad():
        found = vectors()
    if not found.requires_grad:
        return set()
    gradients = torch.autograd.grad(found.sum(), [weight for _, weight in weights], allow_unused=True)
    return {name for (name, _), gradient in zip(weights, gradients, strict=True) if gradient is not None}
