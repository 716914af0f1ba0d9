"""Predictions of a trained classifier, on the test samples of its folds and on other features."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.classifiers.estimators import load, scores
from histokit.classifiers.table import classifier
from histokit.errors import StoreError, some
from histokit.features import FeatureSet, FeatureStore
from histokit.features.chained_units import aggregate_chain
from histokit.features.normalisation import parse_normalisation
from histokit.features.normalised import as_control_mask, normalise
from histokit.plugin.digests import digest_bytes, digest_json
from histokit.protocol.experiment import describe_features
from histokit.protocol.leaks import SAY_NOTHING, samples_digest, vector_digests
from histokit.protocol.networks_seen import network_notes
from histokit.protocol.predictions import as_text, number_rows, prediction_rows
from histokit.protocol.targets import read_numbers
from histokit.store.records import RunRecord


def predict_features(
    store: FeatureStore, run: RunRecord, features: FeatureSet, *, force: bool = False, remarks: Sequence[str] = ()
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
    target, aggregate = run.parameters.get("target"), run.parameters.get("aggregate")
    features, samples, said = _normalised(run, features)
    column = str(target or "label")
    there = column in features.samples.column_names
    if aggregate:
        features, _, _ = aggregate_chain(features, aggregate, column if there else "label")
    values = features.column(column) if there else [None] * len(features)
    truth, unread = _truth(run, features, values, column)
    rows = zip(features.sample_ids, features.content, truth, strict=True)
    digest = digest_bytes(*sorted(repr(row).encode() for row in rows)).hex()
    steps = [step["digest"] for step in features.steps]
    run_id = digest_json(["predict", run.id, run.created, features.record.name, digest, *steps]).hex()[:12]
    if store.has_run(run_id) and not force:
        return store.run(run_id)
    model = load(store.model(run.id))
    found = _model_scores(run, model, features)
    how: dict[str, Any] = {"run": run_id, "truth": truth, "group": features.record.group, "role": "predict"}
    if run.numbers:
        table = number_rows(features, found[:, 0], **how)
    else:
        table = prediction_rows(features, found, classes=run.classes, kind=classifier(run.classifier).kind, **how)
    # Models of units that were stored earlier know the digests of units in place of those of samples.
    seen = _seen_notes(samples, model) or _seen_notes(features, model)
    seen += network_notes(store, [part.backbone for part in samples.parts], samples.content)
    notes = [*seen, *unread, *said, *remarks]
    record = _record(run, run_id, features, notes, time.perf_counter() - started)
    return store.save_run(record, table, None, again=force)


def _normalised(run: RunRecord, features: FeatureSet) -> tuple[FeatureSet, FeatureSet, list[str]]:
    """Return samples as the run has them: without controls and normalised by these; and the former as they were."""
    asked = parse_normalisation(*(run.parameters.get(name) for name in ("normalise", "controls", "per")))
    if asked is None:
        return features, features, []
    controls = features.where(asked.controls)
    samples = features.where(~as_control_mask(features, controls))
    found, notes = normalise(samples, controls, asked)
    return found, samples, notes


def _model_scores(run: RunRecord, model: dict[str, Any], features: FeatureSet) -> NDArray[np.float64]:
    if not len(features):
        return np.empty((0, len(run.classes) or 1))
    X = features.X if model["columns"] is None else features.X[:, model["columns"]]
    return scores(run.classifier, model["estimator"], X, len(run.classes), run.numbers)


def _record(run: RunRecord, run_id: str, features: FeatureSet, notes: list[str], seconds: float) -> RunRecord:
    return RunRecord(
        id=run_id,
        dataset=features.record.name,
        kind="predict",
        address=features.address,
        classifier=run.classifier,
        split="",
        split_digest="",
        classes=run.classes,
        metric=run.metric,
        parameters=run.parameters,
        found={**run.found, **({"steps": list(features.steps)} if features.steps else {})},
        folds=[],
        notes=notes,
        predicted=None if run.parameters.get("aggregate") else samples_digest(features.sample_ids, features.content),
        versions=run.versions,
        seconds=round(seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        group=features.record.group,
        levels=features.record.levels,
        features=describe_features(features),
        source_run=run.id,
    )


def _check_same_features(run: RunRecord, features: FeatureSet) -> None:
    if run.kind != "train":
        raise StoreError(
            f"The run {run.id} is a run of the kind {run.kind!r} and has no classifier.",
            next="See: histokit list runs",
        )
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


def _truth(run: RunRecord, features: FeatureSet, values: Iterable[Any], column: str) -> tuple[list[Any], list[str]]:
    """Return the true label or value of each row, none where it is not known, and what is to be known of them."""
    if run.numbers:
        kind = features.samples.schema.field(column).type if column in features.samples.column_names else None
        if kind is not None and not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            return [None] * len(features), [f"{column} holds no numbers here: nothing is known of the true values"]
        read = read_numbers(values, features.sample_ids, column)
        return [None if np.isnan(value) else float(value) for value in read], []
    truth = [as_text(value) for value in values]
    strange = sorted({label for label in truth if label is not None} - set(run.classes))
    return truth, [f"the model does not know the labels {some(strange)}"] if strange else []
