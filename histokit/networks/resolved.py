"""A backbone without its network: all that its features depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from histokit.plugin import Layer, Preprocess
from histokit.store.fingerprints import EXTRACTION_VERSION

#: Batched antialiased resizing of uint8 pixels by torch; named anew when its results change.
RESIZE_ENGINE = "torch-uint8-antialias-1"

#: How CUDA resizes for the tables that are made now. Not in the spec, which names no device, because the grey levels
#: are those of processors; tables in whose facts it is missing may hold vectors that CUDA made of others.
CUDA_RESIZING = "as-processors"


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone without its network.

    Parameters
    ----------
    name : str
        With its options sorted.
    request : str
        The weights asked for.
    weights : str
        Digest of the weights file's bytes, or ``random:SEED``, or ``none``.
    source : str
        The weights file, for people.
    layers : tuple of Layer
        The curated cut points in depth order.
    preprocess : Preprocess
    licence : str, optional
    chosen : tuple of Layer
        The layers asked for, each once.
    version : str
        Of the backbone; raised by its author when other vectors come out.
    plugin : str
        Name and version of the distribution that it comes in; empty for built-in ones.
    code : str
        Digest of the plugin's modules; empty for built-in ones.
    origin : str
        Whose preprocessing it is, in words.
    changes : mapping
        What was asked for in place of that, as texts.
    arguments : mapping
        What a file beside the weights says of how the network is built, where it decides.
    notes : tuple of str
        What is to be known of the weights.
    operations : tuple of float and int, optional
        Billions of multiplications and additions for one image, and its side.
    store : str, optional
        The store that it was resolved for.
    """

    name: str
    request: str
    weights: str
    source: str
    layers: tuple[Layer, ...]
    preprocess: Preprocess
    licence: str | None
    chosen: tuple[Layer, ...]
    version: str = "1"
    plugin: str = ""
    code: str = ""
    origin: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    operations: tuple[float, int] | None = None
    store: str | None = None

    @property
    def weights_used(self) -> str:
        """The weights for people: their file, ``random:SEED`` or ``none``."""
        return self.source or self.weights

    def describe(self) -> str:
        """Say which weights are used, and how images are prepared for them."""
        mean, std = (
            " ".join(f"{value:g}" for value in values) for values in (self.preprocess.mean, self.preprocess.std)
        )
        asked = "as asked for" if {"mean", "std"} <= set(self.changes) else self.origin
        size = "any size" if self.preprocess.resize == "none" else f"{self.preprocess.size} pixels"
        size += f" out of {self.preprocess.resize_size}" if self.preprocess.resize_size else ""
        tail = f" ({asked})" if asked else ""
        tail += {"each": "; each channel on its own", "inflate": "; first convolution inflated"}.get(
            self.preprocess.adapter, ""
        )
        return f"{self.name}: weights {self.weights_used}; {size}, mean {mean}, std {std}{tail}"

    def to_json(self) -> dict[str, Any]:
        """Return what is used, as JSON-serialisable data."""
        return {
            "backbone": self.name,
            "described": self.describe(),
            "weights": self.weights_used,
            "digest": self.weights,
            "version": self.version,
            "plugin": self.plugin or None,
            "preprocess": self.preprocess.to_json(),
            "preprocess_origin": self.origin,
        }

    def spec(
        self,
        layer: Layer,
        channels: Sequence[str],
        precision: str,
        store_dtype: str = "float32",
        engine: str = "torch",
    ) -> dict[str, Any]:
        """Return the spec of a feature table: all that its vectors depend on but the image."""
        # Left out at its default, so that the fingerprints of all tables before it stay.
        others: dict[str, Any] = {} if store_dtype == "float32" else {"store_dtype": store_dtype}
        others |= {} if engine == "torch" else {"engine": engine}
        others |= {} if self.version == "1" else {"version": self.version}
        others |= {"plugin": self.plugin} if self.plugin else {}
        others |= {"arguments": dict(self.arguments)} if self.arguments else {}
        return others | {
            "backbone": self.name,
            "weights": self.weights,
            "layer": layer.name,
            "module": layer.module,
            "pool": layer.pool,
            "preprocess": self.preprocess.fingerprint_fields(),
            "resize_engine": RESIZE_ENGINE,
            "channels": list(channels),
            "precision": precision,
            "extraction_version": EXTRACTION_VERSION,
        }

    def info(self, layer: Layer) -> dict[str, Any]:
        """Return facts of a layer that do not alter its vectors."""
        names = [known.name for known in self.layers]
        merged = [known.name for known in self.layers if not known.composite]
        found: dict[str, Any] = {"layers": names, "merged": merged, "source": self.source, "licence": self.licence}
        found["weights_request"] = self.request
        found["preprocess_request"] = dict(self.changes)
        found["cuda_resizing"] = CUDA_RESIZING
        if self.code:
            found["code"] = self.code
        if layer.name in names:
            found["index"] = names.index(layer.name)
        stem, _, pool = layer.name.partition(":")
        if names and stem == names[-1]:
            found["aliases"] = ["last" + (f":{pool}" if pool else "")]
        return found
