"""A backbone under examination: built once, run on a few small batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from histokit.plugin.backbone import Backbone, BackboneRequest, Layer
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.calls import shown
from histokit.plugin.pooling import first_tensor, pool
from histokit.plugin.testing.checks import require

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Side of the images for a backbone that takes any size, in pixels.
ANY_SIZE = 48


class Probed:
    """What the clauses look at, worked out when first needed.

    Parameters
    ----------
    backbone : Backbone or callable
        The backbone or its loader.
    name, weights : str
        What a loader is asked for.
    """

    def __init__(self, backbone: Backbone | Callable[[BackboneRequest], Backbone], name: str, weights: str):
        self._given = backbone
        self._name = name
        self._weights = weights
        self._shapes: dict[str, tuple[int, ...]] = {}

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone."""
        return self._given if isinstance(self._given, Backbone) else self.ask(self._weights)

    def ask(self, weights: str) -> Backbone:
        """Ask the loader for a backbone with other weights."""
        assert not isinstance(self._given, Backbone)
        base, options = split_backbone_name(self._name)
        prefix, colon, remainder = base.partition(":")
        return self._given(
            BackboneRequest(join_backbone_name(base, options), remainder if colon else prefix, options, weights)
        )

    @cached_property
    def network(self) -> nn.Module:
        """The network."""
        from torch import nn

        network = self.backbone.build()
        require(isinstance(network, nn.Module), f"build() returned {shown(network)} in place of a torch.nn.Module")
        return network

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        """All modules of the network by path; the network itself is the empty one."""
        return dict(self.network.named_modules())

    @property
    def layers(self) -> list[Layer]:
        """The curated cut points."""
        return list(self.backbone.layers)

    def batch(self, seed: int = 0, count: int = 3) -> Tensor:
        """Return random pixels, preprocessed: (count, C, S, S) float32."""
        import torch

        preprocess = self.backbone.preprocess
        size = ANY_SIZE if preprocess.resize == "none" else preprocess.size
        generator = torch.Generator().manual_seed(seed)
        return self.normalise(torch.rand(count, len(preprocess.mean), size, size, generator=generator))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels on a scale of 0 to 1 as the backbone wants them."""
        import torch

        preprocess = self.backbone.preprocess
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (preprocess.mean, preprocess.std))
        # In the order in memory in which networks are run.
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)

    def vectors(self, batch: Tensor) -> dict[str, Tensor]:
        """Run the network and pool every cut point; in the order in which the modules complete."""
        import torch

        found: dict[str, Tensor] = {}
        prefix = self.backbone.prefix_tokens(self.network)

        def keep(layer: Layer) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                self._shapes[layer.name] = tuple(first_tensor(output, layer).shape)
                found[layer.name] = pool(output, layer, prefix)

            return hook

        handles = [self.modules[layer.module].register_forward_hook(keep(layer)) for layer in self.layers]
        try:
            with torch.inference_mode():
                self.network(batch)
        finally:
            for handle in handles:
                handle.remove()
        return found

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of what the modules of the cut points gave in the last pass."""
        return self._shapes if self.first_pass else {}

    @cached_property
    def first_pass(self) -> dict[str, Tensor]:
        """The vectors of the first batch."""
        return self.vectors(self.batch())
