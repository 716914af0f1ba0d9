"""Scores against depth: runs on single layers of networks, in the order in which images go through these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histokit.compare.methods import method_facts, name_methods
from histokit.compare.score_table import point_facts
from histokit.errors import HistokitError, UsageError
from histokit.plugin.digests import canonical_json
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.store import Store

Document = Mapping[str, Any]

#: In what the features of two layers differ although they were made in the same way.
_OF_LAYERS = ("layer", "module", "pool", "preprocess", "weights")


def layer_curves(store: Store, columns: Sequence[Document], methods: Sequence[Document]) -> dict[str, Any]:
    """Return the score on each layer of networks against its depth.

    Parameters
    ----------
    store : Store
        Where networks are that were trained here.
    columns, methods : sequences of dict
        Of a `Comparison`.

    Returns
    -------
    dict
        ``panels``, one for each column: ``column``, ``split``, ``metric``, ``aggregate`` and ``curves`` of each
        ``method`` (the network, and what else tells methods apart, such as weights) with at least two ``points``:
        ``layer``, ``place`` (1 is the first cut point of the network), ``depth`` (the share of its cut points up to it;
        1 is the last), ``score``, ``interval``, ``runs``, and ``tested``: of how many samples (``predicted``) and
        ``groups`` the score is. ``unknown``: networks whose cut points are not known here, and layers that are none of
        them.

    Raises
    ------
    UsageError
        If no network has scores on two of its layers.
    """
    single = [method for method in methods if _is_single(method["facts"])]
    orders = {name: _order(name, str(store.uri)) for name in {m["facts"]["network"] for m in single}}
    placed = [method for method in single if _place(method["facts"], orders)]
    unknown = sorted(f"{m['facts']['network']}/{m['facts']['layer']}" for m in single if m not in placed)
    families: dict[str, list[Document]] = {}
    kept: dict[str, dict[str, Any]] = {}
    for method in placed:
        facts = {k: v for k, v in method_facts(method["facts"]).items() if k != "features"}
        key = canonical_json(facts | {"network": method["facts"]["network"]})
        kept[key] = {"features": method["facts"]["network"], **facts}
        families.setdefault(key, []).append(method)
    names = dict(zip(families, name_methods(list(kept.values())), strict=True)) if families else {}
    made = _made(store, single)
    panels = [
        {**{name: column[name] for name in ("column", "split", "metric", "aggregate")}, "curves": curves}
        for column in columns
        if (curves := _curves(column, families, names, orders, made))
    ]
    if not panels:
        raise UsageError(
            "No network has scores on two of its layers alone.",
            next=f"Extract all layers (histokit extract … --layers all), and train on each: histokit train "
            f"{columns[0]['dataset']} --features BACKBONE/each",
        )
    return {"panels": panels, "unknown": unknown}


def _is_single(facts: Document) -> bool:
    """Return whether all runs of a method are on one layer of one network, none chosen or merged."""
    layer, network = str(facts.get("layer", "")), str(facts.get("network", ""))
    alone = layer not in ("", "all", "each") and "+" not in layer and network not in ("",) and "+" not in network
    return alone and "choose" not in facts and "|" not in str(facts.get("features", ""))


def _order(network: str, store: str) -> list[str]:
    """Return the cut points of a network, the first one first; none where they are not known here."""
    try:
        return [layer.name for layer in GuardedBackbone(registry().backbone(network, store=store), network).layers()]
    except HistokitError:
        return []


def _place(facts: Document, orders: Mapping[str, list[str]]) -> int:
    """Return the number of a layer among the cut points of its network, from 1; 0 where it is none of them."""
    order, layer = orders[facts["network"]], str(facts["layer"]).partition(":")[0]
    if layer == "last":
        return len(order)
    return order.index(layer) + 1 if layer in order else 0


def _made(store: Store, methods: Sequence[Document]) -> dict[str, dict[str, str]]:
    """Return for each run on a single layer how its features were made, as far as that is not the layer's."""
    runs = {run.id: run for run in store.runs()}
    tables = {table.fingerprint: table for table in store.feature_tables()}
    found = {}
    for method in methods:
        for run_id in (name for cell in method["cells"].values() for name in cell["runs"]):
            features = runs[run_id].features if run_id in runs else []
            table = tables.get(str(features[0]["fingerprint"])) if len(features) == 1 else None
            # Of tables that are gone no more is known than what the name of the features says.
            _, apart, fingerprint = str(method["facts"]["features"]).partition("@")
            found[run_id] = {"features": fingerprint} if apart else {}
            if table is not None:
                how = {**table.spec.get("preprocess", {}), **table.spec}
                known = {name: _said(value) for name, value in how.items() if name not in _OF_LAYERS}
                weights = str(table.spec.get("weights", ""))
                found[run_id] = known | {"weights": Path(table.weights).name, "digest": weights[:6]}
    return found


def _said(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _curves(
    column: Document,
    families: Mapping[str, Sequence[Document]],
    names: Mapping[str, str],
    orders: Mapping[str, list[str]],
    made: Mapping[str, dict[str, str]],
) -> list[dict[str, Any]]:
    found = []
    for key, members in families.items():
        points: list[tuple[dict[str, str], dict[str, Any]]] = []
        pools = []
        for method in members:
            cell = method["cells"].get(column["column"])
            if cell is not None and cell["score"] is not None:
                order = orders[method["facts"]["network"]]
                place = _place(method["facts"], orders)
                here = {"layer": order[place - 1], "place": place, "depth": place / len(order)}
                points.append((made[cell["runs"][0]], {**here, **point_facts(cell)}))
                pools.append(str(method["facts"]["layer"]).partition(":")[2])
        curves = _apart(points, pools)
        for how, own in curves:
            if len({point["place"] for point in own}) > 1:
                own.sort(key=lambda point: int(point["place"]))
                differing = _differing(how, [other for other, _ in curves])
                found.append({"method": " ".join([names[key], *differing]), "points": own})
    return found


def _apart(
    points: Sequence[tuple[dict[str, str], dict[str, Any]]], pools: Sequence[str]
) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Return points by how their features were made; by how they were pooled, too, where a layer comes twice else."""
    twice = Counter((canonical_json(how), point["place"]) for how, point in points)
    several = max(twice.values(), default=1) > 1
    found: dict[str, tuple[dict[str, str], list[dict[str, Any]]]] = {}
    for (how, point), pool in zip(points, pools, strict=True):
        known = how | {"pool": pool or "default"} if several else how
        found.setdefault(canonical_json(known), (known, []))[1].append(point)
    return list(found.values())


def _differing(how: Mapping[str, str], every: Sequence[Mapping[str, str]]) -> list[str]:
    """Return in what features were made otherwise than the others."""
    names = dict.fromkeys(name for other in every for name in other)
    told = [name for name in names if len({other.get(name) for other in every}) > 1]
    # Names of weights say more than their digests.
    return [f"{name}={how.get(name, 'default')}" for name in told if name != "digest" or "weights" not in told]
