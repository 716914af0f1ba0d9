"""What runs rest on: the runs whose models or networks they use, splits that others are drawn from, and features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from histokit.errors import StoreError
from histokit.networks.trained_runs import find_trained
from histokit.plugin.weights import TRAINED
from histokit.store import RunRecord, Store
from histokit.store.split_records import Split
from histokit.store.vectors import FeatureTable


def generations(store: Store, runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return runs and those that they rest on: first those that rest on no other, then those that rest on these."""
    found: dict[str, tuple[int, RunRecord]] = {}

    def place(run: RunRecord) -> int:
        if run.id not in found:
            number = 1 + max(map(place, _before(store, run)), default=-1)
            found[run.id] = number, run
        return found[run.id][0]

    for run in runs:
        place(run)
    last = max((number for number, _ in found.values()), default=-1)
    return [[run for number, run in found.values() if number == wanted] for wanted in range(last + 1)]


def _before(store: Store, run: RunRecord) -> Iterator[RunRecord]:
    """Yield the run whose model predicted, and those whose networks features are of or training began with."""
    begun = [run.address.rpartition("/")[0]] if run.kind == "finetune" else []
    networks = dict.fromkeys([*begun, *(str(part.get("backbone")) for part in _parts(store, run))])
    # What is gone cannot be told of.
    if run.source_run:
        with contextlib.suppress(StoreError):
            yield store.run(run.source_run)
    for network in networks:
        if network.startswith(TRAINED):
            with contextlib.suppress(StoreError):
                yield find_trained(store, network).run


def _parts(store: Store, run: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield the features of a run, of the networks of its folds, and of the runs that it was chosen from."""
    yield from run.features
    if run.kind != "train":
        return
    for parts in run.found.get("fold_features", []):
        yield from parts
    for candidate in run.found.get("candidate_runs", []):
        with contextlib.suppress(StoreError):
            yield from _parts(store, store.run(candidate))


def tables_of(store: Store, runs: Sequence[RunRecord]) -> list[FeatureTable]:
    """Return the feature tables that runs were trained on, in any fold, or chosen from."""
    wanted = {part["table"] for run in runs for part in _parts(store, run) if "table" in part}
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    return [table for name in datasets for table in store.feature_tables(name) if table.name in wanted]


def splits_of(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return the dataset and the name of each split of runs, in order."""
    return list(dict.fromkeys((run.dataset, run.split) for run in runs if run.split))


def splits_behind(store: Store, runs: Sequence[RunRecord]) -> Iterator[Split]:
    """Yield the splits of runs that are there, each behind that which it was drawn within."""
    for dataset, name in splits_of(runs):
        found: dict[str, Split] = {}
        wanted = name
        with contextlib.suppress(StoreError):
            while wanted and wanted not in found:
                found[wanted] = store.split(dataset, wanted)
                wanted = str(found[wanted].params.get("within") or "")
        yield from reversed(found.values())
