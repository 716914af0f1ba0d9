"""Which runs to compare: given by their ids, their dataset, or a filter over their facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.compare.compare_options import CompareOptions
from histokit.compare.run_facts import Facts, describe_runs
from histokit.errors import UsageError
from histokit.store import RunRecord, Store
from histokit.store.filters import Filter


def pick_runs(store: Store, runs: Sequence[str], options: CompareOptions) -> list[RunRecord]:
    """Return the runs that are asked for.

    Parameters
    ----------
    store : Store
    runs : sequence of str
        Ids or their beginnings; all stored runs where empty.
    options : CompareOptions
        Of them `dataset`, `where` and `everything`.

    Raises
    ------
    UsageError
        If nothing is asked for, a run is asked for that the options leave out, or the filter fits no fact.
    StoreError
        If a run or a dataset is unknown.
    """
    datasets, where = options.datasets, options.where
    if not (runs or datasets or where or options.everything):
        raise UsageError(
            "It is not said which runs to compare.",
            next="Give run ids (histokit list runs), --dataset D, --where EXPR or --all.",
        )
    condition = None if where is None else Filter(where)
    found = list({run.id: run for run in store.named_runs(runs)}.values()) if runs else _stored(store, datasets)
    found = [run for run in found if not datasets or run.dataset in datasets]
    if condition is None or not found:
        return found
    table = _facts_table(found, describe_runs(store, found))
    return [found[row] for row in np.flatnonzero(condition.mask(table))]


def _stored(store: Store, datasets: Sequence[str]) -> list[RunRecord]:
    every = store.runs()
    known = {run.dataset for run in every}
    for name in datasets:
        if name not in known:
            store.dataset(name)
    order = {name: number for number, name in enumerate(datasets)}
    return sorted(every, key=lambda run: (order.get(run.dataset, 0), run.dataset, run.created, run.id))


def _facts_table(runs: Sequence[RunRecord], facts: Sequence[Facts]) -> pa.Table:
    rows = [{**entry, "run": run.id, "address": run.address} for run, entry in zip(runs, facts, strict=True)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pa.Array:
    """Return values of one type as they are, true or absent as a truth value, and all others as text."""
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return pa.array([bool(value) for value in values])
    if types and types <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values] if float in types else values)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(texts, pa.string())


def check_enough(runs: Sequence[RunRecord], where: str | None) -> None:
    """Check that there are two runs or more.

    Raises
    ------
    UsageError
    """
    if len(runs) >= 2:
        return
    kept = f"The filter {where!r} keeps" if where else "There is"
    count = f"one run, {runs[0].id}" if runs else "no run"
    raise UsageError(f"A comparison needs two runs or more. {kept} {count}.", next="See: histokit list runs")
