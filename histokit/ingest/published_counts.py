"""What was published of a dataset, against the copy at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow.compute as pc

from histokit.errors import some
from histokit.plugin.guarded import Guarded
from histokit.store.spilled_rows import SpilledRows

#: What may be counted besides the values of a column.
SAMPLES, IMAGES, LABELS = "samples", "images", "labels"

_SHOWN = 8


def differences(guarded: Guarded, rows: SpilledRows) -> Iterator[str]:
    """Yield what is to be said where a copy holds other numbers than were published.

    Parameters
    ----------
    guarded : Guarded
        The dataset, whose ``expected`` is looked at.
    rows : SpilledRows
        Its samples.

    Raises
    ------
    PluginError
        If something is expected of what is no column.
    """
    found = []
    for name, expected in guarded.dataset.expected.items():
        if isinstance(expected, Mapping):
            counts = _counts(guarded, rows, name)
            every = [*expected, *(value for value in counts if value not in expected)]
            found += [
                f"{counts.get(value, 0):,} of {value} in place of {expected.get(value, 0):,}"
                for value in every
                if counts.get(value, 0) != expected.get(value, 0)
            ]
        elif (number := _number(guarded, rows, name)) != expected:
            what = name if name in (SAMPLES, IMAGES, LABELS) else f"values of {name}"
            found.append(f"{number:,} {what} in place of {expected:,}")
    if found:
        yield f"this copy does not hold what was published: {some(found, _SHOWN)}"


def _number(guarded: Guarded, rows: SpilledRows, name: str) -> int:
    if name == SAMPLES:
        return len(rows)
    if name == IMAGES:
        return len(pc.unique(pc.list_flatten(rows.column("image"))))
    return len(_counts(guarded, rows, name))


def _counts(guarded: Guarded, rows: SpilledRows, name: str) -> dict[str, int]:
    """Return how often each value of a column occurs; ``labels`` are the classes."""
    column = "label" if name == LABELS else name
    if column not in {"label", *guarded.dataset.columns}:
        known = ", ".join([SAMPLES, IMAGES, LABELS, *guarded.dataset.columns])
        raise guarded.caller.wrong("its attribute expected", f"{name!r}, which is none of {known}")
    counted = pc.value_counts(rows.column(column).drop_null()).to_pylist()
    return {str(each["values"]): each["counts"] for each in counted}
