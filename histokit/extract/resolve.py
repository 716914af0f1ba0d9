"""From a backbone's name to all that its features depend on; remembered, so that a cached run loads no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histokit.errors import UsageError
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.digests import digest_file, digest_json
from histokit.plugin.manager import registry, split_backbone_name
from histokit.plugin.weights import FOLDER_VARIABLE, PRETRAINED, RANDOM
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

    def spec(
        self, layer: Layer, channels: Sequence[str], precision: str, store_dtype: str = "float32"
    ) -> dict[str, Any]:
        """Return the spec of a feature table: all that its vectors depend on but the image."""
        # Left out at its default, so that the fingerprints of all tables before it stay.
        stored = {} if store_dtype == "float32" else {"store_dtype": store_dtype}
        return stored | {
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
    store: Store,
    name: str,
    weights: str,
    changes: Mapping[str, str] | Preprocess,
    layers: Sequence[str],
    *,
    confirm: bool = False,
) -> ResolvedBackbone:
    """Resolve a backbone, from the store's memory where nothing that it was found from has changed.

    Parameters
    ----------
    store : Store
    name, weights : str
    changes : mapping or Preprocess
        Changes to the preprocessing that comes with the weights, or what takes its place.
    layers : sequence of str
        Of ``all``, ``last``, curated names and module paths.
    confirm : bool
        Ask the plugin whether the weights would still come from the remembered file, as before they are loaded.

    Raises
    ------
    PluginError
        If there is no such backbone.
    StoreError
        If its weights cannot be had.
    UsageError
        If a preprocessing change is impossible, or no layer is named.
    """
    weights = _absolute(weights)
    key = _key(name, weights)
    known = store.remembered(key)
    moved = confirm and known is not None and _weights_file(registry().backbone(name, weights)) != known["source"]
    if known is None or moved or _surroundings(weights, known["source"]) != known["state"]:
        known = _look_up(name, weights)
        store.remember(key, known)
    names = _wanted(layers, [layer["name"] for layer in known["layers"]])
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


def _wanted(layers: Sequence[str], curated: Sequence[str]) -> list[str]:
    asked = [text.strip() for text in layers if text.strip()]
    if not asked:
        raise UsageError("No layer is named.", next="Write --layers all, --layers last, or names separated by commas.")
    return [name for text in asked for name in (curated if text == "all" else [text])]


def _look_up(name: str, weights: str) -> dict[str, Any]:
    backbone = registry().backbone(name, weights)
    source = _weights_file(backbone)
    curated = {layer.name: asdict(layer) for layer in backbone.layers}
    return {
        "found": curated | {"last": asdict(backbone.layer("last"))},
        "name": backbone.name,
        "weights": digest_file(Path(source)).hex() if source else backbone.weights,
        "source": source,
        "state": _surroundings(weights, source),
        "layers": list(curated.values()),
        "preprocess": backbone.preprocess.to_json(),
        "licence": backbone.licence,
    }


def _key(name: str, weights: str) -> str:
    base, _ = split_backbone_name(name)
    prefix, colon, _ = base.partition(":")
    entry = registry().backbones.get(prefix + ":" if colon else base, [])
    known = [name, weights, os.environ.get(FOLDER_VARIABLE), [e.distribution for e in entry], _versions()]
    return digest_json(known).hex()


def _versions() -> list[str | None]:
    found: list[str | None] = []
    for library in _LIBRARIES:
        try:
            found.append(version(library))
        except PackageNotFoundError:
            found.append(None)
    return found


def _absolute(weights: str) -> str:
    """Return a path that does not depend on the working folder, so that the same weights are found again."""
    path = Path(weights).expanduser()
    named = weights.partition(":")[0] in (PRETRAINED, RANDOM)
    return weights if named or not path.exists() else str(path.absolute())


def _weights_file(backbone: Backbone) -> str:
    path = backbone.weights_file()
    return "" if path is None else str(path)


def _surroundings(weights: str, source: str) -> list[list[int] | None]:
    """Return the state of all files that decide which weights are taken and how images are prepared for them."""
    file = Path(source)
    configurations = [file.with_suffix(".json"), Path(f"{source}.json"), file.parent / "config.json"] if source else []
    # The state of a folder changes with the names in it: a file may have come that goes first.
    chosen_from = [os.environ.get(FOLDER_VARIABLE, "") if weights == PRETRAINED else weights]
    return [_state(str(path)) for path in (source, *configurations, *chosen_from)]


def _state(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
