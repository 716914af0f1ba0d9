"""``histokit ingest``, ``histokit import-features`` and ``histokit split``."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histokit import completion, console, options
from histokit.commands import STEPS, Entry
from histokit.errors import counted, some
from histokit.ranges import LIMITS

if TYPE_CHECKING:
    from histokit.store.records import DatasetRecord

_SHOWN_CLASSES = 8
#: What a field of a pattern may be called that is meant as the label.
_LABELS = ("label", "class", "diagnosis", "category")


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
    samples = counted(record.count, "sample", "samples")
    hint = _label_hint(record) if record.labels.keys() <= {""} else ""
    console.note(f"{samples} ({_classes(record.labels)}{hint}), {_grouping(record)}")
    console.emit(record.name, record.to_json())


def _classes(labels: dict[str, int]) -> str:
    from histokit.store.fold_sets import class_texts

    listed = class_texts(labels, ",")
    more = [f"and {len(listed) - _SHOWN_CLASSES} more classes"] if len(listed) > _SHOWN_CLASSES else []
    return ", ".join(listed[:_SHOWN_CLASSES] + more)


def _grouping(record: DatasetRecord) -> str:
    if record.group:
        return f"grouped by {record.group}"
    hint = _option(record, "group", " ({})")
    return f"without groups: folds may put images of one patient both in training and in test{hint}"


def _label_hint(record: DatasetRecord) -> str:
    """Return how data without a label are given some."""
    pattern = str(record.options.get("pattern") or "")
    if pattern and not record.options.get("labels"):
        fields = [name for name in record.columns if f"{{{name}}}" in pattern and name != record.options.get("group")]
        # Nearer than a mistyped word: {plate} and {case} are what they say.
        meant = next((name for name in fields if get_close_matches(name.lower(), _LABELS, 1, 0.75)), None)
        return f"; {{label}} in the pattern says the class{f', in the place of {{{meant}}}?' if meant else ''}"
    return _option(record, "label", "; give them with {}")


def _option(record: DatasetRecord, option: str, words: str) -> str:
    """Return how an option that takes a column is written, put into words, where the plugin of a dataset has it."""
    from histokit.plugin.manager import registry
    from histokit.plugin.options import announced_options

    known = announced_options(registry().dataset(record.plugin).__init__)
    if option not in known:
        return ""
    unsaid = "pattern" in known and not (record.options.get("pattern") or record.options.get("labels"))
    # What says the split is no group.
    others = [name for name in record.columns if name != (record.options.get("split") or "split")]
    if option == "group" and others:
        return words.format(f"-o group=COLUMN, of {some(others)}")
    if option == "group" and unsaid:
        # No path says more than the class yet.
        archive = "in an archive, " if "files" in known else ""
        return words.format(f"{archive}such as -o pattern='{{label}}/{{patient}}/**' -o group=patient")
    return words.format(f"-o {option}=COLUMN")


def import_features(
    dataset: options.Dataset,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet, .csv, .tsv, .npz or .h5ad file.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What made the vectors.")],
    version: Annotated[str, typer.Option(metavar="V", help="Which version of it.")],
    layer: Annotated[str, typer.Option(metavar="L", help="The vectors are called NAME/L.")] = "imported",
    id: Annotated[str, typer.Option(metavar="COLUMN", help="The column of sample ids.")] = "id",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on although samples have no vector.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Make the dataset, one without images, from the file.")
    ] = False,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="With --create, the labels. [default: label, where it is there]")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="With --create, the column that no fold may cut through.")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="With --create, the units of samples, fine to coarse: well, treatment."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="A column of numbers that is no feature, or a pattern: 'Image_*'."),
    ] = None,
) -> None:
    """Bring in vectors that were computed elsewhere.

    The vectors are all numeric columns of the file, or its one column of lists; columns named Metadata_… and those
    of --metadata describe the samples. Prints their address.
    """
    from histokit.ingest.imports import import_features as run

    store = console.open_store()
    with console.progress("Importing") as report:
        done = run(
            store,
            dataset,
            file,
            name=name,
            version=version,
            layer=layer,
            id=id,
            allow_missing=allow_missing,
            create=create,
            label=label,
            group=group,
            levels=level or (),
            metadata=metadata or (),
            progress=report,
        )
    (address,) = store.addresses(dataset, f"{done.address}@{done.fingerprint}")
    of = f"of {counted(done.width, 'number', 'numbers')}"
    vectors = counted(done.inserted, f"vector {of} is", f"vectors {of} are")
    console.note(f"{vectors} new; {counted(done.samples, 'sample', 'samples')}")
    if len(done.columns) > 1:
        console.note(f"they are the columns {done.columns[0]} to {done.columns[-1]}")
    if done.apart:
        from shlex import quote

        console.warn(
            f"columns of numbers apart from the others are features too: {some(done.apart)}; where they are none, add "
            f"{' '.join(f'--metadata {quote(name)}' for name in done.apart[:3])}"
        )
    for note in done.notes:
        console.warn(note)
    if create and not store.dataset(dataset).group:
        console.warn(
            "without groups: folds may put samples of one compound or patient both in training and in test (--group)"
        )
    if done.missing:
        console.warn(f"{counted(done.missing, 'sample has', 'samples have')} no vector")
    console.emit(address, {**done.to_json(), "address": address})


def split(
    dataset: options.Dataset,
    name: Annotated[str, typer.Option("--name", metavar="S", help="What the split is called.")],
    group: Annotated[
        str | None, typer.Option(metavar="COL", help="The column that no fold may cut through; the dataset's own.")
    ] = None,
    test: Annotated[float | None, typer.Option(metavar="FRACTION", help="Hold out this share for testing.")] = None,
    test_where: Annotated[
        str | None,
        typer.Option(metavar="CONDITION", help="Test the samples for which it holds, such as \"site = 'B'\"."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="N", **LIMITS["folds"], help="Cross-validate in N folds.")
    ] = None,
    leave_one_group_out: Annotated[
        bool, typer.Option("--leave-one-group-out", help="One fold for each group.")
    ] = False,
    from_file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Columns id, role and, for folds, fold, repeat.")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="Draw from what another split trains on, and test what it tests; with --train-per-class or "
            "--train-groups.",
            autocompletion=completion.splits,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="R", **LIMITS["repeats"], help="Repeat with other folds, or other draws.")
    ] = 1,
    train_groups: Annotated[
        int | None,
        typer.Option(metavar="K", **LIMITS["train_groups"], help="Train on K groups only, drawn in each fold."),
    ] = None,
    train_per_class: Annotated[
        int | None,
        typer.Option(
            metavar="N", **LIMITS["train_per_class"], help="Train on N samples of each class only, drawn in each fold."
        ),
    ] = None,
    ignore_groups: Annotated[
        bool, typer.Option("--ignore-groups", help="Cut through groups, to see what leaking folds would claim.")
    ] = False,
    bar: Annotated[
        str | None,
        typer.Option(metavar="COL", help="With --leave-one-group-out, train on no sample of the same batch either."),
    ] = None,
    target: options.Target = None,
    target_type: options.TargetType = None,
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
        test_where=test_where,
        folds=folds,
        leave_one_group_out=leave_one_group_out,
        from_file=from_file,
        within=within,
        repeats=repeats,
        train_groups=train_groups,
        train_per_class=train_per_class,
        ignore_groups=ignore_groups,
        bar=bar,
        target=target,
        target_type=target_type,
        seed=seed,
    )
    for note in [*made.params.get("notes", []), *([f"the split {name} leaks: {made.leaks}"] if made.leaks else [])]:
        console.warn(note)
    parts = made.folds()
    first = parts[0]
    trained = counted(len(first.train), "sample", "samples")
    console.note(f"Folds: {len(parts)}; the first trains on {trained} and tests on {len(first.test):,}")
    console.emit(name, {**made.header(), "folds": len(parts)})


#: The commands of this room.
COMMANDS = (
    Entry("", "ingest", ingest, STEPS),
    Entry("", "import-features", import_features, STEPS),
    Entry("", "split", split, STEPS),
)
