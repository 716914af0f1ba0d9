"""Units inside units: samples of wells, wells of treatments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, some
from histokit.features.feature_set import FeatureSet

Objects = NDArray[np.object_]

#: What columns of wells and of plates are called.
_WELL, _PLATE = (re.compile(rf"(metadata_)?{name}", re.IGNORECASE) for name in ("well", "plate"))


def columns_of_units(columns: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return columns, and that of plates, if known, where one is of wells, whose names come again on each plate."""
    plate = _plate_column(columns, known)
    return list(dict.fromkeys([*columns, *([plate] if plate else [])]))


def _plate_column(columns: Sequence[str], known: Iterable[str]) -> str | None:
    if not any(map(_WELL.fullmatch, columns)):
        return None
    return next(filter(_PLATE.fullmatch, (*columns, *known)), None)


def wells_of_plates(values: Mapping[str, Objects], columns: Sequence[str]) -> tuple[dict[str, Objects], list[str]]:
    """Tell wells of one name apart by their plates, where a column of plates is known.

    Parameters
    ----------
    values : mapping
        Column → (n,) array of its values, none where one is missing.
    columns : sequence of str
        Of which wells may be one.

    Returns
    -------
    units : dict
        Column → (n,) array, of `values` or what tells wells apart.
    notes : list of str
    """
    units, notes = dict(values), []
    plate = _plate_column(columns, values)
    for column in filter(_WELL.fullmatch, columns if plate else ()):
        plates = values[str(plate)]
        inside, several = _spread(values[column], plates)
        if several:
            lacking = [each is None for each in plates]
            units[column] = np.where(lacking, values[column], _inside(plates, column, values[column]))
            notes.append(_apart(column, inside, several, str(plate), "on several plates"))
    return units, notes


def nested_units(
    values: Mapping[str, Objects], columns: Sequence[str], declared: Sequence[str], labels: Sequence[Any]
) -> tuple[dict[str, Objects], list[str]]:
    """Tell units apart by the column after theirs, where a column only numbers units inside it.

    That is what replicates do, whose numbers come again in each treatment. A column that is no level of the dataset
    is taken so where any of its values comes in several units; a level is, where all of them do: where only some
    do, it is wrong, and which one is told. Wells are told apart by their plates first, see `wells_of_plates`.

    Parameters
    ----------
    values : mapping
        Column → (n,) array of its values, none where one is missing; of all `columns_of_units` at least.
    columns : sequence of str
        Fine to coarse.
    declared : sequence of str
        The levels of the dataset, fine to coarse.
    labels : sequence of n labels

    Returns
    -------
    units : dict
        Column → (n,) array, of `values` or what tells its units apart.
    notes : list of str

    Raises
    ------
    UsageError
        If a coarse level comes before a fine one.
    DataError
        If a unit of a level lies in two units of the column after it.
    """
    _check_order([column for column in columns if column in declared], declared)
    units, notes = wells_of_plates(values, columns)
    for column, outer in reversed(list(pairwise(columns))):
        inside, several = _spread(units[column], units[outer])
        if not several or column == outer:
            continue
        if column in declared and len(several) < len(inside):
            _refuse(column, outer, values[column], labels, *next(iter(several.items())))
        units[column] = _inside(units[outer], column, units[column])
        notes.append(_apart(column, inside, several, outer, f"in several units of {outer}"))
    return units, notes


def _spread(values: Objects, outer: Objects) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return the units of another column that each value is in, and those of values that are in several."""
    inside: dict[str, set[str]] = {}
    for value, unit in zip(values, outer, strict=True):
        if value is not None and unit is not None:
            inside.setdefault(str(value), set()).add(str(unit))
    return inside, {value: found for value, found in inside.items() if len(found) > 1}


def _apart(column: str, inside: Sized, several: Sized, outer: str, where: str) -> str:
    values_of = f"of {len(inside):,} values of {column}"
    they_come = counted(len(several), f"{values_of} comes", f"{values_of} come")
    return f"{they_come} {where}: taken apart by {outer}"


def _check_order(columns: Sequence[str], declared: Sequence[str]) -> None:
    for before, after in pairwise(columns):
        if declared.index(after) < declared.index(before):
            raise UsageError(
                f"The level {after} is finer than {before}, whose units have no {after} any more.",
                next=f"Go from fine to coarse: {after}, then {before}.",
            )


def _inside(outer: Objects, column: str, values: Objects) -> Objects:
    found = np.empty(len(values), object)
    found[:] = [
        None if None in (unit, value) else f"{unit}, {column} {value}"
        for unit, value in zip(outer, values, strict=True)
    ]
    return found


def _refuse(column: str, outer: str, values: Objects, labels: Sequence[Any], value: str, units: set[str]) -> None:
    mixed = {str(label) for own, label in zip(values, labels, strict=True) if str(own) == value}
    if len(mixed) > 1:
        what = f"holds samples of several true labels: {', '.join(sorted(mixed))}"
    else:
        what = f"lies in several units of {outer}: {some(sorted(units))}"
    raise DataError(
        f"The {column} {value!r} {what}.",
        next=f"Give each {column} a name of its own, such as that of its plate with it, and ingest again.",
    )


def parse_aggregate(text: str) -> list[tuple[str, str]]:
    """Split ``COLUMN:how,…``; the mean where it is not said how.

    Raises
    ------
    UsageError
        If no column is named.
    """
    found = []
    for part in text.split(","):
        column, _, how = part.strip().partition(":")
        if not column:
            raise UsageError(f"--aggregate {text!r} names no column.", next="Write for instance --aggregate slide:mean")
        found.append((column, how or "mean"))
    return found


def aggregate_chain(
    features: FeatureSet, text: str, target: str = "label"
) -> tuple[FeatureSet, dict[str, str], list[str]]:
    """Aggregate samples to units, and those to the units of the next column.

    Parameters
    ----------
    features : FeatureSet
    text : str
        ``COLUMN:how,…``, fine to coarse.
    target : str
        The column that has to be the same in each unit.

    Returns
    -------
    units : FeatureSet
        One row for each unit of the last column.
    unit_of : dict
        Sample id → its unit.
    notes : list of str

    Raises
    ------
    UsageError, DataError
    """
    steps = parse_aggregate(text)
    columns = [column for column, _ in steps]
    values = {column: features.column(column) for column in columns_of_units(columns, features.samples.column_names)}
    units, notes = nested_units(values, columns, features.record.levels, features.column(target).tolist())
    unit_of = dict(zip(features.sample_ids, map(str, units[columns[-1]]), strict=True))
    samples = features.samples
    for column in columns:
        if units[column] is not values[column]:
            texts = pa.array(units[column].tolist(), pa.string())
            samples = samples.set_column(samples.column_names.index(column), column, texts)
    features = replace(features, samples=samples)
    for column, how in steps:
        features = features.aggregate(column, cast(Any, how), target)
    return features, unit_of, notes
