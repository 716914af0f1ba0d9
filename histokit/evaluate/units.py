"""``--by``: scores aggregated to the units of a level, and metrics inside the units of any other column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Codes, Frame, Objects
from histokit.evaluate.summary import draw_weights, interval_document, summarise
from histokit.protocol.metrics import METRICS, ratio

HOWS = ("mean", "median", "vote")


def parse_by(texts: str | Sequence[str] | None) -> list[tuple[str, str]]:
    """Split ``COLUMN[:mean|median|vote],...`` into columns and ways.

    Raises
    ------
    UsageError
    """
    listed = [texts] if isinstance(texts, str) else list(texts or [])
    found = []
    for text in (part.strip() for entry in listed for part in entry.split(",")):
        column, colon, how = text.partition(":")
        how = how if colon else "mean"
        if not column or how not in HOWS:
            raise UsageError(
                f"--by {text!r} is not of the form COLUMN[:mean|median|vote].",
                next=f"{did_you_mean(how, HOWS)}Write for instance --by {column or 'slide'}:mean",
            )
        found.append((column, how))
    return found


def aggregate_level(frame: Frame, column: str, how: str) -> Frame:
    """Aggregate scores to the units of a level, within each repeat.

    Parameters
    ----------
    frame : Frame
    column : str
        One of its levels.
    how : str
        ``mean`` or ``median`` of scores, or ``vote``: the share of the predictions of each class, ties going to
        the higher mean score.

    Returns
    -------
    Frame
        One row for each unit and repeat.

    Raises
    ------
    DataError
        If samples have no unit, or a unit holds two true labels.
    """
    keys = frame.levels[column]
    absent = int(sum(key is None for key in keys))
    if absent:
        raise DataError(
            f"{absent} predictions have no {column}, such as that of {frame.ids[[k is None for k in keys]][0]!r}.",
            next="Complete the column and ingest again, or use another level.",
        )
    members: dict[tuple[int, str], list[int]] = {}
    for row, (repeat, key) in enumerate(zip(frame.repeat.tolist(), keys, strict=True)):
        members.setdefault((repeat, str(key)), []).append(row)
    rows = [np.array(m) for m in members.values()]
    for (_, unit), inside in zip(members, rows, strict=True):
        labels = sorted({frame.classes[k] for k in frame.true[inside]})
        if len(labels) > 1:
            raise DataError(
                f"The {column} {unit!r} holds samples of several true labels: {', '.join(labels)}.",
                next="Aggregate over a level whose samples share a label.",
            )
    scores, predicted = _combine(frame, rows, how)
    first = frame.take([inside[0] for inside in rows])
    shared = {name: _shared(values, rows) for name, values in frame.levels.items()}
    ids = np.array([unit for _, unit in members], object)
    return Frame(
        classes=frame.classes,
        positive=frame.positive,
        ids=ids,
        true=first.true,
        predicted=predicted,
        scores=scores,
        repeat=first.repeat,
        fold=first.fold,
        groups=_shared(frame.groups, rows),
        levels=shared,
    )


def _combine(frame: Frame, rows: list[Codes], how: str) -> tuple[NDArray[np.float64], Codes]:
    means = np.stack([frame.scores[inside].mean(0) for inside in rows])
    if how == "vote":
        k = len(frame.classes)
        votes = np.stack([np.bincount(frame.predicted[inside], minlength=k) / len(inside) for inside in rows])
        tied = votes == votes.max(1, keepdims=True)
        return votes, np.where(tied, np.nan_to_num(means, neginf=-1e300), -np.inf).argmax(1)
    scores = means if how == "mean" else np.stack([np.median(frame.scores[inside], axis=0) for inside in rows])
    return scores, scores.argmax(1)


def _shared(values: Objects, rows: list[Codes]) -> Objects:
    """Return the value that all members of a unit share, else none."""
    found = np.empty(len(rows), object)
    for number, inside in enumerate(rows):
        distinct = set(values[inside])
        found[number] = distinct.pop() if len(distinct) == 1 else None
    return found


def by_levels(frame: Frame, entries: Sequence[tuple[str, str]], resampling: Resampling) -> dict[str, Any]:
    """Aggregate to several levels, each from the one before it, and score each.

    Returns
    -------
    dict of ``COLUMN:how`` to the summary of the units.
    """
    found = {}
    for column, how in entries:
        frame = aggregate_level(frame, column, how)
        summary = summarise(frame, resampling)
        found[f"{column}:{how}"] = {"kind": "level", "column": column, "how": how, "units": summary.pop("n"), **summary}
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
    table = {metric: np.array([entry[metric] for entry in scored]) for metric in METRICS}
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
        groups = _shared(frame.groups, inside)
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
