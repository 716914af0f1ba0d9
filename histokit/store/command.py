"""``histokit list datasets|splits|features|selections|runs|problems`` and ``store verify|repair|compact|gc|remove``."""

from __future__ import annotations

from shlex import join
from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import Entry
from histokit.console import Listing, named
from histokit.errors import ExitCode, counted
from histokit.layout import listed, prose
from histokit.ranges import LIMITS

_Dataset = Annotated[
    str | None,
    typer.Argument(metavar="DATASET", help="Only of this dataset.", autocompletion=completion.datasets),
]


def list_datasets() -> None:
    """List the datasets: samples, classes, groups."""
    from histokit.store.lists import listed_datasets

    store = console.existing_store()
    listing = Listing()
    found = listed_datasets(store, listing.miss)
    empty = f"No datasets in the store {store.uri}. Make one with: histokit ingest PLUGIN ROOT --name NAME"
    listing.show(found.columns, found.rows, {"datasets": found.documents}, empty)


def list_splits(
    dataset: _Dataset = None,
    folds: Annotated[bool, typer.Option("--folds", help="What each fold trains and tests on, by class.")] = False,
) -> None:
    """List the splits: folds, groups, what leaks."""
    from histokit.store.lists import listed_splits

    store = console.existing_store()
    listing = Listing()
    found = listed_splits(store, _names(store, dataset), folds, listing.miss)
    empty = (
        f"No splits{_where(store, dataset)}. Make one with: histokit split {dataset or 'DATASET'} --name S --folds N"
    )
    listing.show(found.columns, found.rows, {"splits": found.documents}, empty)


def list_features(dataset: _Dataset = None) -> None:
    """List the feature tables: address, width, rows, fingerprint."""
    from histokit.store.lists import listed_features

    store = console.existing_store()
    listing = Listing()
    found = listed_features(store, _names(store, dataset), listing.miss)
    empty = f"No features{_where(store, dataset)}. Make some with: histokit extract {dataset or 'DATASET'} --backbone B"
    listing.show(found.columns, found.rows, {"features": found.documents}, empty)


def list_selections(dataset: _Dataset = None) -> None:
    """List the selections of features."""
    store = console.existing_store()
    documents, rows = {}, {}
    for each in store.each_selection(_known(store, dataset)):
        names = (each.id, each.dataset, each.address, each.split, each.method)
        sizes = ((each.kept or {}).get("k_min"), len((each.kept or each.folds[0])["ranking"]))
        rows[each.id] = (each.created, [*names, *sizes, _minute(each.created)])
        if console.state.json:
            # Of all their samples, which tables do not need.
            documents[each.id] = named("selection", each.to_json())
    order = sorted(rows, key=lambda name: (rows[name][0], name))
    make = f"histokit select {dataset or 'DATASET'} --features ADDRESS"
    empty = f"No selections{_where(store, dataset)}. Make one with: {make}"
    columns = ["selection", "dataset", "address", "split", "method", "kept", "of", "created"]
    document = {"selections": [documents[name] for name in order if name in documents]}
    console.table(columns, [rows[name][1] for name in order], document, empty=empty)


def list_runs(
    dataset: _Dataset = None,
    limit: Annotated[int | None, typer.Option(metavar="N", **LIMITS["limit"], help="Only the newest N.")] = None,
) -> None:
    """List the runs: what was trained on what, with what score.

    The score is that of all predictions of a run together, by the metric of its dataset. In what a run
    differs from most that are else alike, such as the seed or a selection, stands in a column of its own.
    """
    from histokit.evaluate.pooled import pooled_scores
    from histokit.store.stored_runs import told_apart

    store = console.existing_store()
    listing = Listing()
    every = store.runs(_known(store, dataset))
    runs = every if limit is None else every[max(0, len(every) - limit) :]
    scores = pooled_scores(store, runs, listing.miss)
    documents = []
    for run in runs:
        by, score = scores[run.id]
        documents.append({**named("run", run.to_json()), "score": score, "scored_by": by})
    columns = ["run", "dataset", "kind", "address", "classifier", "split"]
    by_one = len({d["scored_by"] for d in documents}) == 1
    score_columns = ["score"] if by_one else ["score", "scored_by"]
    rows = [[*(d[c] for c in [*columns, *score_columns]), _minute(d["created"])] for d in documents]
    titles = [documents[0]["scored_by"]] if by_one else ["score", "by"]
    if any(apart := told_apart(runs)):
        titles = [*titles, "differs in"]
        rows = [[*row[:-1], listed(texts, limit=len(texts)), row[-1]] for row, texts in zip(rows, apart, strict=True)]
    empty = f"No runs{_where(store, dataset)}. Make one with: histokit train {dataset or 'DATASET'} --features ADDRESS"
    if len(runs) < len(every):
        console.note(f"The newest {len(runs)} of {len(every)} runs are shown")
    document = {"count": len(every), "runs": documents}
    listing.show([*columns, *titles, "created"], rows, document, None if every else empty)


def list_problems(
    dataset: options.Dataset,
) -> None:
    """List the samples that could not be read, and why."""
    store = console.existing_store()
    store.dataset(dataset)
    documents = store.problems(dataset).drop_columns(["content"]).to_pylist()
    rows = [[d["id"], d["stage"], prose(d["reason"])] for d in documents]
    console.table(["id", "stage", "reason"], rows, {"problems": documents}, empty=f"No problems in {dataset}.")


def _known(store: Any, dataset: str | None) -> str | None:
    return store.dataset(dataset).name if dataset else None


def _where(store: Any, dataset: str | None) -> str:
    return f" of {dataset}" if dataset else f" in the store {store.uri}"


def _minute(created: str) -> str:
    return created[:16].replace("T", " ")


def _names(store: Any, dataset: str | None) -> list[str]:
    known = _known(store, dataset)
    return [known] if known else [record.name for record in store.datasets()]


def verify() -> None:
    """Find damaged, incomplete and foreign tables.

    Every table is read to its end. Prints what is wrong and what to do; exit code 5 where anything is damaged.
    Feature tables whose extraction was interrupted, or is just running, are told as incomplete.
    """
    from histokit.store.verify import verify as run

    with console.progress("Verifying") as report:
        found = run(console.existing_store(), report)
    if found.findings or console.state.json:
        rows = [[f.table, f.kind, prose(f.what), prose(f.next)] for f in found.findings]
        console.table(["table", "kind", "what is wrong", "what to do"], rows, found.to_json())
    tables = counted(found.tables, "table", "tables")
    seen = f"{tables} with {counted(found.rows, 'row', 'rows')} {'was' if found.tables == 1 else 'were'} read"
    wrong = counted(len(found.damaged), "thing is", "things are")
    rest = len(found.findings) - len(found.damaged)
    more = f"; {counted(rest, 'feature table is', 'feature tables are')} incomplete" if rest else ""
    console.note(f"{seen}{more}: nothing is damaged" if found.ok else f"{seen}; {wrong} wrong{more}")
    if not found.ok:
        raise typer.Exit(ExitCode.STORE)


def repair() -> None:
    """Put aside what is damaged, so that the rest can be used.

    Damaged tables are moved, and damaged records written, into the folder `damaged` of the store; nothing is deleted.
    Prints what was damaged and how to make it again.
    """
    from histokit.store.additions import DAMAGED
    from histokit.store.repair import repair as run

    store = console.open_store()
    with console.progress("Verifying") as report:
        found = run(store, report)
    if found.findings or console.state.json:
        rows = [[f.table, f.kind, f.what, f.next] for f in found.findings]
        console.table(["table", "kind", "what was wrong", "what to do"], rows, found.to_json())
    console.note("Nothing is wrong" if found.ok else f"What was damaged is in {store.uri / DAMAGED}")


def compact() -> None:
    """Merge the small fragments of every table.

    No version is removed, so nothing that reads or writes is disturbed. Prints the number of fragments of tables
    that had several.
    """
    from histokit.store.care import compact as run

    with console.progress("Compacting") as report:
        done = run(console.existing_store(), report)
    rows = [[c.table, *(c.fragments or ("busy", "busy"))] for c in done if c.fragments is None or c.fragments[0] > 1]
    console.table(["table", "fragments before", "after"], rows, {"tables": [c.to_json() for c in done]})
    if whole := len(done) - len(rows):
        console.note(f"{counted(whole, 'table was', 'tables were')} in one piece already")


def gc(
    older_than: Annotated[
        float, typer.Option(metavar="MINUTES", **LIMITS["older_than"], help="Keep versions replaced within this time.")
    ] = 60.0,
    stale_rows: Annotated[
        bool, typer.Option("--stale-rows", help="Remove feature rows of samples that changed or are gone.")
    ] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Remove feature tables of datasets and networks that are not there.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove old versions of all tables.

    A version goes once a newer one took its place more than --older-than minutes ago. Only one gc at a time works
    on a store. Prints what was removed, and the bytes.
    """
    from histokit.store.care import collect_garbage

    with console.progress("Collecting") as report:
        done = collect_garbage(
            console.existing_store(),
            older_than=older_than,
            stale_rows=stale_rows,
            orphans=orphans,
            dry_run=dry_run,
            progress=report,
        )
    freed = sum(care.freed for care in done)
    changed = [care for care in done if care.versions or care.rows or care.dropped]
    rows = [[c.table, c.versions, c.rows, "yes" if c.dropped else "no", c.freed] for c in changed]
    document = {"dry_run": dry_run, "freed": freed, "tables": [care.to_json() for care in changed]}
    console.table(["table", "old versions", "rows", "dropped", "bytes"], rows, document)
    console.note(f"{freed / 1e6:.1f} MB {'would be' if dry_run else 'were'} freed")


def remove(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Datasets, runs and selections.", autocompletion=completion.removable),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove them, in place of saying what would be removed.")] = False,
) -> None:
    """Remove datasets, runs or selections.

    A dataset goes with its splits, selections and runs. Nothing goes on which something rests that is not named as
    well. Vectors, predictions and networks stay on disk until: histokit store gc --orphans. Images are never touched.
    """
    from histokit.store.removal import remove as run

    done = run(console.existing_store(), names, dry_run=not yes)
    documents = [each.to_json() for each in done]
    rows = [list(document.values()) for document in documents]
    console.table(list(documents[0]), rows, {"dry_run": not yes, "removed": documents})
    if yes:
        console.note("Their vectors, predictions and networks take space until: histokit store gc --orphans")
    else:
        console.note(f"Nothing was removed yet: histokit store remove {join(names)} --yes")


#: The commands of this room.
COMMANDS = (
    Entry("list", "datasets", list_datasets),
    Entry("list", "splits", list_splits),
    Entry("list", "features", list_features),
    Entry("list", "selections", list_selections),
    Entry("list", "runs", list_runs),
    Entry("list", "problems", list_problems),
    Entry("store", "verify", verify),
    Entry("store", "repair", repair),
    Entry("store", "compact", compact),
    Entry("store", "gc", gc),
    Entry("store", "remove", remove),
)
