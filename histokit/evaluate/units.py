"""``--by``: what it asks for, columns of samples, and metrics inside the units of a column that is no level."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Frame, Objects
from histokit.evaluate.levels import shared_values
from histokit.evaluate.summary import draw_weights, interval_document
from histokit.features.chained_units import columns_of_units
from histokit.features.sample_columns import flat
from histokit.protocol.metrics import ratio
from histokit.store import RunRecord, Store

HOWS = ("mean", "median", "vote")


def parse_by(texts: str | Sequence[str] | None) -> list[list[tuple[str, str]]]:
    """Split each ``COLUMN[:mean|median|vote],...`` into columns and ways.

    Raises
    ------
    UsageError
    """
    listed = [texts] if isinstance(texts, str) else list(texts or [])
    return [[_parse_entry(part.strip()) for part in text.split(",")] for text in listed]


def _parse_entry(text: str) -> tuple[str, str]:
    column, colon, how = text.partition(":")
    how = how if colon else "mean"
    if not column or how not in HOWS:
        raise UsageError(
            f"--by {text!r} is not of the form COLUMN[:mean|median|vote].",
            next=f"{did_you_mean(how, HOWS)}Write for instance --by {column or 'slide'}:mean",
        )
    return column, how


def is_chained(entries: Sequence[tuple[str, str]], number: int, levels: Collection[str]) -> bool:
    """Return whether an entry aggregates scores: it is of a level, or one comes after it."""
    return any(column in levels for column, _ in entries[number:])


def widened(store: Store, run: RunRecord, frame: Frame, columns: Sequence[str]) -> Frame:
    """Return predictions with columns of their samples among their levels, and with that of plates if wells need it.

    Raises
    ------
    UsageError
        If the dataset has no such column, or the run predicts units, of which it is not known.
    """
    record = None if run.parameters.get("aggregate") else store.find_dataset(run.dataset)
    wanted = columns_of_units(columns, record.columns if record else ())
    found = {column: _column(store, run, frame, column) for column in wanted if column not in frame.levels}
    return replace(frame, levels={**frame.levels, **found})


def _column(store: Store, run: RunRecord, frame: Frame, column: str) -> Objects:
    """Return a column of the dataset's samples for each prediction."""
    if column == run.group:
        return frame.groups
    known = store.samples(run.dataset).schema.names
    if column not in known:
        names = sorted({*known, *run.levels})
        raise UsageError(
            f"The dataset {run.dataset!r} has no column {column!r}.",
            next=f"{did_you_mean(column, names)}Its columns are: {', '.join(names)}.",
        )
    samples = flat(store.samples(run.dataset, list(dict.fromkeys(["id", column]))))
    value = dict(zip(samples.column("id").to_pylist(), samples.column(column).to_pylist(), strict=True))
    unit = run.parameters.get("aggregate")
    if unit and not value.keys() & set(frame.ids):
        raise UsageError(
            f"The run {run.id} predicts units ({unit}) in place of samples: what their {column} is, it does not know.",
            next="Use one of the levels of the dataset, or a run on samples.",
        )
    found = np.empty(len(frame), object)
    found[:] = [value.get(i) for i in frame.ids]
    return found


def inside_units(frame: Frame, values: Objects, column: str, how: str, resampling: Resampling) -> dict[str, Any]:
    """Return the metrics inside each unit of a column, averaged over the units where they are defined.

    Parameters
    ----------
    frame : Frame
    values : (n,) array
        The unit of each prediction; those of none are left out.
    column, how : str
        ``mean`` or ``median`` over units.

    Returns
    -------
    dict
        Marked ``per-unit``; ``undefined_units`` says in how many units a metric is undefined.

    Raises
    ------
    UsageError
        If `how` is ``vote``, which levels only have.
    """
    if how == "vote":
        raise UsageError(
            f"{column} is no level of the dataset, its samples cannot vote for a label.",
            next=f"Use --by {column}:mean for the mean of the metric inside each {column}, or name it as a level when "
            "the data come in (ingest -o levels=…, import-features --level).",
        )
    present = np.array([v is not None for v in values], bool)
    if not present.any():
        raise DataError(f"No prediction has a value of {column!r}.", next="Use another column with --by.")
    frame, keys = frame.take(present), values[present].astype(str)
    names, unit = np.unique(keys, return_inverse=True)
    inside = [np.flatnonzero(unit == number) for number in range(len(names))]
    scored = [frame.take(rows).scorer().values() for rows in inside]
    table = {metric: np.array([entry[metric] for entry in scored]) for metric in frame.metrics}
    reduce = np.mean if how == "mean" else np.median
    known = {metric: column[~np.isnan(column)] for metric, column in table.items()}
    document: dict[str, Any] = {
        "kind": "per-unit",
        "column": column,
        "how": how,
        "units": len(names),
        "metrics": {metric: float(reduce(v)) if len(v) else None for metric, v in known.items()},
        "undefined_units": {metric: len(names) - len(v) for metric, v in known.items()},
    }
    document["left_out"] = int((~present).sum())
    if resampling.resamples:
        groups = shared_values(frame.groups, inside)
        nested = all(value is not None for value in groups)
        owner = np.unique(groups.astype(str), return_inverse=True)[1] if nested else np.arange(len(names))
        count = int(owner.max()) + 1
        drawn = draw_weights(count, resampling.resamples, resampling.seed)[:, owner]
        resampled = {metric: _reduce_weighted(v, drawn, how) for metric, v in table.items()}
        document["intervals"] = interval_document(
            resampled, count, resampling, (resampling.group or column) if nested else column
        )
    return document


def _reduce_weighted(values: NDArray[np.float64], drawn: NDArray[np.float64], how: str) -> NDArray[np.float64]:
    """Return the mean or median over units, each as often as it was drawn, of (B, units) draws."""
    known = ~np.isnan(values)
    if how == "mean":
        return ratio(drawn[:, known] @ values[known], drawn[:, known].sum(1))
    times = drawn[:, known].astype(int)
    return np.array([np.median(np.repeat(values[known], t)) if t.any() else np.nan for t in times])
