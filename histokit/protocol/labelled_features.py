"""The features of labelled samples, opened and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from histokit.datasets.alike import alike_notes
from histokit.errors import DataError, UsageError, counted
from histokit.features import FeatureSet, FeatureStore
from histokit.features.addresses import IMAGES
from histokit.features.finite import check_finite
from histokit.features.images import open_images
from histokit.protocol.leaks import conflict_notes
from histokit.protocol.step_options import ExperimentOptions
from histokit.store.repeat_commands import NO_FEATURES, NO_IMAGES


def open_labelled(
    store: FeatureStore,
    dataset: str,
    address: str,
    options: ExperimentOptions,
    *,
    pixels: bool,
    outline: bool,
    workers: int | None,
) -> tuple[FeatureSet, list[str]]:
    """Open the features of the samples that have a label, and say which are left out.

    Parameters
    ----------
    store : FeatureStore
    dataset, address : str
    options : ExperimentOptions
    pixels : bool
        Open images in place of features; the address has to be ``images``.
    outline : bool
        Read no vector.
    workers : int, optional
        Processes that read images, see `histokit.features.images.Images`.

    Raises
    ------
    UsageError
        If something else than images is to be opened as images.
    DataError
        If no sample is left, or features are not finite.
    """
    features, where = _open(store, dataset, address, pixels, outline, options, workers), options.where
    if not len(features):
        message = (
            f"The filter {where!r} keeps no sample of {dataset!r}." if where else f"No sample of {dataset!r} is left."
        )
        raise DataError(message, next="Mend --where." if where else f"See: histokit list problems {dataset}")
    notes = left_out(store, features, where)
    features = _labelled(features, options.target, notes)
    if not (pixels or outline):
        check_finite(features, " with --where")
    return features, notes


def _open(
    store: FeatureStore,
    dataset: str,
    address: str,
    pixels: bool,
    outline: bool,
    options: ExperimentOptions,
    workers: int | None,
) -> FeatureSet:
    how: dict[str, Any] = {"where": options.where, "allow_missing": options.allow_missing, "outline": outline}
    if not pixels:
        return store.features(dataset, address, **how)
    if address != IMAGES:
        raise UsageError(
            f"This classifier is trained on images, not on the vectors of {address}.",
            next=f"Use --features {IMAGES}, or another --classifier.",
        )
    return open_images(store, dataset, **how, workers=workers)


def left_out(store: FeatureStore, features: FeatureSet, where: str | None) -> list[str]:
    """Return a sentence on the samples of a dataset that lack features or an image, if there are any."""
    total = len(store.samples(features.record.name, ["id"], where)) if where else features.record.count
    missing = total - len(features)
    why = NO_IMAGES if features.address == IMAGES else NO_FEATURES
    samples = counted(missing, f"of {total:,} samples is", f"of {total:,} samples are")
    return [f"{samples} left out: {why}"] if missing else []


def _labelled(features: FeatureSet, target: str | None, notes: list[str]) -> FeatureSet:
    present = np.array([value is not None for value in features.column(target or "label")], bool)
    absent = len(present) - int(present.sum())
    if not absent:
        return features
    what = f"without a {f'value of {target!r}' if target else 'label'}"
    notes.append(counted(absent, f"sample {what} is left out", f"samples {what} are left out"))
    return features.where(present)


def label_notes(
    features: FeatureSet, contents: Mapping[str, bytes], target: str | None, group: str | None
) -> list[str]:
    """Say which labels contradict each other, and which labels and groups are nearly equal names."""
    what, labels = target or "label", features.column(target or "label")
    notes = conflict_notes(contents, dict(zip(features.sample_ids, labels, strict=True)), what)
    for name, values in {what: labels, **({group: features.column(group)} if group else {})}.items():
        notes += alike_notes(name, [value if isinstance(value, str) else None for value in values], name != what)
    return notes
