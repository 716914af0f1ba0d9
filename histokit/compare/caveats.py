"""What a reader of a comparison should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from histokit.compare.feature_layers import TUNED_HERE, is_chosen
from histokit.compare.methods import method_facts
from histokit.compare.score_table import Cell, Table
from histokit.compare.scored import Scored
from histokit.compare.table_columns import Column
from histokit.errors import StoreError, counted, some
from histokit.evaluate.summary import ENOUGH_GROUPS
from histokit.protocol.leaks import CAN_KNOW, SAY_NOTHING, TOO_GOOD
from histokit.protocol.since import Change
from histokit.store import Store

Key = TypeVar("Key", bound=Hashable)

_CHANGED = (
    "the data or the split changed in between: train the older runs again, and give compare the ids of the new ones"
)


def column_remarks(columns: Sequence[Column]) -> Iterator[str]:
    """Say which datasets occur several times, and what follows."""
    for (dataset, *_), same in _several(columns, lambda column: column.task).items():
        if len({column.aggregate for column in same}) > 1:
            units = " and ".join(dict.fromkeys(column.aggregate or "samples" for column in same))
            yield (
                f"{dataset} has runs on {units}: each is a column of its own, and there are no ranks; choose one "
                'with --where "aggregate IS NULL" or "aggregate = \'COLUMN:how\'"'
            )
            continue
        count = Counter(column.split for column in same)
        splits = " and ".join(
            f"{column.split or 'predictions'}{f' {column.split_digest[:4]}' * (count[column.split] > 1)}"
            for column in same
        )
        alone = next((column.split for column in same if count[column.split] == 1), None)
        yield (
            f"{dataset} has runs on several splits, {splits}: each is a column of its own, and there are no ranks; "
            + (_CHANGED if alone is None else f"choose one with --where \"split = '{alone}'\"")
        )
    for dataset, same in _several(columns, lambda column: column.task[0]).items():
        if len({column.task for column in same}) > 1:
            yield f"{dataset} has runs with several targets or filters: ranks and tests take each as a dataset"


def _several(columns: Sequence[Column], key: Callable[[Column], Key]) -> dict[Key, list[Column]]:
    found: dict[Key, list[Column]] = {}
    for column in columns:
        found.setdefault(key(column), []).append(column)
    return {name: listed for name, listed in found.items() if len(listed) > 1}


def cell_remarks(table: Table) -> Iterator[str]:
    """Say which scores are means of runs that are not alike, and which methods are not the same everywhere."""
    unlike_runs: dict[str, list[str]] = {}
    unpaired = []
    for method, cells in table.items():
        for column, cell in cells.items():
            name = f"{method} on {column.name}"
            if differing := _differing(cell):
                what = f"the mean of {len(cell.runs)} runs that differ in {some(differing)}"
                unlike_runs.setdefault(what, []).append(name)
            unpaired += [name] * (not cell.samples)
    for what, names in unlike_runs.items():
        yield f"{some(names)} {'is' if len(names) == 1 else 'are each'} {what}"
    if unpaired:
        yield f"the runs of {some(unpaired)} were not all scored on the same samples"
    unlike = [method for method, cells in table.items() if _made_differently(cells)]
    if unlike:
        yield f"features of {some(unlike)} were not made in the same way on every dataset: their fingerprints differ"


def _differing(cell: Cell) -> list[str]:
    every = [method_facts(entry.facts) for entry in cell.runs]
    return [
        name
        for name in dict.fromkeys(n for facts in every for n in facts)
        if len({repr(f.get(name)) for f in every}) > 1
    ]


def _made_differently(cells: dict[Column, Cell]) -> bool:
    """Return whether features of one address have other fingerprints on another dataset."""
    made: dict[str, set[str]] = {}
    for entry in (entry for cell in cells.values() for entry in cell.runs):
        for part in [] if is_chosen(entry.run) else entry.run.features:
            if not str(part["backbone"]).startswith(TUNED_HERE):
                made.setdefault(str(part["address"]), set()).add(str(part["fingerprint"]))
    return any(len(fingerprints) > 1 for fingerprints in made.values())


def leak_remarks(store: Store, columns: Sequence[Column]) -> Iterator[str]:
    """Say which splits leak, as their sources declare."""
    for dataset, split in dict.fromkeys((column.task[0], column.split) for column in columns if column.split):
        try:
            leaks = store.split(dataset, split).leaks
        except StoreError:
            continue
        if leaks:
            yield f"the split {split} of {dataset} leaks: {leaks}"


def run_remarks(scored: Sequence[Scored]) -> Iterator[str]:
    """Say which data changed, which scores are undefined, and which intervals are unreliable."""
    too_good: dict[str, list[str]] = {}
    undefined: dict[tuple[str, str], list[str]] = {}
    for entry in scored:
        yield from entry.notes
        for note in entry.run.notes:
            if any(words in note for words in (TOO_GOOD, CAN_KNOW, SAY_NOTHING)):
                too_good.setdefault(note, []).append(f"{entry.run.address} on {entry.run.dataset}")
        if entry.score is None and not entry.notes:
            undefined.setdefault((entry.metric, entry.run.dataset), []).append(entry.run.id)
    yield from change_remarks(scored)
    for note, places in too_good.items():
        yield f"{some(list(dict.fromkeys(places)))}: {note}"
    for (metric, dataset), runs in undefined.items():
        yield f"the {metric} of {some(runs)} on {dataset} is undefined"
    peeked: dict[str, list[str]] = {}
    for entry in scored:
        peeked.setdefault(entry.peeked, []).append(entry.run.id)
    for what in sorted(peeked.keys() - {""}):
        yield f"{what} of {some(peeked[what])} were chosen on the test samples: their scores are optimistic"
    few = {entry.groups for entry in scored if entry.groups < ENOUGH_GROUPS}
    if few:
        yield f"intervals of {counted(min(few), 'group', 'groups')} are unreliable, they need {ENOUGH_GROUPS}"


def change_remarks(scored: Sequence[Scored]) -> Iterator[str]:
    """Say of which runs the data were ingested again, and what is otherwise in them now."""
    since: dict[tuple[str, Change], list[str]] = {}
    for entry in scored:
        for change in entry.changes:
            since.setdefault((entry.run.dataset, change), []).append(entry.run.id)
    for (dataset, change), runs in since.items():
        yield change.tell(dataset, runs)
