"""Predictions of a trained network on the images of a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from histokit.features import FeatureSet, FeatureStore
from histokit.features.images import (
    Images,
    ImageSamples,
    all_images,
    note_unreadable,
    open_images,
    unreadable_error,
)
from histokit.finetune.predict import NetworkScorer, run_scorers
from histokit.networks.devices import choose_device
from histokit.networks.trainable import NetworkDescription, TrainableNetwork
from histokit.plugin.remarks import RemarkTally
from histokit.protocol.predicted import left_out_notes, predicted_rows, prediction_id, prediction_record, true_values
from histokit.store import Store
from histokit.store.records import RunRecord


class _UnreadableError(Exception):
    """An image cannot be read, and is not to be left out."""


def predict_images(
    store: FeatureStore,
    run: RunRecord,
    dataset: str,
    build: Callable[[], tuple[TrainableNetwork, NetworkDescription]],
    seen: Callable[[FeatureSet], list[str]],
    *,
    running: Mapping[str, Any],
    allow_missing: bool = False,
    force: bool = False,
    progress: Callable[..., None] = lambda *_: None,
) -> RunRecord:
    """Predict the samples of a dataset with the network of a run, and store the predictions.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
        Of the kind ``finetune``.
    dataset : str
    build : callable
        Returns the network and how it is described; not called where the predictions are there.
    seen : callable
        Says how many samples the network was trained on.
    running : mapping
        ``device``, ``batch_size`` and ``workers``, as of `histokit.extract`.
    allow_missing : bool
        Leave out samples that cannot be read.
    force : bool
    progress : callable
        Called with (done, total).

    Returns
    -------
    RunRecord
        Of the kind ``predict``.

    Raises
    ------
    DataError
        If a sample cannot be read; all that cannot are named, and are among the problems of the dataset.
    StoreError
        If the channels of the dataset are not those that the network was trained on.
    """
    started = time.perf_counter()
    known = open_images(store, dataset, allow_missing=allow_missing, outline=True)
    earlier = prediction_id(run, known, true_values(run, known)[0])
    if store.has_run(earlier) and not force:
        return store.run(earlier)
    features = all_images(store, dataset, allow_missing=allow_missing, workers=running["workers"])

    def start(failed: Callable[[int, str], None]) -> list[NetworkScorer]:
        device = choose_device(running["device"])
        network, described = build()
        how = (device, running["batch_size"], "float32", failed)
        return [NetworkScorer(network, described, images.channels, len(images), *how)]

    images = cast(Images, features.X)
    (found,), bad, said = score_images(store, features, start, running, allow_missing, progress)
    kept = np.setdiff1d(np.arange(len(features)), list(bad))
    features, found = features.take(kept), found[kept]
    truth, unknown = true_values(run, features)
    run_id = prediction_id(run, features, truth)
    table = predicted_rows(run, run_id, features, truth, found, "probability")
    notes = [*seen(features), *unknown, *left_out_notes(features), *said]
    record = prediction_record(run, run_id, features, notes, time.perf_counter() - started, run.address)
    return store.save_run(record, table, None, again=force)


def score_images(
    store: Store,
    features: FeatureSet,
    start: Callable[[Callable[[int, str], None]], Sequence[NetworkScorer]],
    running: Mapping[str, Any],
    allow_missing: bool,
    progress: Callable[..., None],
) -> tuple[list[NDArray[np.float64]], dict[int, str], list[str]]:
    """Run networks on all images of a dataset; those that cannot be read are written among its problems.

    Parameters
    ----------
    store : Store
    features : FeatureSet
        Of `histokit.features.images.all_images`.
    start : callable
        Gives the scorers; takes what is called with the row and the reason of each image that has no scores.
    running : mapping
    allow_missing : bool
    progress : callable

    Returns
    -------
    found : list of (n, d) arrays
        Of each scorer; NaN of images that cannot be read.
    bad : dict
        Row → why its image cannot be read.
    notes : list of str
        What is to be known of the images, and of how networks ran.

    Raises
    ------
    DataError
        If an image cannot be read, and is not to be left out.
    """
    images = cast(Images, features.X)
    bad: dict[int, str] = {}
    tally, notes = RemarkTally(), list[str]()

    def failed(position: int, reason: str) -> None:
        bad.setdefault(position, reason)
        if not allow_missing:
            raise _UnreadableError

    scorers = start(failed)
    how: dict[str, Any] = {"workers": running["workers"], "progress": progress, "remarks": tally, "notes": notes}
    try:
        run_scorers(scorers, images.files, ImageSamples(images), **how)
    except _UnreadableError:
        bad = images.unreadable(RemarkTally(), bad)
        raise unreadable_error(features, note_unreadable(store, features, bad)) from None
    note_unreadable(store, features, bad)
    return [scorer.found for scorer in scorers], bad, [*notes, *(line for _, _, line in tally.lines())]
