"""From a backbone's name to all that its features depend on; remembered, so that a cached run loads no network."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histokit.errors import PluginError, UsageError
from histokit.files import refuse_undecoded
from histokit.networks.resolved import ResolvedBackbone
from histokit.networks.trained_runs import find_trained
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.digests import digest_bytes, digest_file, digest_json
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registered_backbone, registry
from histokit.plugin.weights import PRETRAINED, RANDOM, TRAINED
from histokit.plugin.weights_folder import FOLDER_VARIABLE, named_folder
from histokit.store import Store

#: Named anew when other weights, layers, arguments or preprocessing are found for a request.
_MEMORY = 8

_LIBRARIES = ("histokit", "timm", "torchvision", "scikit-image")


def resolve_backbone(
    store: Store,
    name: str,
    weights: str,
    changes: Mapping[str, str] | Preprocess,
    layers: Sequence[str],
    *,
    confirm: bool = False,
    keep: bool = True,
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
    keep : bool
        Write what was found out into the store.

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
    entry, key, place = registered_backbone(name), _key(store, name, weights), str(store.uri)
    known = store.remembered(key)
    moved = confirm and known is not None and _weights_file(_guarded(name, weights, place)) != known["source"]
    # What is installed besides may be edited at any time: only digests of weights are remembered of it.
    if known is None or moved or entry.third_party or _surroundings(weights, known["source"]) != known["state"]:
        before, known = known, _look_up(name, weights, known, place)
        if keep and known != before:
            store.remember(key, known)
    names = _wanted(layers, [layer["name"] for layer in known["layers"]])
    if not known["layers"] and any(text.strip().partition(":")[0] in ("all", "last") for text in layers):
        raise PluginError(
            f"The backbone {name!r} of {entry.distribution} gave no layers: all and last stand for nothing.",
            next=f"Name a module path. See: histokit list layers {name} --modules",
        )
    found = {text: Layer(**layer) for text, layer in known["found"].items()}
    if not found.keys() >= set(names):
        backbone = _guarded(name, weights, place)
        found |= {text: backbone.layer(text) for text in names if text not in found}
        if keep:
            store.remember(key, {**known, "found": {text: asdict(layer) for text, layer in found.items()}})
    preprocess = _preprocess(known, changes)
    whole = isinstance(changes, Preprocess)
    return ResolvedBackbone(
        name=known["name"],
        request=weights,
        weights=known["weights"],
        source=known["source"],
        layers=tuple(Layer(**layer) for layer in known["layers"]),
        preprocess=preprocess,
        licence=known["licence"],
        chosen=tuple({found[text].name: found[text] for text in names}.values()),
        version=known["version"],
        plugin=entry.distribution if entry.third_party else "",
        code=known["code"],
        arguments=known["arguments"],
        origin="as asked for" if whole else known["origin"],
        changes=changes.to_texts() if isinstance(changes, Preprocess) else dict(changes),
        notes=tuple(known["notes"]),
        operations=tuple(known["operations"]) if known["operations"] else None,
        store=place,
    )


def _preprocess(known: Mapping[str, Any], changes: Mapping[str, str] | Preprocess) -> Preprocess:
    if isinstance(changes, Preprocess):
        return changes
    absent = [name for name in known["undeclared"] if name not in changes]
    if absent:
        file = known["source"]
        likely = Preprocess.from_json(known["preprocess"])
        options = likely.statistics_options(absent)
        where = ""
        if file:
            values = json.dumps({name: list(getattr(likely, name)) for name in absent})
            where = f"; or write them into {Path(file).with_suffix('.json')}: {values}"
        raise UsageError(
            f"How images are prepared for {known['name']} is not known: nobody tells {' and '.join(absent)} of "
            f"{file or 'its weights'}.",
            next=f"Add {options}{where}, with the values that it was trained with; these are of the library's "
            "default weights.",
        )
    found = Preprocess.from_json(known["preprocess"]).override(changes)
    if found.resize == "none" and "size" in changes:
        raise UsageError(
            f"{known['name']} takes images as they are: size={changes['size']} would change nothing.",
            next=f"Leave size out (that of another network alone is --preprocess BACKBONE/size={changes['size']}), or "
            "say how images are brought to it: --preprocess resize=squash",
        )
    found.check_scale(f"Preprocessing of {known['name']}")
    return found


def _wanted(layers: Sequence[str], curated: Sequence[str]) -> list[str]:
    asked = [text.strip() for text in layers if text.strip()]
    if not asked:
        raise UsageError("No layer is named.", next="Write --layers all, --layers last, or names separated by commas.")
    return [name for text in asked for name in (curated if text == "all" else [text])]


def _look_up(name: str, weights: str, before: Mapping[str, Any] | None, store: str) -> dict[str, Any]:
    guarded = _guarded(name, weights, store)
    backbone, source = guarded.backbone, _weights_file(guarded)
    state = _surroundings(weights, source)
    # A file in the same state is not read again.
    same = before is not None and source and (before["source"], before["state"]) == (source, state)
    # Beside all else that is found out, which takes about as long where weights are large.
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_digest_in, source, *(state[0] or ())) if source and not same else None
        curated = {layer.name: asdict(layer) for layer in guarded.layers()}
        found = curated | {"last": asdict(guarded.layer("last"))}
        facts = guarded.facts()
    return {
        "found": found,
        **facts,
        "weights": digest.result() if digest else before["weights"] if before and same else backbone.weights,
        "source": source,
        "state": state,
        "layers": list(curated.values()),
        "preprocess": guarded.preprocess().to_json(),
        "code": _code(backbone) if registered_backbone(name).third_party else "",
    }


@lru_cache(maxsize=64)
def _digest_in(source: str, *_state: int) -> str:
    """Return the digest of a weights file, which is not read again for another store as long as it has that state."""
    return digest_file(Path(source)).hex()


def _key(store: Store, name: str, weights: str) -> str:
    known = [
        _MEMORY,
        name,
        weights,
        named_folder() or None,
        registered_backbone(name).distribution,
        _versions(),
    ]
    if name.startswith(TRAINED):
        # A run may be done again.
        known.append(find_trained(store, name).entry["digest"])
    return digest_json(known).hex()


def _code(backbone: Backbone) -> str:
    """Return the digest of the modules that a plugin's class lies among: its package, or its one file."""
    module = sys.modules.get(type(backbone).__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return ""
    root = sys.modules.get(module.__name__.partition(".")[0])
    package = Path(str(root.__file__)).parent if root is not None and getattr(root, "__path__", None) else None
    files = sorted(package.rglob("*.py")) if package and getattr(root, "__file__", None) else [Path(file)]
    return digest_bytes(*(path.read_bytes() for path in files)).hex()


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
    if named or not path.exists():
        return weights
    refuse_undecoded(path.absolute(), "the weights", next="Rename the folder, or put them into another one.")
    return str(path.absolute())


def _guarded(name: str, weights: str, store: str) -> GuardedBackbone:
    return GuardedBackbone(registry().backbone(name, weights, store), name)


def _weights_file(backbone: GuardedBackbone) -> str:
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
