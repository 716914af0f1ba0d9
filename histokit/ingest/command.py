"""``histokit ingest`` and ``histokit split``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histokit import completion, console, options
from histokit.ranges import LIMITS

if TYPE_CHECKING:
    from histokit.store.records import DatasetRecord

_SHOWN_CLASSES = 8


def ingest(
    plugin: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN",
            help="A dataset plugin: folder, table, synthetic, … (histokit list plugins).",
            autocompletion=completion.dataset_plugins,
        ),
    ],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder of the data.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the dataset is called from now on.")],
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", metavar="KEY=VALUE", help="An option of the plugin.")
    ] = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file again, whatever its date.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put other data in the place of those of this name.")
    ] = False,
) -> None:
    """Read samples, labels and splits into the store.

    Images are not copied: the store remembers where they lie and what is in them. Ingesting a dataset again takes up
    what changed. Prints NAME.
    """
    from histokit.ingest.ingest import ingest as run
    from histokit.plugin.options import parse_pairs

    options = parse_pairs(option or [], "-o")
    with console.progress("Ingesting") as report:
        store, how = console.open_store(), {"rehash": rehash, "replace": replace}
        record = run(store, plugin, root, name=name, options=options, progress=report, **how)
    for warning in record.warnings:
        console.warn(warning)
    if record.problems:
        console.warn(f"Samples whose files cannot be read: {record.problems}. See: histokit list problems {name}")
    console.note(f"{record.count} samples ({_classes(record.labels)}), {_grouping(record)}")
    console.emit(record.name, record.to_json())


def _classes(labels: dict[str, int]) -> str:
    listed = [f"{label or 'no label'} {count}" for label, count in labels.items()]
    more = [f"and {len(listed) - _SHOWN_CLASSES} more classes"] if len(listed) > _SHOWN_CLASSES else []
    return ", ".join(listed[:_SHOWN_CLASSES] + more)


def _grouping(record: DatasetRecord) -> str:
    if record.group:
        return f"grouped by {record.group}"
    return "without groups: folds may put images of one patient both in training and in test (-o group=COLUMN)"


def split(
    dataset: options.Dataset,
    name: Annotated[str, typer.Option("--name", metavar="S", help="What the split is called.")],
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="The column that no fold may cut through; the dataset's own.")
    ] = None,
    test: Annotated[float | None, typer.Option(metavar="FRACTION", help="Hold out this share for testing.")] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="N", **LIMITS["folds"], help="Cross-validate in N folds.")
    ] = None,
    leave_one_group_out: Annotated[
        bool, typer.Option("--leave-one-group-out", help="One fold for each group.")
    ] = False,
    from_file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Columns id, role and, for folds, fold, repeat.")
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="R", **LIMITS["repeats"], help="Repeat with other folds.")] = 1,
    train_groups: Annotated[
        int | None,
        typer.Option(metavar="K", **LIMITS["train_groups"], help="Train on K groups only, drawn in each fold."),
    ] = None,
    ignore_groups: Annotated[
        bool, typer.Option("--ignore-groups", help="Cut through groups, to see what leaking folds would claim.")
    ] = False,
    seed: options.Seed = 0,
) -> None:
    """Make a named split of a dataset, group by group.

    Groups (slides, patients) never straddle training and test, and folds are stratified as far as groups allow.
    Prints the split's name.
    """
    from histokit.protocol.named_split import split as run

    made = run(
        console.open_store(),
        dataset,
        name,
        group=group,
        test=test,
        folds=folds,
        leave_one_group_out=leave_one_group_out,
        from_file=from_file,
        repeats=repeats,
        train_groups=train_groups,
        ignore_groups=ignore_groups,
        seed=seed,
    )
    for note in [*made.params.get("notes", []), *([f"the split {name} leaks: {made.leaks}"] if made.leaks else [])]:
        console.warn(note)
    parts = made.folds()
    first = parts[0]
    console.note(f"Folds: {len(parts)}; the first trains on {len(first.train)} samples and tests on {len(first.test)}")
    console.emit(name, {**made.header(), "folds": len(parts)})
