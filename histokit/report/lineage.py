"""What runs rest on: the runs whose models or networks they use, splits that others are drawn from, and features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from histokit.errors import StoreError
from histokit.networks.trained_runs import find_trained
from histokit.plugin.weights import TRAINED
from histokit.store import RunRecord, Store
from histokit.store.records import SelectionRecord
from histokit.store.split_records import Split
from histokit.store.vectors import FeatureTable


class Lineage:
    """Tells what runs rest on; of the runs that it looks up, each is read once.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store):
        self._store = store
        self._known: dict[str, RunRecord] = {}
        self._looked_up: set[str] = set()
        self._trained: dict[str, RunRecord | None] = {}

    def generations(self, runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
        """Return runs and those that they rest on: first those that rest on no other, then those that rest on these."""
        found: dict[str, tuple[int, RunRecord]] = {}
        self._look_up(runs)

        def place(run: RunRecord) -> int:
            if run.id not in found:
                number = 1 + max(map(place, self._before(run)), default=-1)
                found[run.id] = number, run
            return found[run.id][0]

        for run in runs:
            place(run)
        last = max((number for number, _ in found.values()), default=-1)
        return [[run for number, run in found.values() if number == wanted] for wanted in range(last + 1)]

    def tables_of(self, runs: Sequence[RunRecord]) -> list[FeatureTable]:
        """Return the feature tables that runs were trained on, in any fold, or chosen from."""
        self._look_up(runs)
        wanted = {part["table"] for run in runs for part in self._parts(run) if "table" in part}
        datasets = list(dict.fromkeys(run.dataset for run in runs))
        return [table for name in datasets for table in self._store.feature_tables(name) if table.name in wanted]

    def _look_up(self, runs: Sequence[RunRecord]) -> None:
        """Read together the runs that some were chosen from, or whose models predicted."""
        named = [name for run in runs for name in (run.source_run, *_candidates(run)) if name]
        if wanted := [name for name in dict.fromkeys(named) if name not in self._looked_up]:
            self._looked_up.update(wanted)
            self._known |= self._store.stored_runs(wanted)

    def _before(self, run: RunRecord) -> Iterator[RunRecord]:
        """Yield the run whose model predicted, and those whose networks features are of or training began with."""
        begun = [run.address.rpartition("/")[0]] if run.kind == "finetune" else []
        self._look_up([run])
        # What is gone cannot be told of.
        if run.source_run in self._known:
            yield self._known[run.source_run]
        for network in dict.fromkeys([*begun, *(str(part.get("backbone")) for part in self._parts(run))]):
            if network.startswith(TRAINED) and (trained := self._run_of(network)):
                yield trained

    def _run_of(self, network: str) -> RunRecord | None:
        if network not in self._trained:
            self._trained[network] = None
            with contextlib.suppress(StoreError):
                self._trained[network] = find_trained(self._store, network).run
        return self._trained[network]

    def _parts(self, run: RunRecord) -> Iterator[dict[str, Any]]:
        """Yield the features of a run, of the networks of its folds, and of the runs that it was chosen from."""
        yield from run.features
        if run.kind != "train":
            return
        for parts in run.found.get("fold_features", []):
            yield from parts
        for name in _candidates(run):
            if name in self._known:
                yield from self._parts(self._known[name])


def _candidates(run: RunRecord) -> list[str]:
    return run.found.get("candidate_runs", []) if run.kind == "train" else []


def selections_of(store: Store, runs: Sequence[RunRecord]) -> list[SelectionRecord]:
    """Return the selections that runs were trained with and that are there, in order."""
    named = (run.parameters.get("selection") for run in runs)
    found = []
    for name in dict.fromkeys(str(each) for each in named if each):
        with contextlib.suppress(StoreError):
            found.append(store.selection(name))
    return found


def splits_of(records: Sequence[RunRecord | SelectionRecord]) -> list[tuple[str, str]]:
    """Return the dataset and the name of each split of runs or selections, in order."""
    return list(dict.fromkeys((record.dataset, record.split) for record in records if record.split))


def splits_behind(store: Store, records: Sequence[RunRecord | SelectionRecord]) -> Iterator[Split]:
    """Yield the splits of runs or selections that are there, each behind that which it was drawn within."""
    for dataset, name in splits_of(records):
        found: dict[str, Split] = {}
        wanted = name
        with contextlib.suppress(StoreError):
            while wanted and wanted not in found:
                found[wanted] = store.split(dataset, wanted)
                wanted = str(found[wanted].params.get("within") or "")
        yield from reversed(found.values())
