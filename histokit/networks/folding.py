"""Batch normalisation folded into the convolution before it, which spares a pass over every map of a network."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from histokit.plugin.lean_imports import compiler_deferred

_CONVOLUTIONS = ("convolution", "_convolution")
_NORMALISATIONS = ("native_batch_norm", "_native_batch_norm_legit_no_training")


def is_folded(module: nn.Module) -> bool:
    """Return whether a batch normalisation was folded into the convolution before it when its weights were stored.

    Its means are 0 then and its variances all the same, which no statistics of images are. One that has seen no images
    is so too, but adds nothing.
    """
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.affine or module.running_mean is None:
        return False
    assert module.running_var is not None
    return (
        bool((module.running_mean == 0).all())
        and bool((module.running_var == module.running_var[0]).all())
        and bool((module.bias != 0).any())
    )


def fold_batch_norm(network: nn.Module, batch: Tensor, cut: Iterable[str]) -> dict[str, nn.Module]:
    """Fold every batch normalisation into the convolution whose output it alone takes, in place.

    What follows what is seen from the data of one forward pass, not from the names or the order of modules.
    Vectors change by rounding only. Which pairs are folded depends on the network alone and not on the layers that
    are asked for, so that the same layer has the same bits whatever is computed beside it.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    batch : (1, C, H, W) float32 Tensor
        On the network's device; its values do not matter.
    cut : iterable of str
        Module paths whose outputs are wanted as they were.

    Returns
    -------
    dict
        Module path → the convolution as it was, for those of `cut` that were folded.

    References
    ----------
    `torch.nn.utils.fusion.fuse_conv_bn_weights` for the arithmetic, which is done here in float64.
    """
    names = {module: name for name, module in network.named_modules()}
    normalisations = [module for module in names if _removable(module)]
    if not normalisations:
        return {}
    wanted = {network.get_submodule(name): name for name in cut}
    flow = _trace(network, batch, wanted)
    norms = {module.running_mean.data_ptr(): module for module in normalisations}
    convolutions = {module.weight.data_ptr(): module for module in names if isinstance(module, nn.Conv2d)}
    originals: dict[str, nn.Module] = {}
    for weight, mean in flow.pairs():
        convolution, norm = convolutions.get(weight), norms.get(mean)
        if convolution is None or norm is None or flow.seen_elsewhere(weight, convolution):
            continue
        if convolution in wanted:
            originals[wanted[convolution]] = copy.deepcopy(convolution)
        _fold(convolution, norm)
        network.set_submodule(names[norm], _without_normalisation(norm))
    return originals


def _removable(module: nn.Module) -> bool:
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None or module.running_var is None:
        return False
    # timm's BatchNormAct2d normalises, then applies its own `drop` and `act`; other subclasses are not known.
    return type(module) is nn.BatchNorm2d or (hasattr(module, "drop") and hasattr(module, "act"))


class _Activation(nn.Module):
    """What timm's BatchNormAct2d does after normalising."""

    def __init__(self, drop: nn.Module, act: nn.Module):
        super().__init__()
        self.drop = drop
        self.act = act

    def forward(self, batch: Tensor) -> Tensor:
        """Apply both."""
        result: Tensor = self.act(self.drop(batch))
        return result


def _without_normalisation(norm: nn.Module) -> nn.Module:
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return _Activation(norm.get_submodule("drop"), norm.get_submodule("act")).eval()


def _fold(convolution: nn.Conv2d, norm: Any) -> None:
    def exact(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.double()

    weight, bias = fuse_conv_bn_weights(
        exact(convolution.weight),
        exact(convolution.bias),
        exact(norm.running_mean),
        exact(norm.running_var),
        norm.eps,
        exact(norm.weight),
        exact(norm.bias),
    )
    kind = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.detach().to(kind), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach().to(kind), requires_grad=False)


class _Flow(TorchDispatchMode):
    """Follows the outputs of convolutions to all that takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Tensor] = []
        self._made_by: dict[int, int] = {}
        self._uses: Counter[int] = Counter()
        self._runs: Counter[int] = Counter()
        self._normalised: list[tuple[int, int, int]] = []
        self._seen: dict[int, list[nn.Module]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {_place(tensor) for tensor in tree_iter((args, kwargs)) if isinstance(tensor, Tensor)}
        self._uses.update(given & self._made_by.keys())
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _CONVOLUTIONS:
            # Kept, so that no later tensor takes its place in memory.
            self._kept.append(output)
            self._made_by[_place(output)] = args[1].data_ptr()
            self._runs[args[1].data_ptr()] += 1
        elif name in _NORMALISATIONS and args[3] is not None:
            place, mean = _place(args[0]), args[3].data_ptr()
            self._runs[mean] += 1
            if place in self._made_by:
                self._normalised.append((place, self._made_by[place], mean))
        return output

    def see(self, module: nn.Module, output: Any) -> None:
        """Note what a module gave."""
        for tensor in tree_iter(output):
            if isinstance(tensor, Tensor):
                self._seen.setdefault(self._made_by.get(_place(tensor), 0), []).append(module)

    def seen_elsewhere(self, weight: int, convolution: nn.Module) -> bool:
        """Return whether a wanted module other than the convolution itself gives the convolution's output."""
        return any(module is not convolution for module in self._seen.get(weight, ()))

    def pairs(self) -> list[tuple[int, int]]:
        """Return (place of the weight, place of the running mean) of all that can be folded."""
        return [
            (weight, mean)
            for place, weight, mean in self._normalised
            if self._uses[place] == 1 and self._runs[weight] == 1 and self._runs[mean] == 1
        ]


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


# In inference mode, operations are seen before they are taken apart, under other names.
@torch.inference_mode(False)
@torch.no_grad()
def _trace(network: nn.Module, batch: Tensor, wanted: Iterable[nn.Module]) -> _Flow:
    flow = _Flow()
    handles = [module.register_forward_hook(lambda m, _, output: flow.see(m, output)) for module in wanted]
    try:
        with compiler_deferred(), flow:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return flow
