"""From a backbone's name to all that its features depend on; remembered, so that a cached run loads no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histokit.plugin import Layer, Preprocess
from histokit.plugin.digests import digest_file, digest_json
from histokit.plugin.manager import registry, split_backbone_name
from histokit.store import Store
from histokit.store.fingerprints import EXTRACTION_VERSION

#: Batched antialiased resizing of uint8 pixels by torch; named anew when its results change.
RESIZE_ENGINE = "torch-uint8-antialias-1"

_LIBRARIES = ("histokit", "timm", "torchvision", "scikit-image")


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
    """

    name: str
    request: str
    weights: str
    source: str
    layers: tuple[Layer, ...]
    preprocess: Preprocess
    licence: str | None
    chosen: tuple[Layer, ...]

    def spec(self, layer: Layer, channels: Sequence[str], precision: str) -> dict[str, Any]:
        """Return the spec of a feature table: all that its vectors depend on but the image."""
        return {
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
        if layer.name in names:
            found["index"] = names.index(layer.name)
        stem, _, pool = layer.name.partition(":")
        if names and stem == names[-1]:
            found["aliases"] = ["last" + (f":{pool}" if pool else "")]
        return found


def resolve_backbone(
    store: Store, name: str, weights: str, changes: Mapping[str, str] | Preprocess, layers: Sequence[str]
) -> ResolvedBackbone:
    """Resolve a backbone, from the store's memory where its weights file is unchanged.

    Parameters
    ----------
    store : Store
    name, weights : str
    changes : mapping or Preprocess
        Changes to the preprocessing that comes with the weights, or what takes its place.
    layers : sequence of str
        ``all``, or ``last``, curated names and module paths.

    Raises
    ------
    PluginError
        If there is no such backbone.
    StoreError
        If its weights cannot be had.
    UsageError
        If a preprocessing change is impossible.
    """
    key = _key(name, weights)
    known = store.remembered(key)
    if known is None or _state(known["source"]) != known["state"]:
        known = _look_up(name, weights)
        store.remember(key, known)
    names = [layer["name"] for layer in known["layers"]] if list(layers) == ["all"] else list(layers)
    found = {text: Layer(**layer) for text, layer in known["found"].items()}
    if not found.keys() >= set(names):
        backbone = registry().backbone(name, weights)
        found |= {text: backbone.layer(text) for text in names if text not in found}
        store.remember(key, {**known, "found": {text: asdict(layer) for text, layer in found.items()}})
    preprocess = Preprocess.from_json(known["preprocess"])
    return ResolvedBackbone(
        name=known["name"],
        request=weights,
        weights=known["weights"],
        source=known["source"],
        layers=tuple(Layer(**layer) for layer in known["layers"]),
        preprocess=changes if isinstance(changes, Preprocess) else preprocess.override(changes),
        licence=known["licence"],
        chosen=tuple({found[text].name: found[text] for text in names}.values()),
    )


def _look_up(name: str, weights: str) -> dict[str, Any]:
    backbone = registry().backbone(name, weights)
    path = backbone.weights_file()
    curated = {layer.name: asdict(layer) for layer in backbone.layers}
    return {
        "found": curated | {"last": asdict(backbone.layer("last"))},
        "name": backbone.name,
        "weights": backbone.weights if path is None else digest_file(path).hex(),
        "source": "" if path is None else str(path),
        "state": _state("" if path is None else str(path)),
        "layers": list(curated.values()),
        "preprocess": backbone.preprocess.to_json(),
        "licence": backbone.licence,
    }


def _key(name: str, weights: str) -> str:
    base, _ = split_backbone_name(name)
    prefix, colon, _ = base.partition(":")
    entry = registry().backbones.get(prefix + ":" if colon else base, [])
    given = Path(weights).expanduser()
    beside = sorted(str(_state(str(p))) for p in (given, given.with_suffix(".json"), Path(f"{given}.json")))
    known = [name, weights, beside, os.environ.get("HISTOKIT_WEIGHTS"), [e.distribution for e in entry], _versions()]
    return digest_json(known).hex()


def _versions() -> list[str | None]:
    found: list[str | None] = []
    for library in _LIBRARIES:
        try:
            found.append(version(library))
        except PackageNotFoundError:
            found.append(None)
    return found


def _state(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
