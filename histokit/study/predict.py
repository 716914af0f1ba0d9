"""Prediction on another dataset: what is missing of its features is extracted first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from histokit.classifiers.table import classifier
from histokit.features import FeatureSet, FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.images import check_readable, open_images
from histokit.features.run_tables import tables_of_run
from histokit.models.model_folder import as_model_folder
from histokit.networks.trained_backbone import rebuild_stored
from histokit.networks.trained_runs import network_of
from histokit.plugin.weights import TRAINED
from histokit.protocol.networks_seen import seen_by, seen_notes
from histokit.protocol.predicted import group_notes
from histokit.store import RunRecord
from histokit.store.networks import final_part
from histokit.study.predict_by_folder import predict_by_folder
from histokit.study.read_otherwise import read_otherwise
from histokit.study.run_features import extracted_features
from histokit.train.predict import check_trained, predict_features, stored_predictions


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
        Or the folder of an exported model, whose run need not be in the store: a path with a slash, or a folder that
        is there.
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
    running = {"device": device, "batch_size": batch_size, "workers": workers}
    how: dict[str, Any] = {"running": running, "allow_missing": allow_missing, "force": force, "progress": progress}
    folder = as_model_folder(run_id)
    if folder is not None:
        return predict_by_folder(store, folder, dataset, **how)
    run = store.run(run_id)
    if run.kind == "finetune":
        return _predict_by_network(store, run, dataset, **how)
    check_trained(run)
    said = read_otherwise(store, run, dataset, None)
    if classifier(run.classifier).pixels:
        known = stored_predictions(store, run, open_images(store, dataset, allow_missing=allow_missing, outline=True))
        if known is not None and not force:
            return known
        images = open_images(store, dataset, allow_missing=allow_missing, workers=workers)
        seen = check_readable(store, images)
        return predict_features(store, run, images, force=force, remarks=[*said, *seen])
    wanted = tables_of_run(store, run)
    features, remarks = extracted_features(store, run, dataset, wanted, running, allow_missing, progress)
    return predict_features(store, run, features, force=force, remarks=[*said, *remarks])


def _predict_by_network(store: FeatureStore, run: RunRecord, dataset: str, **options: Any) -> RunRecord:
    from histokit.finetune.predict_images import predict_images
    from histokit.networks.trainable import NetworkDescription, TrainableNetwork

    def build() -> tuple[TrainableNetwork, NetworkDescription]:
        stored = store.networks.read(run, network_of(run, final_part(run)))
        described = NetworkDescription.from_json(stored.document)
        return rebuild_stored(described, stored.tensors, str(store.uri)), described

    def seen(features: FeatureSet) -> list[str]:
        network = f"{TRAINED}{run.id}"
        known = seen_by(store, network)
        told = [*seen_notes({network: known}, features.content), *group_notes(store, run, features, known)]
        return [*read_otherwise(store, run, dataset, None), *told]

    return predict_images(store, run, dataset, build, seen, **options)
