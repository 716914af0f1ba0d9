"""What scores rest on: data, splits, features, the commands that make all of it again, versions and licences."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from histokit import __version__
from histokit.errors import StoreError, counted
from histokit.features import FeatureStore
from histokit.layout import Sheet
from histokit.report.lineage import Lineage, selections_of, splits_behind, splits_of
from histokit.report.page import Block, Commands, DataTable, Facts, Notes, Section
from histokit.store import DatasetRecord, RunRecord
from histokit.store.records import SelectionRecord
from histokit.store.repeat_commands import ingest_command, make_again, run_command, selection_command, split_command
from histokit.store.split_records import Split
from histokit.store.vectors import FeatureTable

#: More rows than these are not listed one by one.
_FOLDS, _PROBLEMS = 60, 50


def data_sections(store: FeatureStore, names: Iterable[str]) -> Iterator[Section]:
    """Yield a part for each dataset."""
    for name in names:
        record = store.find_dataset(name)
        if record is None:
            yield Section(f"Data: {name}", [Notes(["The dataset is not in the store any more."], "note")])
        else:
            yield Section(f"Data: {name}", list(_data(store, record)))


def _data(store: FeatureStore, record: DatasetRecord) -> Iterator[Block]:
    groups = store.samples(record.name, [record.group]).column(0) if record.group else None
    facts: dict[str, Any] = {
        "samples": record.count,
        "classes": len(record.classes),
        **({f"groups ({record.group})": len(groups.drop_null().unique())} if groups is not None else {"groups": None}),
        "channels": ", ".join(record.channels),
        "plugin": f"{record.plugin} {record.plugin_version} ({record.distribution})",
        "folder": record.root,
        **{f"option {name}": value for name, value in record.options.items() if value not in (None, "", [])},
        "licence": record.licence or "not stated",
        "to be cited": record.citation,
        "ingested": record.created,
    }
    yield Facts({name: value for name, value in facts.items() if value is not None or name == "groups"})
    if record.warnings:
        yield Notes(record.warnings, "note")
    if record.labels:
        labelled = sum(record.labels.values())
        rows = [[name, count, count / labelled] for name, count in record.labels.items()]
        rows += [["no label", record.count - labelled, None]] * (labelled < record.count)
        yield DataTable(Sheet("Samples by class", ["class", "samples", "share of the labelled"], rows))
    # A sample is there for each step that met it.
    stages: dict[tuple[str, str], list[str]] = {}
    for row in store.problems(record.name).to_pylist():
        if not row["stage"].startswith("remark"):
            stages.setdefault((row["id"], row["reason"]), []).append(row["stage"])
    if stages:
        title = f"{counted(len({sample for sample, _ in stages}), 'sample', 'samples')} that could not be read"
        title += f" (the first {_PROBLEMS})" * (len(stages) > _PROBLEMS)
        listed = [[sample, ", ".join(met), reason] for (sample, reason), met in stages.items()][:_PROBLEMS]
        yield DataTable(Sheet(title, ["sample", "stage", "reason"], listed))


def split_sections(store: FeatureStore, runs: Sequence[RunRecord]) -> Iterator[Section]:
    """Yield a part for each split of runs."""
    for dataset, name in splits_of(runs):
        try:
            split = store.split(dataset, name)
        except StoreError as error:
            yield Section(f"Split: {name} of {dataset}", [Notes([error.message], "note")])
            continue
        digests = {run.split_digest for run in runs if (run.dataset, run.split) == (dataset, name)}
        yield Section(f"Split: {name} of {dataset}", list(_split(split, digests)), closed=True)


def _split(split: Split, digests: set[str]) -> Iterator[Block]:
    folds = split.folds()
    yield Facts(
        {
            "where it comes from": split.source,
            "folds": len(folds),
            "groups kept together": split.group or "none",
            "seed": split.seed,
            "digest": split.digest,
        }
    )
    notes = [*([split.leaks] if split.leaks else [])]
    if notes:
        yield Notes(notes, "leak")
    if digests - {split.digest}:
        yield Notes(["It is not what it was when a run used it: its rows have changed since."], "note")
    if split.params.get("notes"):
        yield Notes(split.params["notes"], "note")
    rows = [[fold.repeat, fold.fold, len(fold.train), len(fold.val), len(fold.test)] for fold in folds]
    title = f"Samples of {counted(len(rows), 'fold', 'folds')}" + f" (the first {_FOLDS})" * (len(rows) > _FOLDS)
    yield DataTable(Sheet(title, ["repeat", "fold", "training", "validation", "test"], rows[:_FOLDS]))


def feature_section(store: FeatureStore, runs: Sequence[RunRecord], tables: Sequence[FeatureTable]) -> Section | None:
    """Return the part on the features of runs; none where they have none."""
    rows = [
        [t.dataset, t.address, t.width, t.weights, _licence(t), _preprocessing(t), t.spec.get("precision")]
        for t in tables
    ]
    columns = ["dataset", "features", "columns", "weights", "licence of the weights", "preprocessing", "precision"]
    blocks: list[Block] = [DataTable(Sheet("Tables of features", columns, rows))] if rows else []
    for chosen in selections_of(store, runs):
        kept = f"{len(chosen.kept['columns']):,} of {len(chosen.kept['ranking']):,}" if chosen.kept else "by fold"
        facts = {"selection": chosen.id, "features": chosen.address, "kept columns": kept, "method": chosen.method}
        blocks.append(Facts(facts))
    return Section("Features", blocks) if blocks else None


def _licence(table: FeatureTable) -> str:
    return str(table.info.get("licence") or ("–" if table.weights in ("none", "imported") else "not stated"))


def _licence_before(store: FeatureStore, run: RunRecord) -> str:
    """Return the licence of the weights that a network was fine-tuned from."""
    with contextlib.suppress(StoreError):
        for entry in run.found.get("networks", [])[-1:]:
            return store.networks.licence(run, entry) or "not stated"
    return "not stated"


def _preprocessing(table: FeatureTable) -> str | None:
    given: Mapping[str, Any] = table.spec.get("preprocess", {})
    return ", ".join(f"{name} {_plain(value)}" for name, value in given.items()) or None


def _plain(value: Any) -> str:
    return " ".join(f"{each:.4g}" for each in value) if isinstance(value, list | tuple) else str(value)


def command_section(store: FeatureStore, runs: Sequence[RunRecord], lineage: Lineage) -> Section:
    """Return the part with the commands that make everything again, in the order in which they are to be given."""
    made = lineage.generations(runs)
    every = [run for listed in made for run in listed]
    learned: list[RunRecord | SelectionRecord] = [*every, *selections_of(store, every)]
    lines: list[str] = []
    for name in dict.fromkeys(each.dataset for each in learned):
        record = store.find_dataset(name)
        lines += [ingest_command(record)] if record else []
    lines += [command for split in splits_behind(store, learned) if (command := split_command(split))]
    for listed in made:
        for table in lineage.tables_of(listed):
            source = quote(str(table.info.get("source") or "FILE"))
            lines += [make_again(table, file=source)] * (not _came_with(store, table))
        lines += [selection_command(selection) for selection in selections_of(store, listed)]
        lines += [run_command(run) for run in listed]
    return Section("Make it again", [Commands(list(dict.fromkeys(lines)))])


def _came_with(store: FeatureStore, table: FeatureTable) -> bool:
    """Return whether a table was made together with its dataset, from one file."""
    record = store.find_dataset(table.dataset)
    made = {"name": table.backbone, "version": table.version, "layer": table.layer}
    return bool(record and table.imported and {name: record.options.get(name) for name in made} == made)


def version_section(store: FeatureStore, runs: Sequence[RunRecord], tables: Sequence[FeatureTable]) -> Section:
    """Return the part on the versions that runs were made with, and on licences."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, number in run.versions.items():
            versions.setdefault(name, set()).add(number)
    facts = {name: ", ".join(sorted(numbers)) for name, numbers in versions.items()}
    licences: list[tuple[str, str]] = []
    for name in dict.fromkeys(run.dataset for run in runs):
        record = store.find_dataset(name)
        licences += [(f"data {name}", record.licence or "not stated")] if record else []
    # One network may have weights of several licences.
    for table in tables:
        if table.weights not in ("none", "imported"):
            licences.append((f"weights of {table.backbone}", _licence(table)))
    for run in runs:
        if run.kind == "finetune" and not run.parameters.get("from_scratch"):
            licences.append((f"weights of {run.address.rpartition('/')[0]}", _licence_before(store, run)))
    blocks: list[Block] = [Facts({**facts, "this page": f"histokit {__version__}"})]
    if licences:
        blocks.append(DataTable(Sheet("Licences", ["of", "licence"], [list(each) for each in dict.fromkeys(licences)])))
    return Section("Versions and licences", blocks)
