"""Predictions of a trained classifier, on the test samples of its folds and on other features."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import load, scores
from histokit.classifiers.table import classifier
from histokit.errors import StoreError
from histokit.features import FeatureSet, FeatureStore
from histokit.features.chained_units import aggregate_chain
from histokit.features.normalisation import normalisation_of
from histokit.features.normalised import as_control_mask, normalise
from histokit.protocol.experiment import describe_features
from histokit.protocol.leaks import SAY_NOTHING, vector_digests
from histokit.protocol.networks_seen import network_notes, seen_notes
from histokit.protocol.predicted import (
    group_notes,
    left_out_notes,
    predicted_rows,
    prediction_id,
    prediction_record,
    true_values,
)
from histokit.store.records import RunRecord
from histokit.store.removal import check_origin


def predict_features(
    store: FeatureStore,
    run: RunRecord,
    features: FeatureSet,
    *,
    force: bool = False,
    remarks: Sequence[str] = (),
    model: bytes | None = None,
    seen: Mapping[str, Collection[bytes]] | None = None,
) -> RunRecord:
    """Predict samples with the model of a run, and store the predictions.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
        A training run; its model was fitted on all its training samples.
    features : FeatureSet
        Features of the same tables' specs, of any dataset, with labels or without.
    force : bool
        Do it again even if it is stored.
    remarks : sequence of str
        What is to be known of the images, for the notes of the run.
    model : bytes, optional
        That of the run where it is not in the store.
    seen : mapping, optional
        Backbone → digests of the images that it has seen, where the runs that trained it are not in the store.

    Returns
    -------
    RunRecord
        Of the kind ``predict``.

    Raises
    ------
    StoreError
        If the features are not those that the run was trained on, or it has no model.
    """
    _check_same_features(run, features)
    started = time.perf_counter()
    remarks = [*left_out_notes(features), *remarks]
    features, samples, said = _normalised(run, features)
    features, apart = _in_units(run, features)
    truth, unread = true_values(run, features)
    run_id = prediction_id(run, features, truth)
    if store.has_run(run_id) and not force:
        return store.run(run_id)
    loaded = load(store.model(run.id) if model is None else model)
    found = model_scores(run, loaded, features.X)
    table = predicted_rows(run, run_id, features, truth, found, classifier(run.classifier, run.numbers or None).kind)
    # Models of units that were stored earlier know the digests of units in place of those of samples.
    told = _seen_notes(samples, loaded) or _seen_notes(features, loaded)
    if seen is None:
        told += network_notes(store, [part.backbone for part in samples.parts], samples.content)
    else:
        told += seen_notes(seen, samples.content)
    told += group_notes(store, run, samples, {row.tobytes() for row in loaded["trained_on"]})
    notes = [*told, *unread, *said, *apart, *remarks]
    record = prediction_record(run, run_id, features, notes, time.perf_counter() - started)
    record = store.save_run(record, table, None, again=force)
    check_origin(store, features.record, "run", run_id)
    return record


def stored_predictions(store: FeatureStore, run: RunRecord, images: FeatureSet) -> RunRecord | None:
    """Return the predictions of samples by the model of a run where they are there, before any feature is made.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
    images : FeatureSet
        Of `histokit.features.images.open_images`, as an outline.

    Raises
    ------
    UsageError
        If the dataset lacks a column that the run needs, of controls or units.
    """
    outline = replace(images, X=np.zeros((len(images), 1), np.float32))
    asked = normalisation_of(run.parameters)
    if asked is not None:
        outline = outline.where(~as_control_mask(outline, outline.where(asked.controls)))
    outline, _ = _in_units(run, outline)
    run_id = prediction_id(run, outline, true_values(run, outline)[0])
    # What normalised them is a part of the id, and known only with the features.
    return store.run(run_id) if asked is None and store.has_run(run_id) else None


def _in_units(run: RunRecord, features: FeatureSet) -> tuple[FeatureSet, list[str]]:
    """Return features of the units that the run is of, and notes: of samples as they are, where none are asked for."""
    aggregate = run.parameters.get("aggregate")
    if not aggregate:
        return features, []
    target = str(run.parameters.get("target") or "label")
    column = target if target in features.samples.column_names else "label"
    units, _, notes = aggregate_chain(features, aggregate, column)
    return units, notes


def _normalised(run: RunRecord, features: FeatureSet) -> tuple[FeatureSet, FeatureSet, list[str]]:
    """Return samples as the run has them: without controls and normalised by these; and the former as they were."""
    asked = normalisation_of(run.parameters)
    if asked is None:
        return features, features, []
    controls = features.where(asked.controls)
    samples = features.where(~as_control_mask(features, controls))
    found, notes = normalise(samples, controls, asked)
    return found, samples, notes


def model_scores(run: RunRecord, model: dict[str, Any], X: Any) -> NDArray[np.float64]:
    """Return the scores, or the numbers, that the model of a run gives rows of features or images."""
    if not len(X):
        return np.empty((0, len(run.classes) or 1))
    chosen = X if model["columns"] is None else X[:, model["columns"]]
    return scores(run.classifier, model["estimator"], chosen, len(run.classes), run.numbers)


def check_trained(run: RunRecord) -> None:
    """Raise unless a run trained a classifier.

    Raises
    ------
    StoreError
    """
    if run.kind != "train":
        raise StoreError(
            f"The run {run.id} is a run of the kind {run.kind!r} and has no classifier.",
            next="See: histokit list runs",
        )


def _check_same_features(run: RunRecord, features: FeatureSet) -> None:
    check_trained(run)
    wanted = [(part["fingerprint"], part["columns"]) for part in run.features]
    given = [(part["fingerprint"], part["columns"]) for part in describe_features(features)]
    if wanted != given:
        raise StoreError(
            f"The run {run.id} was trained on {run.address} (tables {', '.join(f for f, _ in wanted)}), "
            f"not on {features.address} (tables {', '.join(f for f, _ in given)}).",
            next=f"Use: histokit predict {run.id} {features.record.name}",
        )


def _seen_notes(samples: FeatureSet, model: dict[str, Any]) -> list[str]:
    """Say how many samples the model was trained on, under whatever name, or in another file of the same pixels."""
    seen = {row.tobytes() for row in model["trained_on"]}
    twins = np.array([content in seen for content in samples.content], bool)
    vectors = {row.tobytes() for row in model.get("trained_vectors", ())}
    digests = vector_digests(samples.sample_ids, samples.X) if vectors else {}
    equal = np.array([digests.get(i) in vectors for i in samples.sample_ids], bool) & ~twins
    said = ((twins, "were"), (equal, "are equal in all features to samples that were"))
    return [
        f"{int(which.sum())} of {len(samples)} samples {how} in the training of the model: their scores {SAY_NOTHING}"
        for which, how in said
        if which.any()
    ]
