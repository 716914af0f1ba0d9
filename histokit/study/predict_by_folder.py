"""Prediction with a model of a folder, on a dataset of a store that knows nothing of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from histokit.errors import HistokitError
from histokit.features import FeatureSet, FeatureStore
from histokit.features.feature_set import Part
from histokit.features.images import Images, all_images, check_readable, open_images
from histokit.features.run_tables import variants, weights_path
from histokit.finetune.predict import NetworkScorer
from histokit.finetune.predict_images import predict_images, score_images
from histokit.models.loaded import LoadedModel, load_model
from histokit.models.model_folder import NETWORK
from histokit.networks.resolve import resolve_backbone
from histokit.plugin import Preprocess
from histokit.plugin.weights import offline
from histokit.protocol.networks_seen import seen_notes
from histokit.protocol.predicted import group_notes
from histokit.store import RunRecord
from histokit.store.fingerprints import spec_fingerprint
from histokit.store.vectors import FeatureTable
from histokit.study.read_otherwise import read_otherwise
from histokit.study.run_features import extracted_features
from histokit.train.predict import predict_features, stored_predictions


def predict_by_folder(
    store: FeatureStore,
    folder: Path,
    dataset: str,
    *,
    running: Mapping[str, Any],
    allow_missing: bool,
    force: bool,
    progress: Callable[..., None],
) -> RunRecord:
    """Predict the samples of a dataset with an exported model, and store the predictions.

    Features are extracted into the store, and taken from there, where the weights that they were made with are on this
    machine, be it as the file that features of this store were made with; where all are stored already, no weights are
    needed. Else the networks of the folder make them, and they are not kept.

    Parameters
    ----------
    store, folder, dataset, allow_missing, force, progress
        As of `histokit.predict`.
    running : mapping
        ``device``, ``batch_size`` and ``workers``, as of `histokit.extract`.
    """
    model = load_model(folder, device=str(running["device"]))
    run = model.run
    said = read_otherwise(store, run, dataset, model.description["pixels"])
    if model.description["kind"] == NETWORK:

        def seen(features: FeatureSet) -> list[str]:
            groups = group_notes(store, run, features, set().union(*model.seen.values()))
            return [*said, *seen_notes(model.seen, features.content), *groups]

        how: dict[str, Any] = {"running": running, "allow_missing": allow_missing, "progress": progress}
        return predict_images(store, run, dataset, lambda: model.network, seen, force=force, **how)
    known = stored_predictions(store, run, open_images(store, dataset, allow_missing=allow_missing, outline=True))
    if known is not None and not force:
        return known
    if not model.description["networks"]:
        features = open_images(store, dataset, allow_missing=allow_missing, workers=running["workers"])
        remarks = check_readable(store, features)
    else:
        features, remarks = _features(store, dataset, model, running, allow_missing, progress)
    outside: dict[str, Any] = {"model": model.classifier_bytes, "seen": model.seen}
    return predict_features(store, run, features, force=force, remarks=[*said, *remarks], **outside)


def _features(
    store: FeatureStore,
    dataset: str,
    model: LoadedModel,
    running: Mapping[str, Any],
    allow_missing: bool,
    progress: Callable[..., None],
) -> tuple[FeatureSet, list[str]]:
    described = model.description["tables"]
    tables = [FeatureTable(f["name"], dataset, f["spec"], f["width"], f["info"]) for f in described]
    options = (running, allow_missing, progress)
    # The folder knows a file of weights by its name alone, the store by its place.
    local = {table.fingerprint for facts, table in zip(described, tables, strict=True) if facts["local"]}
    placed = sorted((table for table in store.feature_tables() if table.fingerprint in local), key=_is_there)
    known = {table.fingerprint: table for table in placed}
    here = [replace(known.get(table.fingerprint, table), dataset=dataset) for table in tables]
    if known.keys() == local and _made_here(store, dataset, here):
        return extracted_features(store, model.run, dataset, here, *options)
    address = "+".join(f"{table.address}@{table.fingerprint}" for table in tables)
    if _all_stored(store, dataset, address):
        return store.features(dataset, address), []
    return _direct(store, dataset, model, tables, *options)


def _is_there(table: FeatureTable) -> bool:
    path = weights_path(table)
    return path is not None and path.exists()


def _all_stored(store: FeatureStore, dataset: str, address: str) -> bool:
    try:
        store.features(dataset, address, outline=True)
    except HistokitError:
        return False
    return True


def _made_here(store: FeatureStore, dataset: str, tables: Sequence[FeatureTable]) -> bool:
    """Return whether the same features can be extracted with what is on this machine."""
    channels = store.dataset(dataset).channels
    for variant in variants(tables):
        spec, info = variant[0].spec, variant[0].info
        preprocess = Preprocess.from_json(spec["preprocess"])
        try:
            with offline():
                found = resolve_backbone(
                    store, str(spec["backbone"]), str(info["weights_request"]), preprocess, [t.layer for t in variant]
                )
        except HistokitError:
            return False
        how = (preprocess.channels or channels, str(spec["precision"]), variant[0].dtype, spec.get("engine", "torch"))
        made = {spec_fingerprint(found.spec(layer, *how)) for layer in found.chosen}
        if made != {table.fingerprint for table in variant}:
            return False
    return True


def _direct(
    store: FeatureStore,
    dataset: str,
    model: LoadedModel,
    tables: Sequence[FeatureTable],
    running: Mapping[str, Any],
    allow_missing: bool,
    progress: Callable[..., None],
) -> tuple[FeatureSet, list[str]]:
    """Return features that the networks of the folder make, and what is to be known of them."""
    features = all_images(store, dataset, allow_missing=allow_missing, workers=running["workers"])
    images = cast(Images, features.X)

    def start(failed: Callable[[int, str], None]) -> list[NetworkScorer]:
        return model.scorers(len(images), images.channels, running["batch_size"], failed)

    found, bad, notes = score_images(store, features, start, running, allow_missing, progress)
    kept = np.setdiff1d(np.arange(len(features)), list(bad))
    parts = tuple(_part(facts, table) for facts, table in zip(model.run.features, tables, strict=True))
    vectors = model.vectors(found)[kept]
    return replace(features.take(kept), X=vectors, parts=parts), notes


def _part(facts: Mapping[str, Any], table: FeatureTable) -> Part:
    names = {name: str(facts[name]) for name in ("address", "table", "fingerprint", "backbone", "layer")}
    return Part(**names, filters=np.arange(table.width, dtype=np.intp), names=tuple(table.columns))
