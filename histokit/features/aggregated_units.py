"""The samples of aggregated units: slides, patients, wells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from histokit.errors import DataError, some
from histokit.plugin.digests import digest_bytes


def aggregate_samples(
    samples: pa.Table, members: Mapping[str, Sequence[int]], by: str, target: str = "label"
) -> pa.Table:
    """Return one row for each unit, with the columns of the samples.

    A value that is not the same in the whole unit becomes none; the content is the digest of its samples' contents.

    Parameters
    ----------
    samples : pyarrow.Table
    members : mapping
        Unit → its rows.
    by : str
        What the units are.
    target : str
        The column that is the same in each unit.

    Raises
    ------
    DataError
        If a unit holds two labels, or values of the target.
    """
    columns: dict[str, pa.Array] = {}
    for name in samples.column_names:
        values = samples.column(name).to_pylist()
        merged = []
        for unit, rows in members.items():
            distinct = {repr(values[r]) for r in rows}
            if name == target and len(distinct) > 1:
                raise DataError(
                    f"The {by} {unit!r} holds samples of {len(distinct)} {target}s: {some(sorted(distinct))}.",
                    next=f"Aggregate over a column whose samples share their {target}.",
                )
            merged.append(values[rows[0]] if len(distinct) == 1 else None)
        columns[name] = pa.array(merged, samples.schema.field(name).type)
    contents = samples.column("content").to_pylist()
    columns["id"] = pa.array(list(members), pa.string())
    columns["content"] = pa.array(
        [digest_bytes(*sorted(contents[r] for r in rows)) for rows in members.values()], pa.binary(16)
    )
    return pa.table(columns, schema=samples.schema)
