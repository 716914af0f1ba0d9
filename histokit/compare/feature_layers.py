"""Which layers of which networks a run was trained on, and how to write that down shortly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from histokit.errors import StoreError
from histokit.finetune.network_question import FROM_SCRATCH
from histokit.store import RunRecord, Store
from histokit.store.vectors import FeatureTable

#: What the name of a network begins with that was fine-tuned here; the id of its run follows.
TUNED_HERE = "run:"
#: What the name of a network that was trained from random weights begins with.
SCRATCH = "from-scratch"
_MARK = 6
_FEW = 3
#: Fingerprints, and options of networks, in an address.
_OPTIONS = re.compile(r"@\w+|,[^/+]*(?=/)")
#: Network that was trained here → what it is called on every dataset, and how it was trained.
Tuned = Mapping[str, tuple[str, str]]
_LIBRARY = re.compile(r"^(timm|torchvision):")


@dataclass(frozen=True)
class FeatureLayer:
    """One layer of one network.

    Parameters
    ----------
    network, options : str
        ``timm:mobilenetv2_100`` and ``,pad_type=same``.
    layer, fingerprint : str
    last : bool
        Whether it is the network's last layer.
    merged : tuple of str
        The layers that ``all`` merges; empty where that is not known.
    tuned : bool
        Whether the network was fine-tuned here.
    """

    network: str
    options: str
    layer: str
    fingerprint: str
    last: bool
    merged: tuple[str, ...] = ()
    tuned: bool = False

    @property
    def place(self) -> str:
        """The name of the layer, ``last`` for the last one."""
        return "last" if self.last else self.layer


def read_feature_layers(store: Store, runs: Sequence[RunRecord]) -> list[list[FeatureLayer]]:
    """Return the layers that each run was trained on; none where its features are no networks'."""
    listed = [_parts(run) for run in runs]
    tables = [t for name in sorted({r.dataset for r in runs if r.features}) for t in store.feature_tables(name)]
    by_place: dict[tuple[str, str], FeatureTable] = {}
    for table in tables:
        by_place.setdefault((table.backbone, table.layer), table)
    return [[_feature_layer(store, *part, by_place) for part in parts] for parts in listed]


def _parts(run: RunRecord) -> list[tuple[str, str, str]]:
    """Return backbone, layer and fingerprint of each part of a run's features."""
    # The features of a network that was trained are the images; what was trained stands in its address.
    if run.features and run.kind != "finetune":
        named = [part for part in run.features if "/" in str(part["address"])]
        return [(str(p["backbone"]), str(p["layer"]), str(p["fingerprint"])) for p in named]
    found = []
    for part in run.address.split("+"):
        backbone, slash, layer = part.rpartition("/")
        layer, _, fingerprint = layer.partition("@")
        if slash:
            found.append((backbone, layer, fingerprint))
        elif run.kind == "finetune":
            found.append((part, "last", ""))
    return found


def _feature_layer(
    store: Store, backbone: str, layer: str, fingerprint: str, tables: dict[tuple[str, str], FeatureTable]
) -> FeatureLayer:
    table = tables.get((backbone, layer))
    info = table.info if table else {}
    name, comma, options = backbone.partition(",")
    tuned = name.startswith(TUNED_HERE)
    network, how = _tuned_from(store, name) if tuned else (name, "")
    return FeatureLayer(
        network=network,
        options=comma + options + how,
        layer=layer,
        fingerprint=fingerprint,
        last=layer == "last" or any(str(alias).startswith("last") for alias in info.get("aliases", [])),
        merged=tuple(info.get("merged", ())),
        tuned=tuned,
    )


def is_from_scratch(run: RunRecord) -> bool:
    """Return whether a run trained networks from random weights, by its preset or as it was asked."""
    return run.classifier == FROM_SCRATCH or bool(run.parameters.get("from_scratch"))


def _tuned_from(store: Store, name: str) -> tuple[str, str]:
    """Return what a network that was trained here is called on every dataset, and how it was trained."""
    try:
        run = store.run(name.removeprefix(TUNED_HERE))
    except StoreError:
        return name, f",{name}"
    parts, given = _parts(run), run.parameters
    if not parts:
        return name, f",{name}"
    how = SCRATCH if is_from_scratch(run) else "fine-tuned"
    return f"{how} {parts[0][0].partition(',')[0]}", f",{given.get('preset', '')},seed={given.get('seed', 0)}"


def tuned_networks(store: Store, runs: Sequence[RunRecord]) -> Tuned:
    """Return what the networks that were trained here are called on every dataset, of those that runs chose from."""
    names = {part.rpartition("/")[0] for run in runs for address in candidates(run) for part in address.split("+")}
    return {name: _tuned_from(store, name) for name in names if name.startswith(TUNED_HERE)}


def feature_texts(
    runs: Sequence[RunRecord], layers: Sequence[Sequence[FeatureLayer]], tuned: Tuned | None = None
) -> list[str]:
    """Return the address of each run's features, the same for what is the same on several datasets.

    Options of a network and fingerprints are left out unless runs on one dataset differ in them; merged layers are
    sorted, all of a network are ``all``, and those of which one was chosen are ``each``.
    """
    texts = [run.address for run in runs]
    # Of networks that were trained, the address is what was trained: no features, with which it could be mixed up.
    open_ones = [number for number, listed in enumerate(layers) if listed and runs[number].kind != "finetune"]
    for level in range(len(_LEVELS)):
        groups: dict[str, list[int]] = {}
        for number in open_ones:
            texts[number] = _text(runs[number], layers[number], level, tuned or {})
            groups.setdefault(texts[number], []).append(number)
        open_ones = [n for members in groups.values() if _mixed(members, runs, layers) for n in members]
    return texts


def _mixed(members: Sequence[int], runs: Sequence[RunRecord], layers: Sequence[Sequence[FeatureLayer]]) -> bool:
    """Return whether runs on one dataset have features that were made in several ways."""
    made: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for number in members:
        ways = tuple(sorted((s.options, s.fingerprint) for s in layers[number]))
        made.setdefault(runs[number].dataset, set()).add(ways)
    return any(len(ways) > 1 for ways in made.values())


def _text(run: RunRecord, layers: Sequence[FeatureLayer], level: int, tuned: Tuned) -> str:
    write = _LEVELS[level]
    if is_chosen(run) and candidates(run):
        text = chosen_text(candidates(run, tuned, options=level > 0))
        return write(layers[0], "each") if text.endswith("/each") and layers[0].tuned else text
    by_network: dict[tuple[str, str], list[FeatureLayer]] = {}
    for layer in layers:
        by_network.setdefault((layer.network, layer.options), []).append(layer)
    found = []
    for listed in by_network.values():
        if is_chosen(run):
            found.append(write(listed[0], "each"))
        elif len(listed) > 1 and {s.layer for s in listed} == set(listed[0].merged):
            found.append(write(listed[0], "all"))
        else:
            found += [write(layer, layer.place) for layer in listed]
    return "+".join(sorted(set(found)))


_LEVELS: tuple[Callable[[FeatureLayer, str], str], ...] = (
    lambda layer, place: f"{layer.network}/{place}",
    lambda layer, place: f"{layer.network}{layer.options}/{place}",
    lambda layer, place: f"{layer.network}{layer.options}/{place}@{layer.fingerprint[:_MARK]}",
)


def is_chosen(run: RunRecord) -> bool:
    """Return whether one of several layers was chosen, by inner cross-validation or on the test set."""
    return run.parameters.get("choose") not in (None, False, "", "none")


def candidates(run: RunRecord, tuned: Tuned | None = None, options: bool = False) -> list[str]:
    """Return the features that a run chose from, without fingerprints and options of networks.

    Networks that were trained here have their names of `tuned_networks`, and with `options` how they were trained.
    """
    listed = [_OPTIONS.sub("", str(address)) for address in run.parameters.get("candidates") or []]
    for backbone, (network, how) in (tuned or {}).items():
        name = f"{network}{how if options else ''}/"
        # Of several that are merged, each begins behind a +.
        listed = [f"+{address}".replace(f"+{backbone}/", f"+{name}")[1:] for address in listed]
    return sorted(set(listed))


def chosen_networks(run: RunRecord) -> list[str]:
    """Return the networks that a run chose from; empty where it chose nothing, or does not say from what."""
    parts = [part for address in candidates(run) for part in address.split("+")] if is_chosen(run) else []
    return sorted({part.rpartition("/")[0] for part in parts})


def chosen_text(listed: Sequence[str]) -> str:
    """Return ``network/each`` where a layer of one network was chosen, else all candidates."""
    networks = sorted({part.rpartition("/")[0] for address in listed for part in address.split("+")})
    whole = len(networks) == 1 and len(listed) > 1 and not any("+" in address for address in listed)
    return f"{networks[0]}/each" if whole else "|".join(listed)


def shorten(features: str) -> str:
    """Return an address in few words, such as ``7 networks/last`` or ``resnet50/5 layers``, and without libraries."""
    layers: dict[str, list[str]] = {}
    for part in features.split("+"):
        network, _, layer = part.rpartition("/")
        layers.setdefault(_LIBRARY.sub("", network), []).append(layer)
    if len(layers) > _FEW:
        places = [place for listed in layers.values() for place in listed]
        return f"{len(layers)} networks/{places[0] if len(set(places)) == 1 else f'{len(places)} layers'}"
    return "+".join(_shorten_layers(network, listed) for network, listed in layers.items())


def _shorten_layers(network: str, layers: Sequence[str]) -> str:
    if len(layers) > _FEW:
        return f"{network}/{len(layers)} layers"
    return "+".join(f"{network}/{layer}" if network else layer for layer in layers)
