"""The backbones of a study file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from histokit.errors import HistokitError, PluginError, UsageError
from histokit.features import FeatureStore
from histokit.networks.requests import ENGINES, as_texts, asked_engine, check_options
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Layer
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.plugin.options import parse_pairs
from histokit.plugin.weights import PRETRAINED, RANDOM, TRAINED
from histokit.store.vectors import FeatureTable, store_dtype
from histokit.study.mistakes import Mistakes, Place, show_place
from histokit.study.schema import BACKBONE, EXTRACTION, check_table
from histokit.study.strategies import STRATEGIES
from histokit.study.study_file import Method, Network, beside

_OPTIONS = (*EXTRACTION, "batch_size")

#: Ways of strategies to use more than the last layer.
_INNER = frozenset(("all", "each"))


def canonical(name: str) -> str:
    """Return a backbone's name with its options sorted; as it is where they are no options."""
    try:
        return join_backbone_name(*split_backbone_name(name))
    except PluginError:
        return name


def read_networks(
    file: Path,
    tables: Mapping[str, dict[str, Any]],
    top: Mapping[str, Any],
    device: str,
    written: Callable[[str, object], str],
    methods: Sequence[Method],
    store: FeatureStore,
    mistakes: Mistakes,
) -> tuple[Network, ...]:
    """Look up the backbones, each with its weights and layers; no network is built but for layers of its own.

    Parameters
    ----------
    file : Path
        What weights files are relative to.
    tables : mapping
        Name → its table.
    top : mapping
        The top of the file, for how all networks run.
    device : str
    written : callable
        How an option and its value are written where they were asked for.
    methods : sequence of Method
        The strategies, which tell what is needed of each backbone.
    store : FeatureStore
    mistakes : Mistakes
        Gets what is wrong.
    """
    found: dict[str, Network] = {}
    imported = [table for table in store.feature_tables() if table.imported]
    shared = {key: top[key] for key in EXTRACTION if key in top}
    for name, table in tables.items():
        place = ("backbones", name)
        good = check_table(table, BACKBONE, place, mistakes)
        known = canonical(name)
        used = {STRATEGIES[method.name].layers for method in methods if known in method.networks}
        elsewhere = [each for each in imported if each.backbone == known]
        with mistakes.at(place):
            if elsewhere:
                network = _read_imported(known, good, elsewhere, used, place, mistakes)
            else:
                where: dict[str, Place] = {key: (*place, key) if key in good else (key,) for key in EXTRACTION}
                _check_running({**shared, **good}, device, written, where, mistakes)
                network = _read(file, known, {**shared, **good}, used, place, store, mistakes)
            if network.name in found:
                raise UsageError(f"The backbone {network.name} is there twice.", next="Leave one of them out.")
            found[network.name] = network
    return tuple(found.values())


def _read(
    file: Path,
    name: str,
    table: Mapping[str, Any],
    used: Collection[str],
    place: Place,
    store: FeatureStore,
    mistakes: Mistakes,
) -> Network:
    if "version" in table:
        mistakes.add((*place, "version"), "Only imported vectors have a version.", "Leave it out.")
    weights = _weights(file, table.get("weights", PRETRAINED))
    preprocess = parse_pairs(as_texts(table.get("preprocess", {})), "preprocess")
    given = table.get("layers", "all")
    inner = tuple([given] if isinstance(given, str) else given)
    last = table.get("last", "last")
    try:
        resolved = resolve_backbone(store, name, weights, preprocess, [*inner, last])
    except HistokitError as error:
        if "--weights" not in error.next:
            raise
        raise type(error)(error.message, next=f"{error.next} {_in_a_table(place)}", details=error.details) from error
    with mistakes.at((*place, "layers" if "layers" in table else "last")):
        check_layers(resolved, store)
    resolve = partial(resolve_backbone, store, name, weights, preprocess)
    last = resolve([last]).chosen[0].name
    layers = inner if _INNER.intersection(used) else ()
    if "last" in used and not (layers == ("all",) and last in [layer.name for layer in resolved.layers]):
        layers = (*layers, last)
    if inner != ("all",):
        inner = tuple(layer.name for layer in resolve(inner).chosen)
    resolved = resolve(layers) if layers else resolved
    options = {key: table[key] for key in _OPTIONS if key in table}
    options |= {"weights": weights, "preprocess": preprocess}
    return Network(name, layers, inner, last, resolved, options)


def _in_a_table(place: Place) -> str:
    """Return how a study file says what ``--weights`` and ``--preprocess`` say."""
    options = 'weights = "FILE" and preprocess = { mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }'
    return f"In a study file these stand in {show_place(place, table=True)}: {options}"


def _check_running(
    table: Mapping[str, Any],
    device: str,
    written: Callable[[str, object], str],
    where: Mapping[str, Place],
    mistakes: Mistakes,
) -> None:
    precision = table.get("precision", "float32")
    with mistakes.at(where["precision"]):
        check_options(precision)
    with mistakes.at(where["store_dtype"]):
        store_dtype(table)
    engine = table.get("engine", "torch")
    # What does not go together is told where the backbone differs from all.
    together = max((where[key] for key in ("engine", "compile", "precision")), key=len)
    with mistakes.at(together if engine in ENGINES else where["engine"]):
        asked_engine(engine, table.get("compile", False), precision, device, written)


def _read_imported(
    name: str,
    table: Mapping[str, Any],
    tables: Sequence[FeatureTable],
    used: Collection[str],
    place: Place,
    mistakes: Mistakes,
) -> Network:
    """Look up vectors that were computed elsewhere, as datasets in the store have them."""
    for key in table.keys() - {"layers", "last", "version"}:
        mistakes.add(
            (*place, key), f"{name!r} are vectors that were imported: nothing is extracted.", f"Leave {key} out."
        )
    known = list(dict.fromkeys(each.layer for each in tables))
    given = table.get("layers", known)
    inner = known if given == "all" else [given] if isinstance(given, str) else given
    last = table.get("last", inner[0] if len(inner) == 1 else None)
    if last is None and "last" in used:
        mistakes.add(place, f"{name!r} has the layers {', '.join(inner)}.", 'Say which is the last one: last = "…"')
    wrong = [layer for layer in (*inner, *[last] * bool(last)) if layer not in known]
    version, versions = table.get("version"), sorted({each.version for each in tables})
    if wrong:
        raise UsageError(f"{name!r} has no layer {wrong[0]!r}.", next=f"It has {', '.join(known)}.")
    if version not in (None, *versions):
        raise UsageError(f"{name!r} has no version {version!r}.", next=f"It has {', '.join(versions)}.")
    wanted = [*(inner if _INNER.intersection(used) else ()), *[last] * (bool(last) and "last" in used)]
    return Network(name, tuple(dict.fromkeys(wanted)), tuple(inner), last or "last", None, version=version)


def _weights(file: Path, text: str) -> str:
    named = text.partition(":")[0] in (PRETRAINED, RANDOM)
    return text if named else str(beside(file, text))


def check_layers(resolved: ResolvedBackbone, store: FeatureStore, modules: Collection[str] = ()) -> None:
    """Raise unless all layers are there; the network is built only for those that are not curated and not stored.

    Parameters
    ----------
    resolved : ResolvedBackbone
        Its chosen layers.
    store : FeatureStore
    modules : collection of str
        Paths of modules that are to be there as well.
    """
    curated = {layer.module for layer in resolved.layers}
    stored = {table.layer for table in store.feature_tables() if table.backbone == resolved.name}
    unknown = [layer for layer in resolved.chosen if layer.module not in curated and layer.name not in stored]
    unknown += [Layer(name, name) for name in modules]
    if not unknown:
        return
    from histokit.networks.cut_points import check_module

    drawn = resolved.weights != "none" and not resolved.name.startswith(TRAINED)
    backbone = registry().backbone(resolved.name, RANDOM if drawn else resolved.request, resolved.store)
    guarded = GuardedBackbone(backbone)
    network = guarded.build()
    for layer in unknown:
        check_module(network, guarded, layer)
