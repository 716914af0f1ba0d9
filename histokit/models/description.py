"""What is told of a model beside its weights: of its data, its training and its scores, as plain data."""

from __future__ import annotations

from typing import Any

from histokit.errors import DataError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.reading.images_given import reading_of
from histokit.store import RunRecord

#: Resamples of groups for the intervals of the scores.
RESAMPLES = 1000

#: What of a run's record is about the store that it lies in.
_OF_THE_STORE = ("rows", "digests", "model_digest", "curve_digests", "predicted")


def scores_of(store: FeatureStore, run: RunRecord) -> dict[str, Any] | None:
    """Return the scores of a run's test predictions, with intervals; none where nothing can be scored."""
    try:
        (found,) = evaluate(store, run.id, bootstrap=RESAMPLES)
    except DataError:
        return None
    names = ("metric", "n", "groups", "metrics", "per_class", "intervals", "notes")
    return {name: getattr(found, name) for name in names}


def data_of(store: FeatureStore, run: RunRecord) -> dict[str, Any]:
    """Return what is known of the data that a run was trained on; no path of this machine."""
    record = store.dataset(run.dataset)
    names = ("name", "plugin", "plugin_version", "distribution", "licence", "citation", "count", "labels", "group")
    return {name: getattr(record, name) for name in names}


def pixels_of(store: FeatureStore, run: RunRecord) -> dict[str, Any]:
    """Return how the dataset of a run takes pixels from its files, by which files are read where it is not.

    Raises
    ------
    HistokitError
        If its plugin cannot open it.
    """
    samples = store.samples(run.dataset, columns=["image", "part", "box"])
    return reading_of(store.dataset(run.dataset), samples)


def split_of(run: RunRecord) -> dict[str, Any]:
    """Return what is known of the split by which a run was scored."""
    sizes = [{key: fold[key] for key in ("repeat", "fold", "train", "test") if key in fold} for fold in run.folds]
    return {"name": run.split, "digest": run.split_digest, "group": run.group, "folds": sizes}


def record_of(run: RunRecord) -> dict[str, Any]:
    """Return a run's record for another machine, of which `RunRecord.from_json` makes one again."""
    document = {name: value for name, value in run.stored().items() if name not in _OF_THE_STORE}
    return {**document, "found": {name: value for name, value in run.found.items() if name != "networks"}}
