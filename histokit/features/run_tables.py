"""The feature tables that a run was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histokit.errors import StoreError
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import NONE, PRETRAINED, RANDOM
from histokit.store import RunRecord, Store
from histokit.store.fingerprints import spec_differences
from histokit.store.vectors import FeatureTable


def tables_of_run(store: Store, run: RunRecord) -> list[FeatureTable]:
    """Return the tables of a run's features, in the order of its columns.

    Raises
    ------
    StoreError
        If one is gone.
    """
    tables = {table.name: table for table in store.feature_tables()}
    for part in run.features:
        if (name := str(part["table"])) not in tables:
            lost = store.database.lost_features().get(name)
            raise StoreError(
                f"The feature table {name!r} that the run {run.id} was trained on is gone.",
                next=f"Make it again: {lost.again}" if lost else f"Extract {run.address} of {run.dataset!r} again.",
            )
    return [tables[str(part["table"])] for part in run.features]


def weights_path(table: FeatureTable) -> Path | None:
    """Return the file or folder of weights that a table was made with, none where they were asked for by name."""
    request = str(table.info["weights_request"])
    return None if request.partition(":")[0] in (PRETRAINED, RANDOM, NONE) else Path(request)


def resolved_backbone(store: Store, tables: Sequence[FeatureTable]) -> ResolvedBackbone:
    """Return the network of tables of one variant, with the weights that they were made with.

    Raises
    ------
    StoreError
        If the weights are not there, or are others now, or histokit or a plugin makes other features by now.
    """
    first, spec = tables[0], tables[0].spec
    name, request = str(spec["backbone"]), str(first.info["weights_request"])
    preprocess = Preprocess.from_json(spec["preprocess"])
    resolved = resolve_backbone(store, name, request, preprocess, [table.layer for table in tables])
    if resolved.weights != spec["weights"]:
        raise StoreError(
            f"The weights of {name} are not those that the features were made with.",
            next=remedy(spec, {}),
        )
    layer = next(layer for layer in resolved.chosen if layer.name == first.layer)
    now = resolved.spec(layer, spec["channels"], spec["precision"], first.dtype, spec.get("engine", "torch"))
    if changes := "; ".join(spec_differences(spec, now)):
        raise StoreError(
            f"{first.address} is not made any more as when the model was trained: {changes}.",
            next=remedy(spec, now),
        )
    return resolved


def remedy(spec: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what to do where features cannot be made as in a spec, but only as in another."""
    back = "Bring back the same weights file, or train" if spec["weights"] != now.get("weights") else "Train"
    return f"{back} again on the new features."


def variants(tables: Sequence[FeatureTable]) -> list[list[FeatureTable]]:
    """Group tables that one forward pass fills: the same network, weights and preprocessing."""
    groups: dict[str, list[FeatureTable]] = {}
    for table in tables:
        groups.setdefault(repr(sorted(table.variant.items())), []).append(table)
    return list(groups.values())
