"""Runs that a model of another run predicted: the true values of the samples, the id, and the record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import counted, counted_values, some
from histokit.features import FeatureSet
from histokit.features.addresses import IMAGES
from histokit.plugin.digests import digest_bytes, digest_json
from histokit.protocol.experiment import describe_features
from histokit.protocol.leaks import TOO_GOOD, samples_digest
from histokit.protocol.predictions import as_text, scored_rows
from histokit.protocol.run_origin import creation_time
from histokit.protocol.targets import read_numbers
from histokit.store import Store
from histokit.store.records import RunRecord
from histokit.store.repeat_commands import NO_FEATURES, NO_IMAGES

#: What a run found that is no part of what its model predicts.
_OF_TRAINING = ("networks",)


def true_values(run: RunRecord, features: FeatureSet) -> tuple[list[Any], list[str]]:
    """Return the true label or value of each row, none where it is not known, and what is to be known of them.

    Parameters
    ----------
    run : RunRecord
        Whose model predicts.
    features : FeatureSet
        Of the samples, with labels or without.
    """
    column = str(run.parameters.get("target") or "label")
    there = column in features.samples.column_names
    values = features.column(column) if there else [None] * len(features)
    if run.numbers:
        kind = features.samples.schema.field(column).type if there else None
        if kind is not None and not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            return [None] * len(features), [f"{column} holds no numbers here: nothing is known of the true values"]
        read = read_numbers(values, features.sample_ids, column)
        return [None if np.isnan(value) else float(value) for value in read], []
    truth = [as_text(value) for value in values]
    strange = sorted({label for label in truth if label is not None} - set(run.classes))
    return truth, [f"the model does not know the labels {some(strange)}"] if strange else []


def left_out_notes(features: FeatureSet) -> list[str]:
    """Say how many samples of a dataset have no prediction, because their images or features are not to be had."""
    total = features.record.count
    missing = total - len(features)
    samples = counted(missing, f"of {total:,} samples has", f"of {total:,} samples have")
    return [f"{samples} no prediction: {NO_IMAGES if features.address == IMAGES else NO_FEATURES}"] if missing else []


def prediction_id(run: RunRecord, features: FeatureSet, truth: Sequence[Any]) -> str:
    """Return the id of the predictions of some samples, of their images and true values, by the model of a run."""
    rows = zip(features.sample_ids, features.content, truth, strict=True)
    digest = digest_bytes(*sorted(repr(row).encode() for row in rows)).hex()
    steps = [step["digest"] for step in features.steps]
    return digest_json(["predict", run.id, run.created, features.record.name, digest, *steps]).hex()[:12]


def predicted_rows(
    run: RunRecord, run_id: str, features: FeatureSet, truth: Sequence[Any], scores: NDArray[np.float64], kind: str
) -> pa.Table:
    """Return the predictions of some samples.

    Parameters
    ----------
    run : RunRecord
        Whose model predicted.
    run_id : str
        Of the predictions.
    features : FeatureSet
        The n samples.
    truth : sequence of n
        Of `true_values`.
    scores : (n, K) or (n, 1) array
    kind : str
        Of scores of classes.
    """
    how: dict[str, Any] = {"run": run_id, "truth": truth, "group": features.record.group, "role": "predict"}
    return scored_rows(features, scores, classes=run.classes, kind=kind, **how)


def prediction_record(
    run: RunRecord, run_id: str, features: FeatureSet, notes: list[str], seconds: float, address: str | None = None
) -> RunRecord:
    """Return the record of predictions.

    Parameters
    ----------
    run : RunRecord
        Whose model predicted.
    run_id : str
    features : FeatureSet
        Of what was predicted.
    notes : list of str
    seconds : float
    address : str, optional
        That of the features where not given.
    """
    found = {name: value for name, value in run.found.items() if name not in _OF_TRAINING}
    return RunRecord(
        id=run_id,
        dataset=features.record.name,
        kind="predict",
        address=address or features.address,
        classifier=run.classifier,
        split="",
        split_digest="",
        classes=run.classes,
        metric=run.metric,
        parameters={name: value for name, value in run.parameters.items() if name not in _OF_TRAINING},
        found={**found, **({"steps": list(features.steps)} if features.steps else {})},
        folds=[],
        notes=notes,
        predicted=None if run.parameters.get("aggregate") else samples_digest(features.sample_ids, features.content),
        versions=run.versions,
        seconds=round(seconds, 3),
        created=creation_time(),
        group=features.record.group,
        levels=features.record.levels,
        features=describe_features(features),
        source_run=run.id,
    )


def group_notes(store: Store, run: RunRecord, samples: FeatureSet, seen: Collection[bytes]) -> list[str]:
    """Say how many labelled samples are of groups that a model was trained on, and were not in the training themselves.

    Parameters
    ----------
    store : Store
        Where the dataset of the training is not in it, nothing is said.
    run : RunRecord
        That trained the model.
    samples : FeatureSet
        What is predicted. Their groups are the values of the column that the split of the training kept apart.
    seen : collection of bytes
        Digests of what the model was trained on.
    """
    dataset = store.find_dataset(run.dataset)
    column = (run.group or dataset.group) if dataset is not None else None
    if column is None or column not in samples.samples.column_names:
        return []
    # The dataset may have been ingested anew without it.
    if column not in store.database.schema(f"samples.{run.dataset}").names:
        return []
    rows = store.samples(run.dataset, ["content", column]).to_pydict()
    pairs = zip(rows["content"], rows[column], strict=True)
    # As texts: where nobody named them as groups, they may have been read as numbers.
    trained = {as_text(group) for content, group in pairs if content in seen} - {None}
    facts = zip(samples.content, map(as_text, samples.column(column)), true_values(run, samples)[0], strict=True)
    known = [str(g) for content, g, truth in facts if truth is not None and content not in seen and g in trained]
    if not known:
        return []
    groups = sorted(set(known))
    count = counted_values(len(groups), column)
    return [
        f"{len(known)} of {len(samples)} samples are of {count} that the model was trained on, too "
        f"({some(groups, 3)}): where these are the same, scores {TOO_GOOD}"
    ]
