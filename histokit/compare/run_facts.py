"""What runs are told apart by: features, classifier, strategy and every parameter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from histokit.compare.feature_layers import (
    SCRATCH,
    FeatureLayer,
    Tuned,
    candidates,
    chosen_networks,
    feature_texts,
    is_chosen,
    is_from_scratch,
    read_feature_layers,
    tuned_networks,
)
from histokit.errors import StoreError
from histokit.evaluate.pooled import usual_metrics
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.protocol.step_options import PartOf
from histokit.select.select_options import SelectOptions
from histokit.store import RunRecord, Store
from histokit.train.train_options import TrainOptions

Facts = dict[str, Any]

#: What a run is about or how often it was done: no part of its method. On a split of one fold, the network of the fold
#: is that of all training samples.
OF_NO_METHOD = (
    *("run", "dataset", "target", "target_type", "where", "split", "seed", "selection_seed", "metric"),
    "fold_networks",
)
#: What follows from the other facts.
DERIVED = ("strategy", "network", "layer")

#: Options that make another method, in the order in which they tell methods apart; each step that trains has its own.
_ASKED = [
    name
    for step in (TrainOptions, FinetuneOptions)
    for name in step.names(PartOf.METHOD)
    if name not in ("classifier", "selection", "backbone")
]
#: Those of a stored selection that its run has as well.
_OF_SELECTION = SelectOptions.names(PartOf.METHOD, PartOf.REPEAT)


def describe_runs(store: Store, runs: Sequence[RunRecord]) -> list[Facts]:
    """Return the facts of runs.

    Parameters
    ----------
    store : Store
        Tells which layers are the last ones, and the parameters of stored selections.
    runs : sequence of RunRecord

    Returns
    -------
    list of dict
        Fact → text, number, bool or list; what is off or absent is left out. Names have letters, digits and ``_``
        only. ``features`` is the address without fingerprints and options of the network, unless runs on one dataset
        differ in these; ``tuned_by`` is the metric of a run that others on its dataset do not share.
    """
    layers = read_feature_layers(store, runs)
    tuned = tuned_networks(store, runs)
    texts = feature_texts(runs, layers, tuned)
    selected = _selections(store, runs)
    found = [_facts(store, run, s, text, selected, tuned) for run, s, text in zip(runs, layers, texts, strict=True)]
    usual = usual_metrics(store, runs)
    tuned_by = {(run.dataset, run.numbers, run.metric) for run in runs}
    counted = Counter((dataset, numbers) for dataset, numbers, _ in tuned_by)
    for run, facts in zip(runs, found, strict=True):
        if counted[run.dataset, run.numbers] > 1 and run.metric != usual[run.id]:
            facts["tuned_by"] = run.metric
    return found


def _facts(
    store: Store,
    run: RunRecord,
    layers: Sequence[FeatureLayer],
    features: str,
    selected: Mapping[str, Facts],
    tuned: Tuned,
) -> Facts:
    given, origin = run.parameters, _origin(store, run)
    facts: Facts = {
        "run": run.id,
        "dataset": run.dataset,
        "target": given.get("target"),
        "target_type": given.get("target_type"),
        "where": given.get("where"),
        "split": run.split,
        "kind": run.kind,
        "strategy": _strategy(origin or run, layers),
        "network": "+".join(dict.fromkeys(layer.network for layer in layers)),
        "layer": "+".join(dict.fromkeys(layer.place for layer in layers)),
        "features": features,
        "classifier": run.classifier,
        "selection": "stored" if given.get("selection") else None,
        "seed": given.get("seed", 0),
        "metric": run.metric,
    }
    if run.kind == "predict":
        facts["trained_on"] = origin.dataset if origin else run.source_run
        facts["trained_split"] = origin.split if origin else None
    facts |= dict(_flat({name: given[name] for name in _ASKED if name in given}))
    facts |= selected.get(str(given.get("selection")), {})
    if is_chosen(run):
        facts["candidates"] = candidates(run, tuned)
    return {name: value for name, value in facts.items() if not _off(value)}


def _origin(store: Store, run: RunRecord) -> RunRecord | None:
    """Return the run whose model predicted, if it is still there."""
    try:
        return store.run(run.source_run) if run.source_run else None
    except StoreError:
        return None


def _off(value: Any) -> bool:
    """Return whether a parameter is as if it were not there, as it is in runs of older versions."""
    return value is None or value is False or value in ("", "none") or (isinstance(value, list | dict) and not value)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        key = prefix + re.sub(r"\W", "_", name)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}_")
        else:
            yield key, value


def _selections(store: Store, runs: Sequence[RunRecord]) -> dict[str, Facts]:
    """Return the parameters of the stored selections of runs, as far as they are still there."""
    found = {}
    for name in {str(run.parameters["selection"]) for run in runs if run.parameters.get("selection")}:
        try:
            given = store.selection(name).parameters
        except StoreError:
            continue
        found[name] = {f"selection_{name}": given[name] for name in _OF_SELECTION if name in given}
    return found


def _network_count(layers: Sequence[FeatureLayer]) -> int:
    return len({(layer.network, layer.options) for layer in layers})


def _from_scratch(run: RunRecord, layers: Sequence[FeatureLayer]) -> bool:
    return is_from_scratch(run) or any(layer.network.startswith(f"{SCRATCH} ") for layer in layers)


#: Strategy → whether a run is of it; the first that fits counts.
_STRATEGIES: tuple[tuple[str, Callable[[RunRecord, Sequence[FeatureLayer]], bool]], ...] = (
    ("ET-FL", lambda run, layers: run.classifier == "et-fl"),
    ("from scratch", _from_scratch),
    ("fine-tuning", lambda run, layers: run.kind == "finetune" or any(layer.tuned for layer in layers)),
    ("feature selection", lambda run, layers: bool(run.parameters.get("selection") or run.parameters.get("rfe"))),
    ("inner layer", lambda run, layers: is_chosen(run)),
    ("merged networks", lambda run, layers: _network_count(layers) > 1),
    ("merged layers", lambda run, layers: len(layers) > 1 or any(layer.layer == "all" for layer in layers)),
    ("last layer", lambda run, layers: any(layer.last for layer in layers)),
    ("inner layer", lambda run, layers: bool(layers)),
)


def _strategy(run: RunRecord, layers: Sequence[FeatureLayer]) -> str:
    """Return the strategy of a run in the words of Mormont et al. 2018, Table 2."""
    name = next((name for name, fits in _STRATEGIES if fits(run, layers)), "other")
    if name != "inner layer":
        return name
    networks = chosen_networks(run) or list(dict.fromkeys(layer.network for layer in layers))
    return f"{name} {networks[0]}" if len(networks) == 1 else "chosen features"
