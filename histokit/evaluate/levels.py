"""``--by`` over levels: scores of samples aggregated to their units, one level from the one before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, some
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Codes, Frame, Objects, Points, points_of
from histokit.evaluate.summary import summarise
from histokit.features.chained_units import nested_units

#: Digits that count of scores that were combined; the sum of thousands of numbers is right to more.
_DIGITS = 12


def aggregate_level(frame: Frame, column: str, how: str) -> Frame:
    """Aggregate scores to the units of a level, within each repeat.

    Parameters
    ----------
    frame : Frame
    column : str
        One of its levels.
    how : str
        ``mean`` or ``median`` of scores, or of predicted numbers; or ``vote``: the share of the predictions of each
        class, ties going to the higher mean score.

    Returns
    -------
    Frame
        One row for each unit and repeat.

    Raises
    ------
    DataError
        If samples have no unit, or a unit holds two true labels or values.
    UsageError
        If numbers are to vote.
    """
    if frame.numbers and how == "vote":
        raise UsageError("Numbers cannot vote.", next=f"Use --by {column}:mean or --by {column}:median.")
    keys = frame.levels[column]
    absent = int(sum(key is None for key in keys))
    if absent:
        raise _without_unit(frame, column, absent)
    members = members_of(frame, column)
    rows = list(members.values())
    for (_, unit), inside in zip(members, rows, strict=True):
        if len(np.unique(frame.true[inside])) > 1:
            raise _mixed(frame.take(inside), column, unit)
    scores, predicted = _combine(frame, rows, how)
    first = frame.take([inside[0] for inside in rows])
    shared = {name: shared_values(values, rows) for name, values in frame.levels.items()}
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
        groups=shared_values(frame.groups, rows),
        levels=shared,
        # Neither medians nor shares of votes are probabilities.
        kind=frame.kind if how == "mean" else how,
        unit=column,
    )


def members_of(frame: Frame, column: str) -> dict[tuple[int, str], Codes]:
    """Return the rows of each repeat and unit of a level."""
    members: dict[tuple[int, str], list[int]] = {}
    for row, (repeat, key) in enumerate(zip(frame.repeat.tolist(), frame.levels[column], strict=True)):
        members.setdefault((repeat, str(key)), []).append(row)
    return {unit: np.array(rows) for unit, rows in members.items()}


def _without_unit(frame: Frame, column: str, absent: int) -> DataError:
    first = frame.ids[[key is None for key in frame.levels[column]]][0]
    if frame.unit == "sample":
        return DataError(
            f"{counted(absent, 'prediction has', 'predictions have')} no {column}, such as that of {first!r}.",
            next="Complete the column and ingest again, or use another level.",
        )
    return DataError(
        f"{absent} of the {len(frame)} predictions {'is' if absent == 1 else 'are'} of units ({frame.unit}) "
        f"that lie in no single {column}, such as {first!r}.",
        next=f"Use a level that every {frame.unit} lies in, or a run on samples.",
    )


def _mixed(frame: Frame, column: str, unit: str) -> DataError:
    what = "value" if frame.numbers else "label"
    return DataError(
        f"The {column} {unit!r} holds samples of several true {what}s: {some(sorted(set(frame.labels)))}.",
        next=f"Aggregate over a level whose samples share a {what}.",
    )


def _combine(frame: Frame, rows: list[Codes], how: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    if frame.numbers:
        reduce = np.mean if how == "mean" else np.median
        return np.empty((len(rows), 0)), np.array([reduce(frame.predicted[inside]) for inside in rows])
    means = _settled(np.stack([frame.scores[inside].mean(0) for inside in rows]), frame.scores)
    if how == "vote":
        k = len(frame.classes)
        votes = np.stack([np.bincount(frame.predicted[inside], minlength=k) / len(inside) for inside in rows])
        tied = votes == votes.max(1, keepdims=True)
        return votes, np.where(tied, np.nan_to_num(means, neginf=-1e300), -np.inf).argmax(1)
    if how == "median":
        medians = np.stack([np.median(frame.scores[inside], axis=0) for inside in rows])
        return (scores := _settled(medians, frame.scores)), scores.argmax(1)
    return means, means.argmax(1)


def _settled(combined: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return combined scores without what rounding adds, which would tell equal ones apart: (0.1 + 0.7) / 2 is 0.4."""
    largest = np.abs(scores[np.isfinite(scores)]).max(initial=0.0)
    decimals = _DIGITS - math.ceil(math.log10(largest)) if largest else 0
    # Beyond this, powers of ten are no numbers.
    return np.round(combined, decimals) if abs(decimals) < 300 else combined


def shared_values(values: Objects, rows: list[Codes]) -> Objects:
    """Return the value that all members of a unit share, else none."""
    found = np.empty(len(rows), object)
    for number, inside in enumerate(rows):
        distinct = set(values[inside])
        found[number] = distinct.pop() if len(distinct) == 1 else None
    return found


def by_levels(
    frame: Frame,
    entries: Sequence[tuple[str, str]],
    declared: Sequence[str],
    resampling: Resampling,
    points: dict[str, Points] | None = None,
    see: Callable[[Frame], dict[str, Any]] = lambda frame: {},
) -> tuple[dict[str, Any], list[str]]:
    """Aggregate to several levels, each from the one before it, and score each.

    Scores are combined all the way; only what the units of a level are taken for is the class of the highest one.

    Parameters
    ----------
    frame : Frame
        With all columns among its levels.
    entries : sequence of (column, how)
    declared : sequence of str
        The levels of the dataset, fine to coarse.
    resampling : Resampling
    points : dict, optional
        Gets the predicted numbers of the units, by ``COLUMN:how``.
    see : callable
        Returns the views of units, by their names.

    Returns
    -------
    found : dict of ``COLUMN:how`` to the summary of the units
    notes : list of str
        Which columns only number the units inside another one, and how many units have no single highest score.

    Raises
    ------
    UsageError
        If a coarse level comes before a fine one.
    DataError
        If samples have no unit, or a unit holds two true labels or lies in two units of the level after it.
    """
    columns = list(dict(entries))
    units, notes = nested_units(frame.levels, columns, declared, frame.labels)
    frame = replace(frame, levels=units)
    found = {}
    for column, how in entries:
        frame = aggregate_level(frame, column, how)
        notes += tied_units(frame, column, how)
        summary = summarise(frame, resampling)
        if frame.numbers and points is not None:
            points[f"{column}:{how}"] = points_of(frame)
        views = see(frame)
        summary |= {"views": views} if views else {}
        # Where folds are repeated, there are several predictions of a unit.
        count = len(set(frame.ids.tolist()))
        found[f"{column}:{how}"] = {"kind": "level", "column": column, "how": how, "units": count, **summary}
    return found, notes


def tied_units(frame: Frame, column: str, how: str) -> list[str]:
    """Say of how many units the order of the classes decided; where members voted, their mean scores did."""
    if frame.numbers or how == "vote":
        return []
    ties = int(((frame.scores == frame.scores.max(1, keepdims=True)).sum(1) > 1).sum())
    if not ties:
        return []
    what = counted(ties, f"of {len(frame):,} {column} units has", f"of {len(frame):,} {column} units have")
    return [f"{what} the same highest score in several classes: the first of these counts"]
