"""A network that a run trained, as a backbone: its layers up to where it was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import StoreError, UsageError
from histokit.networks.trained_runs import find_trained
from histokit.plugin.backbone import Backbone, BackboneRequest, Layer
from histokit.plugin.checkpoint import fill_network
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registered_backbone, registry
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import PRETRAINED, RANDOM
from histokit.store.networks import StoredNetwork

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.networks.trainable import NetworkDescription, TrainableNetwork


_AS_TRAINED = "Install the versions of the libraries that it was trained with: histokit list runs --json"


def base_backbone(described: NetworkDescription, store: str | None) -> Backbone:
    """Return the backbone that a network was trained from, of which the architecture is wanted and no weights."""
    facts = described.facts
    name = facts.get("architecture", described.backbone)
    return bare_backbone(name, store, facts.get("arguments", {}), _built_for(described))


def _built_for(described: NetworkDescription) -> int:
    return int(described.facts.get("size", described.preprocess.size))


def bare_backbone(name: str, store: str | None, arguments: Mapping[str, Any], size: int | None = None) -> Backbone:
    """Return a backbone of which the architecture is wanted and no weights.

    Parameters
    ----------
    name : str
    store : str, optional
    arguments : mapping
        What a file beside its first weights said of how it is built.
    size : int, optional
        Side of the images that it is built for.
    """
    built: dict[str, Any] = {"arguments": arguments, "size": size}
    try:
        return registry().backbone(name, RANDOM, store, **built)
    except UsageError:
        # Of a backbone that has no random weights.
        return registry().backbone(name, PRETRAINED, store, **built)


def rebuild_stored(described: NetworkDescription, tensors: Mapping[str, Tensor], store: str | None) -> TrainableNetwork:
    """Build a trained network again, with the pretrained weights of nothing.

    Parameters
    ----------
    described : NetworkDescription
    tensors : mapping
    store : str, optional
        Where the network is that it was trained from, if that was one of a run.

    Raises
    ------
    StoreError
        If the backbone is another here.
    """
    from histokit.networks.trainable import rebuild

    try:
        return rebuild(described, base_backbone(described, store), tensors)
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        raise StoreError(
            f"The network cannot be built: {described.backbone} is another one here ({_first_key(error)}).",
            next=_AS_TRAINED,
        ) from error


def _first_key(error: RuntimeError) -> str:
    return str(error).splitlines()[-1].strip().split(". ")[0]


def check_channels(described: NetworkDescription, channels: Sequence[str]) -> None:
    """Raise unless images of some channels are what a network was trained on.

    Raises
    ------
    StoreError
    """
    named = described.preprocess.channels
    wanted, given = list(named or described.channels), [c for c in channels if c in named] if named else list(channels)
    if sorted(wanted) == sorted(given) if named else wanted == given:
        return
    raise StoreError(
        f"The network was trained on the channels {', '.join(wanted)}; the images have {', '.join(channels)}.",
        next="Predict images of the same channels.",
    )


class TrainedBackbone(Backbone):
    """A network of a run.

    Parameters
    ----------
    request : BackboneRequest
    """

    def __init__(self, request: BackboneRequest):
        if request.weights != PRETRAINED:
            raise UsageError(
                f"{request.name} has the weights that it was trained to, and takes no others: not {request.weights}.",
                next="Leave out --weights.",
            )
        self._store = request.store
        self._found = find_trained(request.store, request.name)
        self.name = self._found.name
        self.weights = PRETRAINED
        self.undeclared, self.info = (), {}
        self.preprocess_origin = f"of the run {self._found.run.id}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @cached_property
    def _stored(self) -> StoredNetwork:
        return self._found.networks.read(self._found.run, self._found.entry)

    @cached_property
    def described(self) -> NetworkDescription:
        """How the network is built."""
        from histokit.networks.trainable import NetworkDescription

        return NetworkDescription.from_json(self._stored.document)

    @cached_property
    def _base(self) -> Backbone:
        return base_backbone(self.described, self._store)

    @cached_property
    def layers(self) -> Sequence[Layer]:  # type: ignore[override]
        """The cut points of the backbone that it was trained from, up to where it was cut; that is the last one."""
        curated, cut = list(GuardedBackbone(self._base).layers()), self.described.layer
        modules = [layer.module for layer in curated]
        if cut.module in modules:
            return curated[: modules.index(cut.module) + 1]
        reached = self._reached(modules)
        return [layer for layer in curated if layer.module in reached] + [replace(cut, name=cut.module)]

    def layer(self, name: str) -> Layer:
        """Return the cut point of a name: ``last``, a curated name, or the path of a module that was trained.

        Raises
        ------
        UsageError
            If there is none, or it lies behind the cut.
        """
        stem = name.partition(":")[0]
        if stem == "last" or stem in {layer.name for layer in self.layers}:
            return super().layer(name)
        found = self._base.layer(name)
        if found.module not in self._reached([found.module]):
            raise UsageError(
                f"{self.name} was cut at the layer {self.described.layer.name!r}; {stem!r} lies behind it, or is none.",
                next=f"Choose another layer: histokit list layers {self.name}",
            )
        return found

    def _reached(self, modules: Sequence[str]) -> set[str]:
        """Return which modules give their outputs before the network is cut."""
        import torch

        described = self.described
        network = rebuild_stored(described, self._stored.tensors, self._store)
        there, fired = dict(network.base.named_modules()), set()
        for name in modules:
            if name in there:
                there[name].register_forward_hook(lambda *_, name=name: fired.add(name))
        with torch.inference_mode():
            network.vectors(torch.zeros(2, described.inputs, described.preprocess.size, described.preprocess.size))
        return fired

    @cached_property
    def preprocess(self) -> Preprocess:  # type: ignore[override]
        """Of the run; where the first convolution was inflated, with a mean and a std for each channel."""
        from histokit.networks.adapters import over_channels

        found, inputs = self.described.preprocess, self.described.inputs
        if found.adapter != "inflate":
            return found
        mean, std = (over_channels(values, inputs) for values in (found.mean, found.std))
        return replace(found, adapter="none", mean=mean, std=std)

    @cached_property
    def licence(self) -> str | None:  # type: ignore[override]
        """Of the weights that it was trained from."""
        before = self.described.facts.get("licence")
        how = f"fine-tuned on {self._found.run.dataset}"
        if self._found.run.classifier == "from-scratch":
            return f"that of the data: trained from scratch on {self._found.run.dataset}"
        return f"{before} ({how})" if before else how

    @cached_property
    def version(self) -> str:  # type: ignore[override]
        """Of the backbone that it was trained from, with the distribution where that is a third party's."""
        entry = registered_backbone(self.described.backbone)
        own = str(self._base.version)
        return f"{own} of {entry.distribution}" if entry.third_party else own

    @cached_property
    def file_arguments(self) -> Mapping[str, Any]:
        """What a file beside the weights that it was trained from said of how it is built."""
        return dict(self.described.facts.get("arguments", {}))

    @property
    def building_size(self) -> int | None:
        """Of the backbone that it was trained from."""
        return _built_for(self.described)

    @property
    def begun_at_random(self) -> bool:
        """Whether the first training of the network began with random weights."""
        return bool(self.described.facts.get("begun_at_random"))

    @cached_property
    def operations(self) -> tuple[float, int] | None:  # type: ignore[override]
        """Of the backbone that it was trained from."""
        return self._base.operations

    def weights_file(self) -> Path | None:
        """Return the stored file, once it is known to be what was written.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        return self._found.networks.require(self._found.run, self._found.entry)

    def build(self) -> nn.Module:
        """Return the network with its weights; what lies behind the cut is no number, so that nothing rests on it."""
        import torch

        from histokit.networks.adapters import inflate

        guarded = GuardedBackbone(self._base)
        network, colours = guarded.build(), len(guarded.preprocess().mean)
        if self.described.inputs != colours:
            inflate(network, colours, self.described.inputs, self.name)
        trained = {k.removeprefix("base."): v for k, v in self._stored.tensors.items() if k.startswith("base.")}
        own = network.state_dict()
        wrong = sorted(k for k, v in trained.items() if k not in own or own[k].shape != v.shape)
        if wrong:
            raise StoreError(
                f"The network {self.name} cannot be built: {self.described.backbone} has no such {wrong[0]!r} here.",
                next=_AS_TRAINED,
            )
        with torch.no_grad():
            for key, tensor in own.items():
                if key not in trained and tensor.is_floating_point():
                    tensor.fill_(torch.nan)
        fill_network(network, trained, strict=False)
        return network.eval().requires_grad_(False)

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many tokens precede the patch tokens."""
        return GuardedBackbone(self._base).prefix_tokens(network)
