"""Predictions as rows of their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.features import FeatureSet
from histokit.plugin.values import known
from histokit.store.records import PREDICTION_SCHEMA


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
    """Return predictions as a table of `PREDICTION_SCHEMA`.

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
    n = len(features)
    names = features.samples.column_names
    levels = [features.column(level) if level in names else [None] * n for level in features.record.levels]
    groups = features.column(group) if group and group in names else [None] * n
    columns: dict[str, Any] = {
        "run": [run] * n,
        "repeat": [repeat] * n,
        "fold": [fold] * n,
        "role": [role] * n,
        "id": features.sample_ids,
        "true": list(truth),
        "predicted": [classes[k] for k in found.argmax(1)] if n else [],
        "scores": found.tolist(),
        "kind": [kind] * n,
        "group": [as_text(value) for value in groups],
        "levels": [[as_text(level[row]) for level in levels] for row in range(n)],
    }
    return pa.table({name: pa.array(v, PREDICTION_SCHEMA.field(name).type) for name, v in columns.items()})


def as_text(value: Any) -> str | None:
    """Return a value of a column as text; none where there is none."""
    return None if known(value) is None else str(value)
