"""The curve of one network: what was recorded of it, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SERIES = ("train", "val", "test")
LOSS = "loss"


@dataclass
class Epoch:
    """The end of an epoch.

    Parameters
    ----------
    stage, iteration : int
    lr : float
    values : dict
        Series → measure → value; what is undefined is not there.
    """

    stage: int
    iteration: int
    lr: float
    values: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class NetworkCurve:
    """The curve of one network.

    Parameters
    ----------
    epochs : dict
        Number, from 1 → what was recorded at its end. Of ``train``, the loss is the mean over all batches of the epoch.
    steps : list of dict
        ``epoch``, ``iteration`` and ``loss`` of training, as they were recorded.
    """

    epochs: dict[int, Epoch] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)


def network_curves(points: pa.Table, metric: str, only: str | None = None) -> dict[tuple[int, int], NetworkCurve]:
    """Return (repeat, fold) → curve.

    Parameters
    ----------
    points : pyarrow.Table
        Of `histokit.store.records.CURVE_SCHEMA`, in order.
    metric : str
        What the points' metric is.
    only : str, optional
        ``loss`` or the metric, where the other one is to be left out.
    """
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for point in points.to_pylist():
        # What is no number is not recorded by training, but points may come from elsewhere.
        undefined = {name: None for name in ("loss", "metric") if not math.isfinite(point[name] or 0)}
        rows.setdefault((point["repeat"], point["fold"]), []).append(point | undefined)
    columns = {name: column for name, column in ((LOSS, "loss"), (metric, "metric")) if only in (None, name)}
    return {place: _curve(rows[place], columns) for place in sorted(rows)}


def _curve(points: list[dict[str, Any]], columns: dict[str, str]) -> NetworkCurve:
    found = NetworkCurve()
    before, batches, total = 0, 0, 0.0
    for point in points:
        whole = float(point["epoch"]).is_integer()
        if point["series"] == "train":
            # A point is the mean over the batches since the one before it.
            since, before = point["iteration"] - before, point["iteration"]
            if point["loss"] is not None:
                found.steps.append({name: point[name] for name in ("epoch", "iteration", LOSS)})
                batches, total = batches + since, total + since * point["loss"]
            if whole:
                point = {**point, "loss": total / batches if batches else None}
                batches, total = 0, 0.0
        if whole:
            facts = (point["stage"], point["iteration"], point["lr"])
            epoch = found.epochs.setdefault(int(point["epoch"]), Epoch(*facts))
            known = {name: point[column] for name, column in columns.items() if point[column] is not None}
            epoch.values[point["series"]] = known
    return found
