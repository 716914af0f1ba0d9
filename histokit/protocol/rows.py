"""The rows of an experiment: samples, normalised by controls and aggregated to units where that is asked for."""

from __future__ import annotations

from histokit.errors import DataError, counted
from histokit.features import FeatureSet, FeatureStore
from histokit.features.chained_units import aggregate_chain
from histokit.features.normalisation import Normalisation
from histokit.features.normalised import as_control_mask, normalise
from histokit.protocol.barred import check_bar
from histokit.protocol.step_options import ExperimentOptions
from histokit.store.split_records import Split


def open_controls(
    store: FeatureStore,
    features: FeatureSet,
    address: str,
    asked: Normalisation | None,
    *,
    allow_missing: bool,
    outline: bool,
    notes: list[str],
) -> tuple[FeatureSet, FeatureSet | None]:
    """Open the controls of a dataset, whatever filter its samples were opened with, and leave them out of the samples.

    Parameters
    ----------
    store : FeatureStore
    features : FeatureSet
    address : str
    asked : Normalisation, optional
        No controls where not given.
    allow_missing, outline : bool
        As of `FeatureStore.features`.
    notes : list of str
        Gets one on how many samples were controls.

    Returns
    -------
    samples, controls : FeatureSet

    Raises
    ------
    DataError
        If all samples are controls.
    """
    if asked is None:
        return features, None
    how = {"allow_missing": allow_missing, "outline": outline}
    controls = store.features(features.record.name, address, where=asked.controls, **how)
    mask = as_control_mask(features, controls)
    if mask.all():
        raise DataError(
            f"All samples of {features.record.name!r} are controls by {asked.controls!r}: nothing is left.",
            next="Mend --controls.",
        )
    if mask.any():
        samples = counted(int(mask.sum()), "sample is a control: it is", "samples are controls: they are")
        notes.append(f"{samples} neither trained on nor scored")
        features = features.where(~mask)
    return features, controls


def make_rows(
    features: FeatureSet,
    controls: FeatureSet | None,
    split: Split,
    options: ExperimentOptions,
    *,
    normalisation: Normalisation | None,
    aggregate: str | None,
    outline: bool,
) -> tuple[FeatureSet, dict[str, str], list[str]]:
    """Normalise samples, and aggregate them.

    Parameters
    ----------
    features : FeatureSet
        Labelled samples.
    controls : FeatureSet, optional
        See `open_controls`.
    split : Split
    options : ExperimentOptions
    normalisation : Normalisation, optional
    aggregate : str, optional
        ``COLUMN:how,…``
    outline : bool
        Look at no vector.

    Returns
    -------
    rows : FeatureSet
    unit_of : dict
        Sample id → the row that it is part of.
    notes : list of str
    """
    notes: list[str] = []
    if normalisation is not None and controls is not None:
        features, notes = normalise(features, controls, normalisation, outline=outline)
    unit_of = {sample_id: sample_id for sample_id in features.sample_ids}
    if aggregate:
        features, unit_of, said = aggregate_chain(features, aggregate, options.target or "label")
        notes += said
        check_bar(split, features)
    return features, unit_of, notes
