"""What timm knows of published weights of its networks: other names, and parts that they lack or have besides."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.plugin.checkpoint import Adapt

#: Functions by which timm's model files turn published weights into those of their networks.
FILTERS = (
    "checkpoint_filter_fn",
    "_filter_fn",
    "_filter_torchvision_pretrained",
    "checkpoint_filter_fn_classifier",
    "checkpoint_filter_fn_encoder",
)


def filters(network: nn.Module) -> list[Adapt]:
    """Return what may turn published weights into those of a network, by timm's own functions."""
    module = sys.modules[type(network).__module__]
    found = [adapt for name in FILTERS if hasattr(module, name) for adapt in _adapts(getattr(module, name))]
    return [*found, _of_branches] if type(network).__name__ == "CrossVit" else found


def _of_branches(_network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Change CrossViT's published names as timm does, by a function that is out of reach."""
    return {re.sub(r"^(pos_embed|cls_token)\.", r"\1_", key): value for key, value in state.items()}


def _adapts(function: Callable[..., dict[str, Tensor]]) -> Iterator[Adapt]:
    """Yield how a function can be called: some of timm's take the tensors alone, and DeiT III asks for its scales."""
    names = list(signature(function).parameters)
    ways: list[dict[str, Any]] = [{}, *([{"adapt_layer_scale": True}] if "adapt_layer_scale" in names else [])]
    for way in ways:
        yield partial(_adapted, partial(function, **way), len(names) > 1)


def _adapted(
    function: Callable[..., dict[str, Tensor]], takes_network: bool, network: nn.Module, state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    return function(dict(state), network) if takes_network else function(dict(state))


def head_modules(network: nn.Module) -> list[str]:
    """Return the classifier modules of a network, and others that timm, too, lets its published weights lack or have.

    Weights that were published without a classifier (FCMAE, Florence) lack the rest of its head as well; those of DLA
    have projections in blocks that never use them, and in which timm has none.
    """
    configuration = getattr(network, "pretrained_cfg", {})
    given = configuration.get("classifier") or ()
    found = [given] if isinstance(given, str) else list(given)
    if configuration.get("num_classes") == 0:
        found += [head for name in found if (head := name.rpartition(".")[0])]
    trees = [(name, module) for name, module in network.named_modules() if type(module).__name__ == "DlaTree"]
    return found + [f"{name}.project" for name, tree in trees if not tree.project.state_dict()]
