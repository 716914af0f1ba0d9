"""Weights of a classifier on normalised features as weights of the features as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from histokit.classifiers.linear_weights import LinearWeights
from histokit.errors import StoreError
from histokit.features import FeatureSet, FeatureStore
from histokit.features.normalisation import normalisation_of
from histokit.features.normalised import normalise, plate_fits
from histokit.protocol.rows import open_controls
from histokit.store import RunRecord
from histokit.store.vectors import FeatureTable

#: From a sample's id to the weights of its columns.
WeightsOf = Callable[[str], LinearWeights]


def stored_weights(store: FeatureStore, run: RunRecord, table: FeatureTable, weights: LinearWeights) -> WeightsOf:
    """Return the weights of columns as they are stored: of samples that are normalised by plates, those of its plate.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
        Which predicted the samples.
    table : FeatureTable
        Of its features.
    weights : LinearWeights
        Of the columns that the classifier takes.

    Raises
    ------
    StoreError
        If the samples or controls are not those that the run had.
    """
    asked = normalisation_of(run.parameters)
    if asked is None:
        return lambda _: weights
    address = f"{table.address}@{table.fingerprint}"
    trained = run.kind == "train"
    where = run.parameters.get("where") if trained else None
    features = store.features(run.dataset, address, where=where, allow_missing=True)
    features = _labelled(features, run) if trained else features
    opened = open_controls(store, features, address, asked, allow_missing=True, outline=False, notes=[])
    features, controls = opened[0], cast(FeatureSet, opened[1])
    outlined, _ = normalise(features, controls, asked, outline=True)
    if outlined.steps[-1]["digest"] not in [step.get("digest") for step in run.found.get("steps", ())]:
        raise StoreError(
            f"The samples of {run.dataset!r}, or their controls, are not those that the run {run.id} had: by what it "
            "normalised them is not known any more.",
            next="Train again with --force, and explain that run.",
        )
    plates = plate_fits(features, controls, asked)
    unit_of = dict(zip(features.sample_ids, plates.units.tolist(), strict=True))
    by_unit: dict[str, LinearWeights] = {}

    def of(sample_id: str) -> LinearWeights:
        unit = unit_of[sample_id]
        if unit not in by_unit:
            back, added = plates.fits[unit].pulled_back(weights.weights, plates.kept, asked.added)
            by_unit[unit] = LinearWeights(back, weights.intercepts + added)
        return by_unit[unit]

    return of


def _labelled(features: FeatureSet, run: RunRecord) -> FeatureSet:
    values = features.column(str(run.parameters.get("target") or "label"))
    return features.where(np.array([value is not None for value in values], bool))
