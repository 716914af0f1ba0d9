"""How large the problem of a dataset is: samples, classes and folds, without reading an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import HistokitError, UsageError
from histokit.features.chained_units import parse_aggregate
from histokit.ingest.dataset_record import ARROW_TYPES
from histokit.plugin import Dataset
from histokit.plugin.guarded import Guarded
from histokit.protocol.splits import AUTOMATIC
from histokit.protocol.targets import find_type
from histokit.store import Store
from histokit.store.filters import Filter
from histokit.store.records import NUMBER
from histokit.study.study_file import Data

#: What of a sample is no metadata, of that by which samples are counted.
_OWN = ("id", "label", "mpp", "part")


class ProblemSize(NamedTuple):
    """The size of a problem.

    Parameters
    ----------
    samples : int
        All that are ingested, and go through networks.
    used : int
        Those that have a target and that the filter of the dataset keeps.
    classes : int
        Theirs; 2 where numbers are predicted.
    folds : int
        Outer ones.
    rows : int
        The samples of one outer training set.
    units : float
        To so many units of a sample vectors are aggregated.
    """

    samples: int
    used: int
    classes: int
    folds: int
    rows: int
    units: float = 1.0


class _Counts(NamedTuple):
    samples: int
    used: int
    classes: int
    groups: int
    units: int


def problem_size(store: Store, data: Data) -> ProblemSize | None:
    """Return the size of the problem of a dataset, none where it cannot be known before it is ingested or split.

    Parameters
    ----------
    store : Store
    data : Data
    """
    try:
        counts = _counted(store, data)
        shape = _folds(store, data, counts)
    except (HistokitError, pa.ArrowException):
        # What is wrong with its samples is told when they are ingested.
        return None
    if shape is None:
        return None
    folds, share = shape
    rows, drawn = max(1, round(counts.used * share)), (data.made or {}).get("train_per_class")
    rows = min(rows, drawn * max(2, counts.classes)) if drawn else rows
    units = counts.units / max(1, counts.used)
    return ProblemSize(counts.samples, counts.used, max(2, counts.classes), folds, rows, units)


def _counted(store: Store, data: Data) -> _Counts:
    record, target = store.find_dataset(data.name), data.target or "label"
    unit = parse_aggregate(data.aggregate)[-1][0] if data.aggregate else "id"
    if record is None:
        assert data.opened is not None
        return _yielded(_Opened(data.opened), target, data.target_type, unit, data.where)
    group = record.group or "id"
    rows = store.samples(data.name, list(dict.fromkeys(["id", target, group, unit])), data.where)
    return _counts(rows, record.count, target, data.target_type, group, unit)


class _Opened:
    """An opened dataset as what is remembered is found by: itself, also where its plugin says what is equal to it."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __hash__(self) -> int:
        return id(self.dataset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and self.dataset is other.dataset


@lru_cache(maxsize=64)
def _yielded(opened: _Opened, target: str, kind: str | None, unit: str, where: str | None) -> _Counts:
    """Count the samples of a dataset that is not in the store, by the columns that are looked at alone."""
    dataset = opened.dataset
    types = {"id": str, "label": str, "mpp": float, "part": str, **dataset.columns}
    group = dataset.group or "id"
    unit = unit if unit in types else "id"
    looked_at = dict.fromkeys(["id", target, group, unit, *(Filter(where).names([*types]) if where else ())])
    schema = pa.schema([(name, ARROW_TYPES[types[name]]) for name in looked_at if name in types])
    batches, samples = [schema.empty_table()], iter(Guarded(dataset).samples())
    while listed := list(islice(samples, 10_000)):
        own = [{name: getattr(sample, name) for name in _OWN} | dict(sample.metadata) for sample in listed]
        batches.append(pa.Table.from_pylist(own, schema))
    rows = pa.concat_tables(batches)
    return _counts(Filter(where).keep(rows) if where else rows, len(rows), target, kind, group, unit)


def _counts(rows: pa.Table, samples: int, target: str, kind: str | None, group: str, unit: str) -> _Counts:
    if target not in rows.column_names:
        raise UsageError(f"The samples have no column {target!r}.", next="Name another target.")
    rows = rows.filter(pc.is_valid(rows.column(target)))
    classes, groups, units = (len(pc.unique(rows.column(name))) for name in (target, group, unit))
    numbers = find_type(rows.schema, target, kind) == NUMBER
    return _Counts(samples, len(rows), 2 if numbers else classes, groups, units)


def _folds(store: Store, data: Data, counts: _Counts) -> tuple[int, float] | None:
    """Return the number of outer folds, and the share of the samples that trains in one."""
    stored = store.split_headers(data.name)
    published = {} if stored or data.opened is None else Guarded(data.opened).splits()
    fair = [name for name, header in stored.items() if header["source"] == "published" and not header["leaks"]]
    fair += [name for name, split in published.items() if not split.leaks]
    name = data.split or (fair[0] if fair else "cv")
    made, groups = data.made or {}, counts.groups
    if name in stored and (data.made is None or "from_file" in made):
        return _counted_folds(store.split(data.name, name).rows.to_pylist())
    if data.made is None and name in published:
        return _counted_folds([row._asdict() for row in published[name].rows])
    how = AUTOMATIC.get(name, {"folds": 10}) if data.made is None else made
    repeats = how.get("repeats", 1)
    if "from_file" in how:
        return None
    if "within" in how:
        base = _folds(store, replace(data, split=how["within"], made=None), counts)
        return base and (base[0] * repeats, base[1])
    if "test_where" in how:
        chosen = " AND ".join(f"({text})" for text in (how["test_where"], data.where) if text)
        return repeats, 1 - _counted(store, replace(data, where=chosen)).used / max(1, counts.used)
    if "test" in how:
        return repeats, 1 - how["test"]
    folds = min(how.get("folds", groups), groups)
    return folds * repeats, 1 - 1 / max(2, folds)


def _counted_folds(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
    folds = len({(row["repeat"], row["fold"]) for row in rows})
    testing = sum(row["role"] == "test" for row in rows)
    return folds, 1 - testing / max(1, len(rows))
