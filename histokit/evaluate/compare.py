"""Runs side by side: scores, intervals, and paired differences on equal splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from histokit.errors import UsageError
from histokit.evaluate.frame import Frame, read_frame
from histokit.evaluate.summary import (
    ENOUGH_GROUPS,
    FOLD_AREA,
    draw_weights,
    fold_mean,
    percentile_interval,
    summarise,
)
from histokit.protocol.scorers import check_metric, defined
from histokit.store import RunRecord, Store


@dataclass(frozen=True)
class Comparison:
    """Several runs by one metric.

    Parameters
    ----------
    metric : str
    rows : list of dict
        Of each run: its score, the mean over folds and the interval.
    pairs : list of dict
        Of each two runs on one split: the difference of their scores, with a paired bootstrap interval.
    notes : list of str
    """

    metric: str
    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON-serialisable data."""
        return asdict(self)


def compare(
    store: Store, runs: Sequence[str], *, metric: str | None = None, bootstrap: int = 1000, seed: int = 0
) -> Comparison:
    """Compare runs by a metric.

    Parameters
    ----------
    store : Store
    runs : sequence of str
        Two ids or more.
    metric : str, optional
        That of the first run where not given. The ROC AUC of runs over folds is compared by its mean over folds.
    bootstrap : int
        Resamples of groups for intervals; the same draws for both runs of a pair.
    seed : int

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError, StoreError, DataError
    """
    records = list({record.id: record for record in (store.run(run_id) for run_id in runs)}.values())
    if len(records) < 2:
        raise UsageError("A comparison needs two runs or more.", next="See: histokit list runs")
    if bootstrap < 1:
        raise UsageError(f"{bootstrap} resamples are none.", next="Give for instance --bootstrap 1000")
    metric = check_metric(metric or records[0].metric)
    frames = [read_frame(store, record) for record in records]
    rows = [_row(record, frame, metric, bootstrap, seed) for record, frame in zip(records, frames, strict=True)]
    pairs, notes = [], []
    for (a, first), (b, second) in combinations(zip(records, frames, strict=True), 2):
        if _key(a) == _key(b) and _same_samples(first, second):
            pairs.append(_pair(a, first, b, second, metric, bootstrap, seed))
        else:
            notes.append(f"{a.id} and {b.id} are not paired: they are not on the same samples of one split")
    few = {row["groups"] for row in rows if not row["reliable"]}
    if few:
        notes.append(f"intervals of {min(few)} groups are unreliable, they need {ENOUGH_GROUPS}")
    return Comparison(metric, rows, pairs, notes)


def _key(run: RunRecord) -> tuple[str, ...]:
    return (run.dataset, run.kind, run.split_digest)


def _same_samples(first: Frame, second: Frame) -> bool:
    return _rows_of(first).keys() == _rows_of(second).keys()


def _rows_of(frame: Frame) -> dict[tuple[int, int, str], int]:
    places = zip(frame.repeat.tolist(), frame.fold.tolist(), frame.ids, strict=True)
    return {place: row for row, place in enumerate(places)}


def _decisive(metric: str, frame: Frame) -> str:
    return FOLD_AREA if metric == "roc_auc" and len(frame.folds()) > 1 else metric


def _row(run: RunRecord, frame: Frame, metric: str, bootstrap: int, seed: int) -> dict[str, Any]:
    summary = summarise(frame, bootstrap, seed, run.group)
    name, intervals = _decisive(metric, frame), summary["intervals"]
    return {
        "run": run.id,
        "dataset": run.dataset,
        "address": run.address,
        "classifier": run.classifier,
        "split": run.split,
        "metric": name,
        "score": summary["metrics"][name],
        "fold_mean": summary["folds"]["mean"][metric],
        "fold_std": summary["folds"]["std"][metric],
        "interval": intervals["metrics"][name],
        "groups": intervals["groups"],
        "reliable": intervals["reliable"],
        "selected": bool(run.parameters.get("selection") or run.parameters.get("rfe")),
        "seconds": run.seconds,
    }


def _pair(
    a: RunRecord, first: Frame, b: RunRecord, second: Frame, metric: str, bootstrap: int, seed: int
) -> dict[str, Any]:
    order = _rows_of(second)
    second = second.take(np.array([order[place] for place in _rows_of(first)], np.intp))
    units, _ = first.units()
    count = int(units.max()) + 1
    weights = np.vstack([np.ones((1, count)), draw_weights(count, bootstrap, seed)])
    name = _decisive(metric, first)
    if name == FOLD_AREA:
        values = [fold_mean(frame, units, weights, metric) for frame in (first, second)]
    else:
        values = [frame.scorer(units).resample(weights, [metric])[metric] for frame in (first, second)]
    difference = values[0] - values[1]
    return {
        "first": a.id,
        "second": b.id,
        "metric": name,
        "difference": defined(float(difference[0])),
        "interval": percentile_interval(difference[1:]) if count > 1 else None,
        "groups": count,
        "reliable": count >= ENOUGH_GROUPS,
    }
