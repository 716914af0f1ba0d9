"""Predictions as rows of their table, whatever was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.classifiers.row import VALUE
from histokit.features import FeatureSet
from histokit.plugin.values import known
from histokit.protocol.experiment import Experiment
from histokit.protocol.outer_folds import OuterFold, Rows
from histokit.store.records import NUMBER_PREDICTION_SCHEMA, PREDICTION_SCHEMA


def prediction_rows(
    features: FeatureSet,
    found: NDArray[np.float64],
    *,
    run: str,
    classes: Sequence[str],
    kind: str,
    truth: Sequence[str | None],
    group: str | None,
    role: str,
    repeat: int = 0,
    fold: int = 0,
) -> pa.Table:
    """Return predicted classes as a table of `PREDICTION_SCHEMA`.

    Parameters
    ----------
    features : FeatureSet
        The n predicted samples.
    found : (n, K) array
        Their scores.
    run, kind, role : str
    classes : sequence of K str
    truth : sequence of n labels or none
    group : str, optional
        The column of the groups.
    repeat, fold : int
    """
    columns = {
        **_common(features, run, kind, group, role, repeat, fold),
        "true": list(truth),
        "predicted": [classes[k] for k in found.argmax(1)] if len(features) else [],
        "scores": _lists(found),
    }
    return _table(columns, PREDICTION_SCHEMA)


def number_rows(
    features: FeatureSet,
    predicted: NDArray[np.floating],
    *,
    run: str,
    truth: Sequence[float | None] | NDArray[np.floating],
    group: str | None,
    role: str,
    repeat: int = 0,
    fold: int = 0,
) -> pa.Table:
    """Return predicted numbers as a table of `NUMBER_PREDICTION_SCHEMA`.

    Parameters
    ----------
    features : FeatureSet
        The n predicted samples.
    predicted : (n,) array
        In the units of the target.
    run, role : str
    truth : sequence of n numbers
        None or NaN where it is not known.
    group : str, optional
        The column of the groups.
    repeat, fold : int
    """
    n, values = len(features), np.array([np.nan if v is None else v for v in truth], np.float64)
    columns = {
        **_common(features, run, VALUE, group, role, repeat, fold),
        **{"true": [None] * n, "predicted": [None] * n, "scores": [None] * n},
        "true_value": [None if np.isnan(value) else float(value) for value in values],
        "predicted_value": np.asarray(predicted, np.float64).tolist(),
    }
    return _table(columns, NUMBER_PREDICTION_SCHEMA)


def scored_rows(
    features: FeatureSet, scores: NDArray[np.float64], *, classes: Sequence[str], kind: str, **how: Any
) -> pa.Table:
    """Return what a model says as `prediction_rows`, or as `number_rows` where it has no classes.

    Parameters
    ----------
    features : FeatureSet
        The n predicted samples.
    scores : (n, K) or (n, 1) array
    classes : sequence of K str
    kind : str
        Of scores of classes.
    **how
        What both take.
    """
    if not classes:
        return number_rows(features, scores[:, :1].flatten(), **how)
    return prediction_rows(features, scores, classes=classes, kind=kind, **how)


def rows_of_fold(
    experiment: Experiment, outer: OuterFold, rows: Rows, scores: NDArray[np.float64], *, run: str, kind: str
) -> pa.Table:
    """Return the predictions of samples that an outer fold tests.

    Parameters
    ----------
    experiment : Experiment
    outer : OuterFold
    rows : (n,) array of int
        Those of its test samples that have scores.
    scores : (n, K) or (n, 1) array
    run, kind : str
    """
    truth = experiment.problem.y[rows] if experiment.problem.numbers else experiment.labels[rows].tolist()
    how: dict[str, Any] = {"run": run, "group": experiment.group, "role": "test", "truth": truth}
    how |= {"repeat": outer.fold.repeat, "fold": outer.fold.fold}
    return scored_rows(experiment.features.take(rows), scores, classes=experiment.classes, kind=kind, **how)


def _common(
    features: FeatureSet, run: str, kind: str, group: str | None, role: str, repeat: int, fold: int
) -> dict[str, Any]:
    n = len(features)
    names = features.samples.column_names
    levels = [features.column(level) if level in names else [None] * n for level in features.record.levels]
    groups = features.column(group) if group and group in names else [None] * n
    return {
        "run": [run] * n,
        "repeat": [repeat] * n,
        "fold": [fold] * n,
        "role": [role] * n,
        "id": features.sample_ids,
        "kind": [kind] * n,
        "group": [as_text(value) for value in groups],
        "levels": [[as_text(level[row]) for level in levels] for row in range(n)],
    }


def _lists(values: NDArray[np.float64]) -> pa.ListArray:
    """Return the rows of an array as lists."""
    ends = np.arange(len(values) + 1) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values.ravel(), pa.float64()))


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    found = {field.name: columns[field.name] for field in schema}
    return pa.table({n: v if isinstance(v, pa.Array) else pa.array(v, schema.field(n).type) for n, v in found.items()})


def as_text(value: Any) -> str | None:
    """Return a value of a column as text; none where there is none."""
    return None if known(value) is None else str(value)
