"""A backbone cut at one layer, with new layers on the vector of that: what is trained, kept and predicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from histokit.networks.adapters import inflate
from histokit.networks.cut_points import check_module, check_once, checked_vectors
from histokit.networks.failures import REFUSALS, forward_told, is_out_of_memory, network_memory_told, wrong_size
from histokit.networks.folding import is_folded
from histokit.networks.number_scale import NumberScale, scores_of
from histokit.networks.requests import FLATTEN
from histokit.networks.unused_layers import called, take_out_unused
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.calls import Caller
from histokit.plugin.checkpoint import fill_network
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.pooling import pool

#: Raised when older versions could no longer read a network that was stored.
NETWORK_FORMAT = 1


class _Cut(Exception):  # noqa: N818 (a signal, not an error)
    """Raised in a hook when nothing more is needed."""


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """All that is needed to build a trained network again, beside its tensors.

    Parameters
    ----------
    backbone : str
        Its whole name.
    layer : Layer
        Where it is cut.
    flatten : bool
        Whether the map of the layer is taken as it is, in place of pooled.
    width : int
        Of the vector at the cut.
    hidden : tuple of int
    dropout : float
    outputs : int
    inputs : int
        Channels that go in.
    preprocess : Preprocess
    classes : tuple of str
        Of the outputs; empty where the target is a number.
    channels : tuple of str
        Of the dataset that it was trained on.
    facts : mapping
        For people: licence, what it was trained on, how.
    scale : NumberScale, optional
        Of a target that is a number: what its outputs are multiplied by, and what is added.
    """

    backbone: str
    layer: Layer
    flatten: bool
    width: int
    hidden: tuple[int, ...]
    dropout: float
    outputs: int
    inputs: int
    preprocess: Preprocess
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    scale: NumberScale | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        apart = ("preprocess", "scale")
        return {
            **{name: value for name, value in asdict(self).items() if name not in apart},
            **({"scale": self.scale.to_json()} if self.scale else {}),
            "preprocess": self.preprocess.to_json(),
            "format": NETWORK_FORMAT,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        del values["format"]
        values |= {"layer": Layer(**document["layer"]), "preprocess": Preprocess.from_json(document["preprocess"])}
        if "scale" in document:
            values["scale"] = NumberScale.from_json(document["scale"])
        return cls(**values)

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the (n, K) float64 probabilities of classes, or numbers, that (n, K) outputs stand for."""
        return scores_of(outputs, None if self.classes else self.scale or NumberScale())

    def metadata(self) -> dict[str, str]:
        """Return it as the metadata of a safetensors file."""
        return {"histokit": json.dumps(self.to_json(), sort_keys=True)}


class TrainableNetwork(nn.Module):
    """A network up to one of its layers, the pooled vector of that, and new layers on it.

    Parameters
    ----------
    base : Module
        The network; what lies behind the cut is taken out of it.
    layer : Layer
        Where it is cut.
    head : Module
        Takes the (N, d) vectors.
    flatten : bool
        Whether the head takes all positions of the layer's map.
    prefix_tokens : int
        Of a transformer.
    """

    #: Of the plugin whose network it is, where that is known.
    caller = Caller("The network", ours=True)

    def __init__(self, base: nn.Module, layer: Layer, head: nn.Module, *, flatten: bool, prefix_tokens: int):
        super().__init__()
        self.base = base
        self.head = head
        self.layer, self.flatten, self.prefix_tokens = layer, flatten, prefix_tokens
        #: Batch normalisation that was folded when the weights were stored.
        self.folded: list[nn.Module] = []
        self._vector: Tensor | None = None
        self._hook = base.get_submodule(layer.module).register_forward_hook(self._take)

    def _take(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._vector = output.flatten(1) if self.flatten else pool(output, self.layer, self.prefix_tokens)
        raise _Cut

    def uncut(self) -> None:
        """Let the network run to its end again."""
        self._hook.remove()

    def vectors(self, batch: Tensor) -> Tensor:
        """Return the (N, d) float32 vectors at the cut of an (N, C, H, W) batch."""
        self._vector = None
        with forward_told(self.caller), suppress(_Cut):
            self.base(batch)
        vector, self._vector = self._vector, None
        width = next((each.in_features for each in self.head.modules() if isinstance(each, nn.Linear)), None)
        return checked_vectors(vector, self.caller, self.layer, len(batch), width).float()

    def forward(self, batch: Tensor) -> Tensor:
        """Return the (N, outputs) values of the last layer of an (N, C, H, W) batch."""
        found: Tensor = self.head(self.vectors(batch))
        return found


def split_layer(backbone: Backbone, text: str) -> tuple[Layer, bool]:
    """Return the layer that a text names, and whether its map is to be flattened."""
    stem, _, pooling = text.partition(":")
    return GuardedBackbone(backbone).layer(stem if pooling == FLATTEN else text), pooling == FLATTEN


def make_head(width: int, hidden: Sequence[int], dropout: float, outputs: int) -> nn.Sequential:
    """Return fully connected layers with ReLU between them; the last one is called ``output``."""
    layers: dict[str, nn.Module] = {}
    for number, wide in enumerate(hidden, 1):
        layers[f"hidden{number}"] = nn.Linear(width, wide)
        layers[f"relu{number}"] = nn.ReLU()
        width = wide
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["output"] = nn.Linear(width, outputs)
    head = nn.Sequential()
    for name, module in layers.items():
        head.add_module(name, module)
    return head


def cut_for_training(
    backbone: Backbone, layer: Layer, flatten: bool, inputs: int, size: int, *, once: bool = False
) -> tuple[nn.Module, int, int]:
    """Build a backbone and take out what lies behind a layer.

    Parameters
    ----------
    backbone : Backbone
    layer : Layer
    flatten : bool
    inputs : int
        Channels that go in; its first convolution is inflated where they are not those of its colours.
    size : int
        Side of the images.
    once : bool
        Refuse a layer that is used several times.

    Returns
    -------
    base : Module
        On the CPU; its parameters have gradients.
    width : int
        Of the vector at the layer.
    prefix_tokens : int

    Raises
    ------
    PluginError, StoreError, UsageError
    """
    guarded = GuardedBackbone(backbone)
    with network_memory_told(torch.device("cpu"), guarded.title):
        base = guarded.build()
    colours = len(guarded.preprocess().mean)
    if inputs != colours:
        inflate(base, colours, inputs, guarded.title)
    check_module(base, guarded, layer)
    if once:
        check_once(base, layer, torch.zeros(2, inputs, size, size), pooled=not flatten, foreign=not guarded.caller.ours)
    tokens = guarded.prefix_tokens(base)
    probe = TrainableNetwork(base, layer, nn.Identity(), flatten=flatten, prefix_tokens=tokens)
    with called(base) as reached:
        width = _width(probe, guarded, inputs, size)
    take_out_unused(base, reached, lambda: probe.vectors(torch.zeros(2, inputs, size, size)))
    probe.uncut()
    guarded.tensors(base)
    return base.requires_grad_(True), width, tokens


def _width(probe: TrainableNetwork, guarded: GuardedBackbone, inputs: int, size: int) -> int:
    """Return the width of the vectors; what a network raises is the size's fault where it runs on its own size."""
    shape, declared = (2, inputs, size, size), guarded.preprocess().size
    try:
        with torch.no_grad(), guarded.caller.call("forward()", through=REFUSALS, watched=False):
            return probe.vectors(torch.zeros(shape)).shape[1]
    except REFUSALS as error:
        if declared != size and not is_out_of_memory(error):
            with suppress(*REFUSALS), torch.no_grad():
                probe.vectors(torch.zeros(2, inputs, declared, declared))
                raise wrong_size(guarded, shape, declared, error) from error
        with guarded.caller.call("forward()", watched=False):
            raise


def size_of_positions(base: nn.Module) -> int | None:
    """Return the side of the images for which a transformer has positions, where it takes images of other sizes, too.

    So it has to be built again; of other networks none: their images have the size that they were built for, or any.
    """
    sides = getattr(getattr(base, "patch_embed", None), "img_size", None)
    return int(sides[0]) if sides and getattr(base, "dynamic_img_size", False) else None


def build_trainable(
    backbone: Backbone,
    text: str,
    *,
    hidden: Sequence[int],
    dropout: float,
    outputs: int,
    inputs: int,
    preprocess: Preprocess,
    classes: Sequence[str],
    channels: Sequence[str],
    facts: Mapping[str, Any],
    scale: NumberScale | None = None,
) -> tuple[TrainableNetwork, NetworkDescription]:
    """Build a backbone with its weights and new layers on one of its layers.

    Parameters
    ----------
    backbone : Backbone
    text : str
        The layer, as the head of a recipe names it: ``last``, a name or a path, with ``:POOL`` or ``:flatten``.
    """
    layer, flatten = split_layer(backbone, text)
    base, width, tokens = cut_for_training(backbone, layer, flatten, inputs, preprocess.size, once=True)
    head = make_head(width, hidden, dropout, outputs)
    described = NetworkDescription(
        backbone=backbone.name,
        layer=layer,
        flatten=flatten,
        width=width,
        hidden=tuple(hidden),
        dropout=dropout,
        outputs=outputs,
        inputs=inputs,
        preprocess=preprocess,
        classes=tuple(classes),
        channels=tuple(channels),
        facts=facts,
        scale=scale,
    )
    network = TrainableNetwork(base, layer, head, flatten=flatten, prefix_tokens=tokens)
    network.caller = GuardedBackbone(backbone).caller
    if not backbone.begun_at_random:
        # Random ones may look so, too: those of RepVGG begin with biases.
        network.folded = [module for module in base.modules() if is_folded(module)]
    return network, described


def rebuild(described: NetworkDescription, backbone: Backbone, tensors: Mapping[str, Tensor]) -> TrainableNetwork:
    """Build a trained network again, in evaluation mode.

    Parameters
    ----------
    described : NetworkDescription
    backbone : Backbone
        Of the described name; its own weights are not used.
    tensors : mapping
        Its parameters and statistics: ``base.…`` and ``head.…``.
    """
    layer, size = described.layer, described.preprocess.size
    base, _, tokens = cut_for_training(backbone, layer, described.flatten, described.inputs, size)
    head = make_head(described.width, described.hidden, described.dropout, described.outputs)
    network = TrainableNetwork(base, layer, head, flatten=described.flatten, prefix_tokens=tokens)
    network.caller = GuardedBackbone(backbone).caller
    fill_network(network, tensors)
    return network.eval().requires_grad_(False)
