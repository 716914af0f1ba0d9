"""A network that a run trained, asked by Grad-CAM (Selvaraju et al. 2017) where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from histokit.errors import UsageError, did_you_mean, some
from histokit.explain.chosen import ChosenSample
from histokit.explain.layer_maps import MapLayer, ScoredMaps, first_tensor, grad_cam, maps_and_gradients
from histokit.networks.devices import choose_device, whole_float32
from histokit.networks.trainable import NetworkDescription
from histokit.networks.trained_backbone import base_backbone, check_channels, rebuild_stored
from histokit.networks.trained_runs import TrainedNetwork
from histokit.networks.transform import Transform
from histokit.plugin import Layer
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.protocol.networks_seen import seen_by

#: Of the layers with a map, so many are named in an error.
_NAMED = 12


class ExplainedNetwork:
    """A trained network, and the layer whose map is looked at.

    Parameters
    ----------
    trained : TrainedNetwork
    layer : str, optional
        The map that the network pools where not given; of a transformer that reads its class token, what goes into its
        last block.
    channels : sequence of str
        Of the images.
    device : str

    Raises
    ------
    UsageError
        If there is no such layer, or it has no map.
    StoreError
        If the network is damaged, or its channels are others.
    """

    method = "Grad-CAM"
    signed = False

    def __init__(self, trained: TrainedNetwork, layer: str | None, channels: Sequence[str], device: str):
        store = str(trained.store.uri)
        stored = trained.networks.read(trained.run, trained.entry)
        self.name = trained.name
        self.described = NetworkDescription.from_json(stored.document)
        check_channels(self.described, channels)
        self.device = choose_device(device)
        self.network = rebuild_stored(self.described, stored.tensors, store).to(self.device)
        self.transform = Transform(self.described.preprocess, channels, self.device)
        self._guarded = GuardedBackbone(base_backbone(self.described, store))
        self.kind = "probability" if self.described.classes else "value"
        self.backbone, self.notes = self.described.backbone, list[str]()
        self.seen = seen_by(trained.store, trained.name)
        self.layer = self._default() if layer is None else self.map_layer(layer)

    def maps(self, pixels: Tensor, samples: Sequence[ChosenSample]) -> ScoredMaps:
        """Return the maps of resized images, and the score of the output that each is of.

        Parameters
        ----------
        pixels : (N, C, H, W) Tensor
        samples : sequence of N ChosenSample
            Which say of which output.
        """
        batch = self.transform.normalise(pixels)
        chosen = torch.tensor([sample.output for sample in samples], device=self.device)[:, None]
        module = self.network.base.get_submodule(self.layer.layer.module)
        with whole_float32(self.device):
            found = maps_and_gradients(
                self.network, module, self.layer, batch, lambda values: values.gather(1, chosen)[:, 0]
            )
        maps, gradients, values = found
        scores = self.described.scores(values).gather(1, chosen)[:, 0].tolist()
        weighted = torch.zeros_like(maps[:, 0]) if gradients is None else grad_cam(maps, gradients)
        return ScoredMaps(weighted, scores, [None] * len(scores))

    @cached_property
    def _outputs(self) -> dict[str, Any]:
        """What each module of the network gives of an image of noise, in the order in which they run."""
        found: dict[str, Any] = {}
        handles = [
            module.register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output}), prepend=True)
            for name, module in self.network.base.named_modules()
            if name
        ]
        try:
            with torch.no_grad(), whole_float32(self.device):
                self.network(self._noise)
        finally:
            for handle in handles:
                handle.remove()
        return {name: _shape_only(output) for name, output in found.items()}

    @cached_property
    def _noise(self) -> Tensor:
        side = self.described.preprocess.size
        drawn = torch.randn(1, self.described.inputs, side, side, generator=torch.Generator().manual_seed(0))
        return drawn.to(self.device)

    def map_layer(self, text: str) -> MapLayer:
        """Return the layer of a name or a dotted path.

        Raises
        ------
        UsageError
            If there is none, or it has no map.
        """
        curated = {layer.name: layer for layer in self._guarded.layers()}
        spatial = [name for name, layer in curated.items() if self._has_map(layer)]
        layer = self.described.layer if text in ("last", self.described.layer.name) else curated.get(text)
        if layer is None and text in self._outputs:
            layer = self._guarded.layer(text)
        every = f"or any module path: histokit list layers {self.backbone} --modules"
        listed = f"Its layers with a map are: {some(spatial, _NAMED)}; {every}"
        if layer is None or layer.module not in self._outputs:
            raise UsageError(
                f"The network {self.name} has no layer {text!r} up to where it ends, {self.described.layer.name!r}.",
                next=f"{did_you_mean(text, [*curated, *self._outputs])}{listed}",
            )
        if not self._has_map(layer):
            output = self._outputs[layer.module]
            # Of windows of an image, which some transformers take for images, all numbers are told.
            shape = " × ".join(map(str, output.shape[output.shape[0] == 1 :]))
            raise UsageError(f"The layer {text!r} of {self.name} gives {shape} numbers: it has no map.", next=listed)
        return self._as_map(layer)

    def _as_map(self, layer: Layer) -> MapLayer:
        return MapLayer(layer, self.network.prefix_tokens)

    def _has_map(self, layer: Layer) -> bool:
        side = self.described.preprocess.size
        return layer.module in self._outputs and self._as_map(layer).is_spatial(self._outputs[layer.module], side, side)

    def _default(self) -> MapLayer:
        """Return the layer that the network pools, or the deepest one before it on whose positions outputs depend."""
        own, curated = self.described.layer, {layer.module: layer for layer in self._guarded.layers()}
        if self._has_map(own) and own.pool != "cls":
            return self._as_map(own)
        # What stands in one row with curated layers, such as all blocks of a transformer, is as good a place.
        rows = {module.rpartition(".")[0] for module in curated} - {""}
        deepest_first = list(reversed(self._outputs))
        beside = [name for name in deepest_first if name in curated or name.rpartition(".")[0] in rows]
        maps = [name for name in deepest_first if self._outputs[name].ndim == 4]
        for name in dict.fromkeys([*beside, *maps]):
            layer = curated.get(name) or self._guarded.layer(name)
            if name != own.module and self._has_map(layer) and self._decides(self._as_map(layer)):
                return self._as_map(layer)
        raise UsageError(
            f"No layer of the network {self.name} has a map: there are no positions to look at.",
            next="Explain a run of a network that has one.",
        )

    def _decides(self, layer: MapLayer) -> bool:
        module = self.network.base.get_submodule(layer.layer.module)
        _, gradients, _ = maps_and_gradients(self.network, module, layer, self._noise, lambda values: values[:, 0])
        return gradients is not None and bool(gradients.abs().sum() > 0)


def _shape_only(output: Any) -> Any:
    try:
        return first_tensor(output).to("meta")
    except TypeError:
        return torch.empty(0, device="meta")
