"""What a backbone plugin is: `Layer`, `Preprocess` and the base class `Backbone`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from histokit.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import torch

Pooling = Literal["avg", "max", "cls", "cls-mean", "none"]
Resize = Literal["squash", "center-square", "shortest-crop", "none"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]

POOLINGS: tuple[str, ...] = ("avg", "max", "cls", "cls-mean", "none")
RESIZES: tuple[str, ...] = ("squash", "center-square", "shortest-crop", "none")
INTERPOLATIONS: tuple[str, ...] = ("bilinear", "bicubic", "nearest")
#: Side of an input in pixels; a few that are larger would not go into any memory.
LARGEST_SIZE = 8_192
#: Statistics of images on a scale of 0 to 1 are smaller; a larger std may be meant to shrink what goes in.
LARGEST = {"mean": 1.0, "std": 2.0}


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
class Preprocess:
    """From an image to a network's input, as data that can be hashed.

    Parameters
    ----------
    size : int
        Side of the square input in pixels; unused where ``resize`` is ``none``.
    resize : str
        ``squash`` both sides to ``size``; ``center-square`` cuts the largest centred square first;
        ``shortest-crop`` brings the shorter side to ``size`` and cuts the centre; ``none`` keeps the size.
    interpolation : str
    mean, std : tuple of float
        Per channel, on a scale of 0 to 1.
    channels : tuple of str
        Names of the dataset's channels that go in, in order; empty for all.
    transforms : tuple
        Ordered pixel operations before resizing: ``(name, {parameter: value})``.
    target_mpp : float, optional
        Micrometres per pixel to bring samples of a known ``mpp`` to before resizing.
    """

    size: int = 224
    resize: Resize = "squash"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: tuple[str, ...] = ()
    transforms: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    target_mpp: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("resize", RESIZES), ("interpolation", INTERPOLATIONS)):
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(
                    f"Preprocessing {name}={value!r} is unknown.",
                    next=f"{did_you_mean(str(value), allowed)}Use one of {', '.join(allowed)}.",
                )
        positive = (*self.std, 1.0 if self.target_mpp is None else self.target_mpp)
        possible = all(isfinite(value) for value in (*self.mean, *positive)) and min(positive) > 0
        if self.size < 1 or not possible or len(self.mean) != len(self.std):
            target = "" if self.target_mpp is None else f", target_mpp={self.target_mpp}"
            raise UsageError(
                f"Preprocessing size={self.size}, mean={self.mean}, std={self.std}{target} is impossible.",
                next="Give a size of at least 1, as many positive std as mean, and a positive target_mpp or none.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON-serialisable data."""
        document = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in document.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`; fields that are absent are at their default."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        if "transforms" in values:
            values["transforms"] = tuple((name, dict(parameters)) for name, parameters in values["transforms"])
        return cls(**values)

    def to_texts(self) -> dict[str, str]:
        """Return the fields as `override` takes them; pixel operations, which it does not take, are left out."""
        fields = {k: v for k, v in self.to_json().items() if k != "transforms" and v not in (None, [])}
        return {k: ",".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in fields.items()}

    def statistics_options(self, names: Sequence[str]) -> str:
        """Return what to type for some of mean and std to be these ones."""
        texts = self.to_texts()
        return " ".join(f"--preprocess {name}={texts[name]}" for name in names)

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the fields that differ from their default, so that a field added later stales no cache."""
        default = Preprocess().to_json()
        return {k: v for k, v in self.to_json().items() if v != default[k]}

    def override(self, changes: Mapping[str, str]) -> Preprocess:
        """Return a copy with fields set from texts: ``{"size": "299", "mean": "0.5,0.5,0.5"}``.

        Raises
        ------
        UsageError
            If a field is unknown or its value has another type.
        """
        from histokit.plugin.options import convert_options

        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known or name == "transforms":
                settable = ", ".join(k for k in known if k != "transforms")
                raise UsageError(
                    f"Preprocessing has no field {name!r}.",
                    next=f"{did_you_mean(name, known)}Use one of {settable}.",
                )
        return replace(self, **convert_options(_settable, changes, "--preprocess"))

    def check_scale(self, origin: str) -> None:
        """Raise where the size, mean or std cannot be meant so: statistics of a scale of 0 to 255 for one of 0 to 1.

        Not looked at where preprocessing is made, so that what is stored can be read.

        Parameters
        ----------
        origin : str
            Whose they are, for messages.

        Raises
        ------
        UsageError
        """
        if self.size > LARGEST_SIZE and self.resize != "none":
            raise UsageError(
                f"{origin}: size={self.size} is too large.", next=f"Give a size of 1 to {LARGEST_SIZE:,} pixels."
            )
        for name in LARGEST:
            values = getattr(self, name)
            if hint := beyond_scale(name, values):
                listed = ",".join(f"{value:g}" for value in values)
                divided = ",".join(f"{value / 255:.4g}" for value in values)
                raise UsageError(
                    f"{origin}: {name}={listed}. {hint}", next=f"On that scale it would be: {name}={divided}"
                )


def beyond_scale(name: str, values: Sequence[float]) -> str:
    """Return what is wrong with a mean or std that is not of images on a scale of 0 to 1; empty where it may be."""
    if max(map(abs, values)) <= LARGEST[name]:
        return ""
    return f"Images go in on a scale of 0 to 1: divide a {name} of a scale of 0 to 255 by 255."


def _settable(
    size: int = 224,
    resize: str = "squash",
    interpolation: str = "bilinear",
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    channels: tuple[str, ...] = (),
    target_mpp: float | None = None,
) -> None:
    """Hold the annotations by which texts are converted."""


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
    """

    name: str
    model: str
    options: Mapping[str, str] = field(default_factory=dict)
    weights: str = "pretrained"


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

        It takes an (N, C, H, W) float32 batch, preprocessed as `preprocess` says.

        Raises
        ------
        StoreError
            If the weights cannot be had or do not fit the network.
        """
        raise TypeError(f"{type(self).__name__} does not define build()")

    def prefix_tokens(self, network: torch.nn.Module) -> int:
        """Return how many class and register tokens precede the patch tokens of a transformer."""
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
