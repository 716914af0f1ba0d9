"""How an image becomes a network's input, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, Literal, Self

from histokit.errors import UsageError, did_you_mean

Resize = Literal["squash", "center-square", "shortest-crop", "none"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
Adapter = Literal["none", "each", "inflate"]

RESIZES: tuple[str, ...] = ("squash", "center-square", "shortest-crop", "none")
INTERPOLATIONS: tuple[str, ...] = ("bilinear", "bicubic", "nearest")
ADAPTERS: tuple[str, ...] = ("none", "each", "inflate")
#: Side of an input in pixels; a few that are larger would not go into any memory.
LARGEST_SIZE = 8_192
#: Statistics of images on a scale of 0 to 1 are smaller; a larger std may be meant to shrink what goes in.
LARGEST = {"mean": 1.0, "std": 2.0}


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
    adapter : str
        How channels meet a network of three colours. ``none``: as many as it takes go in, and a single one is repeated;
        ``each``: every channel goes in on its own, repeated, and the vectors are joined; ``inflate``: the weights of
        its first convolution are repeated over all of them, times 3 / n (Wightman's timm).
    transforms : tuple
        Ordered pixel operations before resizing: ``(name, {parameter: value})``.
    target_mpp : float, optional
        Micrometres per pixel to bring samples of a known ``mpp`` to before resizing, which only ``none`` leaves so.
    resize_size : int, optional
        What ``resize`` brings sides to in place of ``size``, of which the central ``size`` is cut out then: with
        ``shortest-crop``, torchvision's ``Resize(resize_size)`` and ``CenterCrop(size)``.
    """

    size: int = 224
    resize: Resize = "squash"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: tuple[str, ...] = ()
    transforms: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    target_mpp: float | None = None
    adapter: Adapter = "none"
    resize_size: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("resize", RESIZES), ("interpolation", INTERPOLATIONS), ("adapter", ADAPTERS)):
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
        self._check_resize_size()

    def _check_resize_size(self) -> None:
        if self.resize_size is None:
            return
        if self.resize == "none":
            raise UsageError(
                f"Preprocessing resize_size={self.resize_size} is impossible with resize=none, which keeps the size.",
                next="Leave resize_size out, or say how images are brought to it, such as resize=shortest-crop.",
            )
        if self.resize_size < self.size:
            raise UsageError(
                f"Preprocessing resize_size={self.resize_size} is impossible: size={self.size} is cut out of it.",
                next=f"Give a resize_size of at least {self.size}, or none.",
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
        if fields["adapter"] == "none":
            del fields["adapter"]
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
        for name, side in (("size", self.size), ("resize_size", self.resize_size or 0)):
            if side > LARGEST_SIZE and self.resize != "none":
                raise UsageError(
                    f"{origin}: {name}={side} is too large.", next=f"Give a {name} of 1 to {LARGEST_SIZE:,} pixels."
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
    adapter: str = "none",
    resize_size: int | None = None,
) -> None:
    """Hold the annotations by which texts are converted."""
