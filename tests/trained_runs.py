"""Networks with new layers, as training leaves them, made by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from histokit.networks.trainable import NetworkDescription, TrainableNetwork, build_trainable
from histokit.plugin import Preprocess
from histokit.plugin.manager import registry

#: Of the backbone ``tiny``, and of images that are not resized.
TINY = Preprocess(size=16, mean=(0.5,) * 3, std=(0.25,) * 3)


def a_network(
    backbone: str = "tiny", layer: str = "last", seed: int = 0, preprocess: Preprocess = TINY, **changes: Any
) -> tuple[TrainableNetwork, NetworkDescription]:
    """Return a network whose weights are none of those that its backbone has, and its description."""
    options: dict[str, Any] = {"hidden": (5,), "dropout": 0.5, "outputs": 2, "inputs": 3}
    options |= {"preprocess": preprocess, "classes": ("dark", "bright"), "channels": ("R", "G", "B")}
    options |= {"facts": {"licence": "MIT", "dataset": "d"}, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, described = build_trainable(registry().backbone(backbone, "random"), layer, **options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            network.head.output.weight.mul_(10)
            if hidden := getattr(network.head, "hidden1", None):
                hidden.weight.mul_(3)
    return network, described


def tensors_of(network: TrainableNetwork) -> dict[str, Tensor]:
    """Return what is stored of a network."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
