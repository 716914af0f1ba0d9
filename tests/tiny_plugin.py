"""A backbone of two layers, as a plugin."""

from __future__ import annotations

from typing import Any

from histokit.plugin import Backbone, Layer, Preprocess, hookimpl


class TinyBackbone(Backbone):
    """Two convolutions with a fixed seed; the in-place ReLU overwrites the first one's output."""

    def build(self) -> Any:
        import torch
        from torch import nn

        class Asking(nn.ReLU):
            """As torchvision's MNASNet, refuses tensors that do not say for which version of its class they are."""

            def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *others: Any) -> None:
                assert metadata.get("version") == 1, "which version?"
                super()._load_from_state_dict(state, prefix, metadata, *others)

        with torch.random.fork_rng():
            torch.manual_seed(int(self.weights.partition(":")[2] or 0))
            first = nn.Conv2d(3, 4, 3, stride=2)
            return nn.Sequential(first, Asking(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True))


class TinyPlugin:
    """Registers the backbone ``tiny``."""

    #: How often the network was built, for tests of what is cached.
    built = 0

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        """Announce it."""
        register("tiny", self.load)

    def load(self, request: Any) -> Backbone:
        """Return it without building."""
        weights = "random:0" if request.weights in ("pretrained", "random") else request.weights
        plugin = self

        class Counted(TinyBackbone):
            def build(self) -> Any:
                plugin.built += 1
                return super().build()

        layers = [Layer("0", "0"), Layer("1", "1"), Layer("3", "3")]
        return Counted(request.name, layers, Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3), weights)
