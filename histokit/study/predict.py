"""Prediction on another dataset: what is missing of its features is extracted first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from histokit.classifiers.table import classifier
from histokit.errors import StoreError
from histokit.extract.extract import extract
from histokit.features import FeatureSet, FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.images import check_readable, open_images
from histokit.networks.trained_backbone import rebuild_stored
from histokit.plugin import Preprocess
from histokit.plugin.weights import NONE, PRETRAINED, RANDOM, TRAINED
from histokit.protocol.networks_seen import network_notes
from histokit.store import RunRecord
from histokit.store.findings import make_again
from histokit.store.fingerprints import spec_differences
from histokit.store.networks import final_part, network_of
from histokit.store.vectors import FeatureTable
from histokit.train.predict import check_trained, predict_features


def predict(
    store: StoreLike,
    run_id: str,
    dataset: str,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    allow_missing: bool = False,
    force: bool = False,
    progress: Callable[..., None] = lambda *_: None,
) -> RunRecord:
    """Predict the samples of a dataset, labelled or not, with the model of a run.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
    dataset : str
    device, batch_size, workers
        As in `extract`.
    allow_missing : bool
        Leave out samples that cannot be read, instead of raising.
    force : bool
        Do it again although the predictions are there.
    progress : callable, optional
        Called with (done, total) while features are extracted.

    Returns
    -------
    RunRecord
        Of kind ``predict``, to be evaluated like any other where the samples have labels.

    Raises
    ------
    StoreError
        If the features of the run cannot be made anew, for instance because its weights file changed, or because
        they were computed elsewhere; of a network, if it is damaged, or the images have other channels.
    DataError
        If an image cannot be read.
    """
    store = open_store(store)
    run = store.run(run_id)
    running = {"device": device, "batch_size": batch_size, "workers": workers}
    if run.kind == "finetune":
        return _predict_by_network(
            store, run, dataset, running=running, allow_missing=allow_missing, force=force, progress=progress
        )
    check_trained(run)
    if classifier(run.classifier).pixels:
        images = open_images(store, dataset, allow_missing=allow_missing)
        seen = check_readable(store, images)
        return predict_features(store, run, images, force=force, remarks=seen)
    tables = {table.name: table for table in store.feature_tables()}
    wanted = [_table(store, run, str(part["table"]), tables) for part in run.features]
    # Before torch: skops looks for each function of scipy through all modules, in the order in which they came.
    importlib.import_module("scipy.special")
    remarks: dict[str, None] = {}
    for variant in _variants(wanted):
        if variant[0].imported:
            _require_imported(store, run, dataset, variant)
        else:
            remarks |= dict.fromkeys(_extract_variant(store, dataset, variant, running, progress))
    address = "+".join(f"{table.address}@{table.fingerprint}" for table in wanted)
    features = store.features(dataset, address, allow_missing=allow_missing)
    return predict_features(store, run, features, force=force, remarks=list(remarks))


def _predict_by_network(store: FeatureStore, run: RunRecord, dataset: str, **options: Any) -> RunRecord:
    from histokit.finetune.predict_images import predict_images
    from histokit.networks.trainable import NetworkDescription, TrainableNetwork

    def build() -> tuple[TrainableNetwork, NetworkDescription]:
        stored = store.networks.read(run, network_of(run, final_part(run)))
        described = NetworkDescription.from_json(stored.document)
        return rebuild_stored(described, stored.tensors, str(store.uri)), described

    def seen(features: FeatureSet) -> list[str]:
        return network_notes(store, [f"{TRAINED}{run.id}"], features.content)

    return predict_images(store, run, dataset, build, seen, **options)


def _table(store: FeatureStore, run: RunRecord, name: str, tables: dict[str, FeatureTable]) -> FeatureTable:
    if name not in tables:
        lost = store.database.lost_features().get(name)
        raise StoreError(
            f"The feature table {name!r} that the run {run.id} was trained on is gone.",
            next=f"Make it again: {lost.again}" if lost else f"Extract {run.address} of {run.dataset!r} again.",
        )
    return tables[name]


def _variants(tables: Sequence[FeatureTable]) -> list[list[FeatureTable]]:
    """Group tables that one forward pass fills: the same network, weights and preprocessing."""
    groups: dict[str, list[FeatureTable]] = {}
    for table in tables:
        shared = {k: v for k, v in table.spec.items() if k not in ("layer", "module", "pool")}
        groups.setdefault(repr(sorted(shared.items())), []).append(table)
    return list(groups.values())


def _require_imported(store: FeatureStore, run: RunRecord, dataset: str, tables: Sequence[FeatureTable]) -> None:
    here = store.feature_tables(store.dataset(dataset).name)
    for table in tables:
        if table.fingerprint in {other.fingerprint for other in here}:
            continue
        similar = [other for other in here if other.address == table.address]
        changes = [f"@{o.fingerprint}: " + "; ".join(spec_differences(table.spec, o.spec)) for o in similar]
        found = f"; it has {', '.join(changes)}" if changes else ""
        raise StoreError(
            f"The run {run.id} was trained on {table.address}, vectors that were computed elsewhere and that "
            f"{dataset!r} does not have{found}.",
            next=f"Bring them in: {make_again(replace(table, dataset=dataset))}",
        )


def _has_weights(info: Mapping[str, Any]) -> bool:
    request = str(info["weights_request"])
    return request.partition(":")[0] in (PRETRAINED, RANDOM, NONE) or Path(request).exists()


def _absent_weights(store: FeatureStore, dataset: str, tables: Sequence[FeatureTable]) -> bool:
    """Return whether features are there that were made with a copy of a weights file that is gone.

    Raises
    ------
    StoreError
        If they are not.
    """
    if {table.fingerprint for table in tables} <= {table.fingerprint for table in store.feature_tables(dataset)}:
        return True
    file = str(tables[0].info["weights_request"])
    again = make_again(tables[0], dataset, ",".join(table.layer for table in tables)).replace(quote(file), "FILE")
    raise StoreError(
        f"The weights that the features of the run were made with are gone: {file}.",
        next=f"Put the file back; or name a copy of it, then predict again: {again}",
    )


def _extract_variant(
    store: FeatureStore,
    dataset: str,
    tables: Sequence[FeatureTable],
    running: Mapping[str, Any],
    progress: Callable[..., None],
) -> tuple[str, ...]:
    """Extract what is missing, and return what is to be known of the images."""
    spec, info = tables[0].spec, tables[0].info
    if not _has_weights(info) and _absent_weights(store, dataset, tables):
        return ()
    done = extract(
        store,
        dataset,
        str(spec["backbone"]),
        layers=[table.layer for table in tables],
        weights={str(spec["backbone"]): str(info["weights_request"])},
        preprocess={str(spec["backbone"]): Preprocess.from_json(spec["preprocess"])},
        precision=str(spec["precision"]),
        store_dtype=tables[0].dtype,
        compile=spec.get("engine") == "inductor",
        engine="openvino" if spec.get("engine") == "openvino" else "torch",
        **running,
        progress=progress,
    )
    made = {entry["fingerprint"]: entry["table"] for entry in done.tables}
    if {table.fingerprint for table in tables} != set(made):
        new = next(t for t in store.feature_tables(dataset) if t.name in made.values())
        changes = "; ".join(spec_differences(spec, new.spec))
        back = "Bring back the same weights file"
        if spec.get("engine") != new.spec.get("engine"):
            back = f"Predict where that is possible ({' '.join(done.notes)})"
        raise StoreError(
            f"The features of {dataset!r} are not made as those that the model was trained on: {changes}.",
            next=f"{back}, or train again on the new features.",
        )
    return done.warnings
