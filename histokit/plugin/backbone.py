"""What a backbone plugin is: `Layer` and the base class `Backbone`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histokit.errors import UsageError, did_you_mean
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import RANDOM

if TYPE_CHECKING:
    import torch

Pooling = Literal["avg", "max", "cls", "cls-mean", "none"]
POOLINGS: tuple[str, ...] = ("avg", "max", "cls", "cls-mean", "none")


@dataclass(frozen=True)
class Layer:
    """A cut point of a network.

    Parameters
    ----------
    name : str
        What addresses say; usually the module path.
    module : str
        Dotted path of the module whose output is taken; empty for the network's own output.
    pool : str
        How the output becomes a vector: ``avg`` and ``max`` over positions of an (N, C, H, W) map or
        over the patch tokens of an (N, T, C) sequence; ``cls`` the class token; ``cls-mean`` the class
        token joined with the mean of the patch tokens; ``none`` where it is a vector already.
    channels_last : bool
        Whether the module's map is (N, H, W, C), as in Swin and ConvNeXt blocks.
    composite : bool
        Whether it only joins the outputs of other layers, so that merging ``all`` leaves it out.
    """

    name: str
    module: str
    pool: Pooling = "avg"
    channels_last: bool = False
    composite: bool = False


@dataclass(frozen=True)
class BackboneRequest:
    """What a backbone's loader is asked for.

    Parameters
    ----------
    name : str
        The whole name with its options sorted, as it stands in addresses:
        ``timm:mobilenetv2_100,pad_type=same``.
    model : str
        The name without options, and behind a prefix only the remainder: ``mobilenetv2_100``.
    options : mapping
        Builder options, as texts: ``{"pad_type": "same"}``.
    weights : str
        ``pretrained``, ``random`` or ``random:SEED``, or the path of a file or folder.
    store : str, optional
        The path of the store that the features go to, where there is one.
    arguments : mapping
        Of a network that was trained further, and is built again without the weights that it began with: what stood in
        a file beside these of how it is built, `Backbone.building_arguments`.
    size : int, optional
        Of such a network: its `Backbone.building_size`, or the side of the images that it was trained on.
    """

    name: str
    model: str
    options: Mapping[str, str] = field(default_factory=dict)
    weights: str = "pretrained"
    store: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None


@dataclass
class Backbone:
    """A network, its weights and how to feed it; base class of backbone plugins.

    Nothing heavy is loaded before `build` is called.

    Parameters
    ----------
    name : str
        The whole name, prefix and sorted builder options included.
    layers : sequence of Layer
        Curated cut points in depth order; the last one is what ``last`` stands for.
    preprocess : Preprocess
    weights : str
        ``pretrained``, ``random:SEED``, ``none`` (a network that has no weights), or a path.
    licence : str, optional
        Of the weights, shown to the user.
    info : mapping
        Further facts for ``list backbones``.
    version : str
        Raised when other vectors come out of the same weights, because `build` or what it calls has changed. It is
        in the fingerprint of features, as is the version of the distribution that a plugin comes in.
    preprocess_origin : str
        Whose preprocessing it is, in words such as ``of net.json``; shown to the user.
    undeclared : sequence of str
        Fields of the preprocessing that nobody tells for these weights, and that have to be asked for.
    operations : tuple of float and int, optional
        Billions of multiplications and additions for one image, and the side of that image in pixels; by these, how
        long an extraction takes is estimated before one ran.
    """

    name: str
    layers: Sequence[Layer] = ()
    preprocess: Preprocess = field(default_factory=Preprocess)
    weights: str = "pretrained"
    licence: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    version: str = "1"
    preprocess_origin: str = ""
    undeclared: Sequence[str] = ()
    operations: tuple[float, int] | None = None

    @property
    def weights_notes(self) -> Sequence[str]:
        """What a user should know of the weights that are taken."""
        return ()

    @property
    def file_arguments(self) -> Mapping[str, Any]:
        """What a file beside the weights says of how the network is built; in the fingerprint of features."""
        return {}

    @property
    def building_arguments(self) -> Mapping[str, Any]:
        """All that such a file says of that, be it in the fingerprint or not: so a trained network is built again."""
        return self.file_arguments

    @property
    def building_size(self) -> int | None:
        """Side of the images that the network is built for, whatever it is run on; none where that is not known."""
        return None

    @property
    def begun_at_random(self) -> bool:
        """Whether the weights are random, or were trained from such."""
        return self.weights.partition(":")[0] == RANDOM

    @property
    def building_name(self) -> str:
        """By what name the architecture is built, given `building_arguments`, where no file of this machine is."""
        return self.name

    def weights_file(self) -> Path | None:
        """Return the file whose bytes identify the weights, fetched if it must be; none where there is none.

        Raises
        ------
        StoreError
            If the weights cannot be had.
        """
        return None

    def build(self) -> torch.nn.Module:
        """Return the network with its weights loaded, in evaluation mode, on the CPU.

        It takes an (N, C, H, W) float32 batch, preprocessed as `preprocess` says and in memory as torch's
        ``channels_last``, and does not write into it.

        Raises
        ------
        StoreError
            If the weights cannot be had or do not fit the network.
        """
        raise TypeError(f"{type(self).__name__} does not define build()")

    def prefix_tokens(self, network: torch.nn.Module) -> int:
        """Return how many class and register tokens precede the patch tokens of a transformer.

        Where the network has no ``num_prefix_tokens``: 1. A network of patch tokens alone has to return 0 here: its
        means leave out the first token otherwise, unless their number shows that all are patches (16 or more, as many
        as rows times columns of the image).
        """
        return int(getattr(network, "num_prefix_tokens", 1))

    def layer(self, name: str) -> Layer:
        """Return the cut point of a name: ``last``, a curated name or any module path, with ``:POOL`` or without.

        Raises
        ------
        UsageError
            If the pooling is unknown.
        """
        stem, _, pool = name.partition(":")
        known = {layer.name: layer for layer in self.layers}
        found = self.layers[-1] if stem == "last" and self.layers else known.get(stem, Layer(stem, stem))
        if not pool:
            return found
        if pool not in POOLINGS:
            raise UsageError(
                f"Pooling {pool!r} of {self.name}/{name} is unknown.",
                next=f"{did_you_mean(pool, POOLINGS)}Use one of {', '.join(POOLINGS)}.",
            )
        return replace(found, name=f"{found.name}:{pool}", pool=pool)  # type: ignore[arg-type]
