"""What the store keeps of a dataset, however it came in: its name, its classes and what its columns are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histokit.datasets.alike import alike_notes
from histokit.errors import DataError, UsageError
from histokit.plugin.names import differ_in_case
from histokit.store import DatasetRecord
from histokit.store.records import SAMPLE_FIELDS
from histokit.store.spilled_rows import SpilledRows

#: Type of a metadata column as a plugin declares it → as it is stored.
ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str) -> None:
    """Raise unless a dataset may be called by a name.

    Raises
    ------
    UsageError
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"The dataset name {name!r} is not allowed.",
            next="Use up to 64 letters, digits, _ and -, beginning with a letter or digit.",
        )


def refuse_twins(columns: Iterable[str], where: str) -> None:
    """Raise a `DataError` where two columns of metadata differ in case alone."""
    twins = differ_in_case(columns)
    if twins:
        raise DataError(
            f"{where} has the columns {twins[0]!r} and {twins[1]!r}, which differ in case alone.",
            next="Rename or remove one of them: many programs take no notice of case.",
        )


def make_record(
    name: str,
    samples: pa.Table | SpilledRows,
    *,
    group: str | None,
    levels: Sequence[str],
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    **facts: Any,
) -> DatasetRecord:
    """Return the record of a dataset whose samples are known.

    Parameters
    ----------
    name : str
    samples : pyarrow.Table or SpilledRows
        Their fields, then their metadata.
    group : str, optional
    levels : sequence of str
    classes : sequence of str, optional
        All labels that are there, where not given.
    positive : str, optional
        The last one of two classes, where not given.
    facts
        The further fields of the record.
    """
    counts = {each["values"]: each["counts"] for each in pc.value_counts(samples.column("label")).to_pylist()}
    classes = classes or sorted(label for label in counts if label is not None)
    kinds = {stored: kind.__name__ for kind, stored in ARROW_TYPES.items()}
    return DatasetRecord(
        name=name,
        classes=tuple(classes),
        positive=positive or (classes[-1] if len(classes) == 2 else None),
        columns={field.name: kinds[field.type] for field in list(samples.schema)[len(SAMPLE_FIELDS) :]},
        group=group,
        levels=tuple(levels),
        count=len(samples),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        labels={label or "": count for label, count in sorted(counts.items(), key=lambda item: item[0] or "")},
        **facts,
    )


def alike_in(samples: pa.Table | SpilledRows, group: str | None, levels: Sequence[str]) -> Iterator[str]:
    """Yield what is to be said of classes, groups and units that are nearly the same."""
    units = {name: name for name in [*([group] if group else []), *levels]}
    for what, column in {"class": "label", **units}.items():
        if pa.types.is_string(samples.schema.field(column).type):
            yield from alike_notes(what, samples.column(column), unit=column != "label")
