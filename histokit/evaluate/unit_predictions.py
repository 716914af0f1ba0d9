"""Predictions of the units of a level, such as slides: those of their samples, aggregated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from histokit.errors import DataError, counted
from histokit.evaluate.frame import Codes, Frame, frame_of
from histokit.evaluate.levels import aggregate_level, members_of, shared_values, tied_units
from histokit.evaluate.units import parse_by, widened
from histokit.features.chained_units import nested_units
from histokit.store import RunRecord, Store

#: How many predictions were aggregated to that of a unit.
SAMPLES = "samples"


def unit_predictions(store: Store, run: RunRecord, rows: pa.Table, by: str) -> tuple[pa.Table, list[str]]:
    """Aggregate predictions to units, labelled or not, as `histokit.evaluate` does with the same ``by``.

    Parameters
    ----------
    store : Store
    run : RunRecord
    rows : pyarrow.Table
        Of its predictions.
    by : str
        ``COLUMN[:mean|median|vote],...``, fine to coarse; of any columns of the samples.

    Returns
    -------
    rows : pyarrow.Table
        With the columns of predictions, a row for each unit and repeat. The true label or value, the group and the fold
        are those that all samples of a unit share, else none. And with `SAMPLES`.
    notes : list of str
        What should be known of the units.

    Raises
    ------
    UsageError
        If there is no such column, a coarse one comes before a fine one, or numbers are to vote.
    DataError
        If there are no predictions, samples have no unit, or a unit lies in two of the column after it.
    """
    (entries,) = parse_by(by)
    if not len(rows):
        raise DataError(f"The run {run.id} has no predictions of such samples.", next="Use another --where.")
    columns = [column for column, _ in entries]
    frame = widened(store, run, frame_of(run, rows), columns)
    units, notes = nested_units(frame.levels, columns, run.levels, rows.column("true").to_pylist())
    frame, mixed, partly = _settled(replace(frame, levels=units), columns[-1])
    what = "value" if run.numbers else "label"
    if mixed:
        have = counted(mixed, "unit holds samples", "units hold samples")
        notes.append(f"{have} of several true {what}s: none is given as the true one")
    if partly:
        have = counted(partly, "unit holds", "units hold")
        notes.append(f"{have} samples with and without a {what}: here all count, in `evaluate` those with one")
    members = members_of(frame, columns[-1])
    for column, how in entries:
        frame = aggregate_level(frame, column, how)
        notes += tied_units(frame, column, how)
    inside = [members[key] for key in zip(frame.repeat.tolist(), frame.ids.tolist(), strict=True)]
    return _table(run, frame, rows, inside), notes


def _settled(frame: Frame, column: str) -> tuple[Frame, int, int]:
    """Give all samples of a unit the true one of those that have any; of how many units are several, and some none."""
    true, several, partly = frame.true.copy(), set(), set()
    absent = np.isnan(true) if frame.numbers else true < 0
    for (_, unit), inside in members_of(frame, column).items():
        known = np.unique(true[inside][~absent[inside]])
        true[inside] = known[0] if len(known) == 1 else np.nan if frame.numbers else -1
        several |= {unit} if len(known) > 1 else set()
        partly |= {unit} if len(known) and absent[inside].any() else set()
    return replace(frame, true=true), len(several), len(partly)


def _table(run: RunRecord, frame: Frame, rows: pa.Table, inside: list[Codes]) -> pa.Table:
    fold, group = (shared_values(np.array(rows.column(name).to_pylist(), object), inside) for name in ("fold", "group"))
    columns = {
        "id": pa.array(frame.ids, pa.string()),
        "repeat": pa.array(frame.repeat, pa.int16()),
        "fold": pa.array(fold, pa.int16()),
        "group": pa.array(group, pa.string()),
        SAMPLES: pa.array([len(each) for each in inside], pa.int64()),
    }
    if run.numbers:
        values = {"true": pa.array(frame.true, mask=np.isnan(frame.true)), "predicted": pa.array(frame.predicted)}
        unnamed = {name: pa.nulls(len(frame), pa.string()) for name in values}
        return pa.table({**columns, **unnamed, **{f"{name}_value": found for name, found in values.items()}})
    names = np.array([*frame.classes, None], object)
    codes = {"true": frame.true, "predicted": frame.predicted}
    labels = {name: pa.array(names[found], pa.string()) for name, found in codes.items()}
    return pa.table({**columns, **labels, "scores": frame.scores[:, : len(run.classes)].tolist()})
