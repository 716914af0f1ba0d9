"""The removal of datasets, runs and selections: only their records go at once, and nothing that others rest on."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from shlex import join
from typing import Any

from histokit.errors import StoreError, UsageError, counted, did_you_mean, some
from histokit.plugin.weights import TRAINED
from histokit.store.database import quote
from histokit.store.documents import ID_PREFIX
from histokit.store.records import KINDS, DatasetRecord, RunRecord, SelectionRecord
from histokit.store.repeat_commands import ingest_command
from histokit.store.store import Store

#: Of a run that chose among addresses, these stand one after the other.
_NETWORK = re.compile(rf"(?:^|[+\s]){re.escape(TRAINED)}(\w+)")
_TOLD = 3
#: Kinds of tables that one dataset has.
_OF_DATASETS = (*KINDS, "splits")


@dataclass(frozen=True)
class Removed:
    """What is removed.

    Parameters
    ----------
    kind : str
        ``dataset``, ``run`` or ``selection``.
    name : str
        Or id.
    dataset : str
        That it is of.
    samples, splits, selections, runs : int, optional
        That go with a dataset.
    """

    kind: str
    name: str
    dataset: str
    samples: int | None = None
    splits: int | None = None
    selections: int | None = None
    runs: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)


def remove(store: Store, names: Sequence[str], *, dry_run: bool = False) -> list[Removed]:
    """Remove datasets, with their splits, selections and runs, or single runs and selections.

    Their records go, so that no list and no comparison has them any more. Vectors, predictions, models and networks
    stay on disk until `histokit.store.care.collect_garbage` with ``orphans``: where the same data are ingested under
    the same name before, their vectors count again. Images are never touched.

    Parameters
    ----------
    store : Store
    names : sequence of str
        Names of datasets, ids of runs and selections, or the beginnings of ids.
    dry_run : bool
        Only say what would be removed.

    Returns
    -------
    list of Removed
        In the order of the names, each once.

    Raises
    ------
    UsageError
        If no name is given.
    StoreError
        If there is no such thing, several begin so, or what is not named rests on it; nothing is removed then.
    """
    if not names:
        raise UsageError("Nothing is named that could be removed.", next="See: histokit list datasets, runs")
    store.database.require()
    with store.database.committing():
        removal = _Removal(store, names)
        removal.check()
        if not dry_run:
            removal.do()
    return removal.found


class _Removal:
    """What is named, and what of it goes with what."""

    def __init__(self, store: Store, names: Sequence[str]):
        self.store = store
        self.names = names
        self.all_runs, self.all_selections = store.runs(), [_outline(each) for each in store.each_selection()]
        found = [self._named(name) for name in names]
        self.found = list(dict.fromkeys(found))
        self.datasets = {each.name for each in found if each.kind == "dataset"}
        self.runs = self._gone("run", self.all_runs)
        self.selections = self._gone("selection", self.all_selections)

    def _gone(self, kind: str, records: Sequence[RunRecord | SelectionRecord]) -> set[str]:
        of_datasets = {record.id for record in records if record.dataset in self.datasets}
        return of_datasets | {each.name for each in self.found if each.kind == kind}

    def _named(self, name: str) -> Removed:
        dataset = self.store.find_dataset(name)
        if dataset is not None:
            return Removed(
                "dataset",
                name,
                name,
                dataset.count,
                len(self.store.split_headers(name)),
                sum(selection.dataset == name for selection in self.all_selections),
                sum(run.dataset == name for run in self.all_runs),
            )
        long_enough = len(name) >= ID_PREFIX
        runs = [run for run in self.all_runs if long_enough and run.id.startswith(name)]
        selections = [selection for selection in self.all_selections if long_enough and selection.id.startswith(name)]
        if runs and selections:
            raise StoreError(
                f"Both a run and a selection have an id that begins with {name!r}.", next="Give more of its digits."
            )
        # Of several, one of exactly this id, or an error.
        if runs:
            run = runs[0] if len(runs) == 1 else self.store.run(name)
            return Removed("run", run.id, run.dataset)
        if selections:
            selection = selections[0] if len(selections) == 1 else self.store.selection(name)
            return Removed("selection", selection.id, selection.dataset)
        hint = did_you_mean(name, [record.name for record in self.store.datasets()])
        raise StoreError(
            f"There is no dataset, run or selection {name!r} in the store {self.store.uri}.",
            next=f"{hint}See: histokit list datasets, histokit list runs, histokit list selections",
        )

    def check(self) -> None:
        """Raise where anything that stays rests on what goes.

        Raises
        ------
        StoreError
        """
        rest = self._resting()
        if rest:
            raise StoreError(
                f"Nothing was removed: {counted(len(rest), 'thing rests', 'things rest')} on it, "
                f"{some(list(rest.values()), _TOLD)}.",
                next=f"To remove all of it: histokit store remove {join([*self.names, *rest])}",
            )

    def _resting(self) -> dict[str, str]:
        """Return id → why, of the runs and selections that stay although they rest on what goes, or on one another."""
        found: dict[str, str] = {}
        records: list[RunRecord | SelectionRecord] = [*self.all_selections, *self.all_runs]
        while True:
            gone = self.runs | self.selections | set(found)
            staying = [record for record in records if record.id not in gone]
            more = {record.id: why for record in staying if (why := _why(record, gone))}
            if not more:
                return found
            found |= more

    def do(self) -> None:
        """Remove the records."""
        database = self.store.database
        for table, ids in (("runs", self.runs), ("selections", self.selections)):
            if ids and database.exists(table):
                database.delete(table, f"id IN ({', '.join(map(quote, sorted(ids)))})")
        for name in sorted(self.datasets):
            for table in ("problems", "splits"):
                if database.exists(table):
                    database.delete(table, f"dataset = {quote(name)}")
            # Later than what is of it, so that what was interrupted can be run again; what is left now is garbage.
            database.delete("datasets", f"name = {quote(name)}")
            for kind in _OF_DATASETS:
                database.drop(f"{kind}.{name}")


def check_not_removed(store: Store, record: DatasetRecord, meanwhile: str, rest: str) -> DatasetRecord:
    """Return a dataset as it is now; raise where it was removed while something was made of it, which stays.

    Parameters
    ----------
    store : Store
    record : DatasetRecord
        As it was at the beginning.
    meanwhile : str
        What was done.
    rest : str
        How what was made is removed, too.

    Raises
    ------
    StoreError
    """
    now = store.find_dataset(record.name)
    if now is None:
        raise StoreError(
            f"The dataset {record.name!r} was removed from the store while {meanwhile}.",
            next=f"Bring it back: {ingest_command(record)}; or {rest}",
        )
    return now


def check_origin(store: Store, record: DatasetRecord, kind: str, identity: str) -> None:
    """Raise where the dataset of a run or a selection was removed while that was made.

    Raises
    ------
    StoreError
    """
    meanwhile = f"the {kind} {identity} of it was made, which is stored"
    check_not_removed(store, record, meanwhile, f"remove the {kind} as well: histokit store remove {identity} --yes")


def _outline(selection: SelectionRecord) -> SelectionRecord:
    """Return a selection without what is of each of its samples."""
    return replace(selection, folds=[], kept=None, fitted_on=[], contents={}, vectors={})


def _why(record: RunRecord | SelectionRecord, gone: Collection[str]) -> str | None:
    """Return what a run or a selection rests on of what goes, if on anything."""
    if isinstance(record, RunRecord):
        if record.source_run in gone:
            return f"the run {record.id} predicts with the model of {record.source_run}"
        if (chosen := str(record.parameters.get("selection"))) in gone:
            return f"the run {record.id} has the columns of the selection {chosen}"
    kind = "run" if isinstance(record, RunRecord) else "selection"
    networks = [run for run in networks_of(record.address) if run in gone]
    return f"the {kind} {record.id} has features of the network of {networks[0]}" if networks else None


def networks_of(address: str) -> list[str]:
    """Return the ids of the runs whose networks made features.

    Parameters
    ----------
    address : str
        A feature address, such as ``run:0f3c9a1e2b4d.1/last+texture/stain``.
    """
    found: list[str] = _NETWORK.findall(address)
    return found


def dataset_of_table(name: str) -> str | None:
    """Return the dataset of a table of samples, files or splits; none of other tables.

    Parameters
    ----------
    name : str
    """
    kind, dot, dataset = name.partition(".")
    return dataset if dot and kind in _OF_DATASETS else None
