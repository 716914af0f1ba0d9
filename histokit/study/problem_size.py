"""How large the problem of a dataset is: samples, classes and folds, without reading an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow.compute as pc

from histokit.errors import HistokitError
from histokit.features.chained_units import parse_aggregate
from histokit.plugin import Dataset
from histokit.plugin.guarded import Guarded
from histokit.protocol.splits import AUTOMATIC
from histokit.store import Store
from histokit.study.study_file import Data


class ProblemSize(NamedTuple):
    """The size of a problem.

    Parameters
    ----------
    samples, classes : int
    folds : int
        Outer ones.
    rows : int
        The samples of one outer training set.
    units : float
        To so many units of a sample vectors are aggregated.
    """

    samples: int
    classes: int
    folds: int
    rows: int
    units: float = 1.0


def problem_size(store: Store, data: Data) -> ProblemSize | None:
    """Return the size of the problem of a dataset, none where it cannot be known before it is ingested.

    Parameters
    ----------
    store : Store
    data : Data
    """
    try:
        samples, classes, groups, units = _counted(store, data)
        folds, share = _folds(store, data, groups)
    except HistokitError:
        return None
    rows, drawn = max(1, round(samples * share)), (data.made or {}).get("train_per_class")
    rows = min(rows, drawn * max(2, classes)) if drawn else rows
    return ProblemSize(samples, max(2, classes), folds, rows, units / max(1, samples))


def _counted(store: Store, data: Data) -> tuple[int, int, int, int]:
    """Return the numbers of samples, classes, groups, and units that samples are aggregated to."""
    record, unit = store.find_dataset(data.name), parse_aggregate(data.aggregate)[-1][0] if data.aggregate else "id"
    if record is not None:
        names = [record.group or "id", unit]
        columns = store.samples(data.name, list(dict.fromkeys(names)))
        groups, units = (len(pc.unique(columns.column(name))) for name in names)
        return record.count, len(record.classes), groups, units
    assert data.opened is not None
    return _yielded(data.opened, unit)


@lru_cache(maxsize=64)
def _yielded(dataset: Dataset, unit: str) -> tuple[int, int, int, int]:
    count, labels, groups, units = 0, set(), set(), set()
    for sample in Guarded(dataset).samples():
        count += 1
        labels.add(sample.label)
        groups.add(sample.metadata.get(dataset.group) if dataset.group else sample.id)
        units.add(sample.metadata.get(unit, sample.id))
    return count, len(labels - {None}), len(groups), len(units)


def _folds(store: Store, data: Data, groups: int) -> tuple[int, float]:
    """Return the number of outer folds, and the share of the samples that trains in one."""
    stored = store.split_headers(data.name)
    published = {} if stored or data.opened is None else Guarded(data.opened).splits()
    fair = [name for name, header in stored.items() if header["source"] == "published" and not header["leaks"]]
    fair += [name for name, split in published.items() if not split.leaks]
    name = data.split or (fair[0] if fair else "cv")
    if data.made is None and name in stored:
        return _counted_folds(store.split(data.name, name).rows.to_pylist())
    if data.made is None and name in published:
        return _counted_folds([row._asdict() for row in published[name].rows])
    how = AUTOMATIC.get(name, {"folds": 10}) if data.made is None else data.made
    if "within" in how:
        folds, share = _folds(store, replace(data, split=how["within"], made=None), groups)
        return folds * how.get("repeats", 1), share
    if "test" in how:
        return how.get("repeats", 1), 1 - how["test"]
    folds = min(how.get("folds", groups), groups)
    return folds * how.get("repeats", 1), 1 - 1 / max(2, folds)


def _counted_folds(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
    folds = len({(row["repeat"], row["fold"]) for row in rows})
    testing = sum(row["role"] == "test" for row in rows)
    return folds, 1 - testing / max(1, len(rows))
