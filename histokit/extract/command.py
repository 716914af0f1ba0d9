"""``histokit extract``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.arguments import once
from histokit.commands import LOOK, STEPS, Entry
from histokit.errors import ExitCode
from histokit.ranges import LIMITS

_SHOWN_PROBLEMS = 20


def extract(
    dataset: options.Dataset,
    backbone: Annotated[
        list[str],
        typer.Option(
            "--backbone",
            metavar="B",
            help="A network; may be repeated (histokit list backbones).",
            autocompletion=completion.backbones,
        ),
    ],
    layers: Annotated[
        str, typer.Option(metavar="all|last|L1,L2", help="Cut points (histokit list layers B) or module paths.")
    ] = "all",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="[B=]W", help="pretrained, random, random:SEED, a file or a folder."),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(metavar="[B/]KEY=VALUE", help="size, resize, resize_size, interpolation, mean, std, target_mpp."),
    ] = None,
    channels: options.Channels = "",
    precision: Annotated[
        str, typer.Option(metavar="float32|bfloat16|float16", help="Of the forward pass.")
    ] = "float32",
    store_dtype: Annotated[
        str, typer.Option(metavar="float32|float16", help="Of stored vectors; float16 takes half the space.")
    ] = "float32",
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Run networks through torch's compiler; makes tables of their own.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(metavar="torch|openvino", help="What runs networks; openvino is for processors."),
    ] = "torch",
    retry: Annotated[bool, typer.Option("--retry", help="Try samples again that could not be read before.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compute all anew, in the place of vectors that are there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is cached and missing, and how long it will take.")
    ] = False,
) -> None:
    """Compute features of images, many layers at once.

    Pushes each image once through every network and keeps one vector for each layer. Only what is not yet in the
    store is computed, so that an interrupted command goes on where it stopped. Prints one address a line.
    """
    from histokit.extract.extract import extract as run

    with console.progress("Extracting") as report:
        result = run(
            console.open_store(),
            dataset,
            backbone,
            layers=once("--layers", layers.split(",")),
            weights=weights or [],
            preprocess=preprocess or [],
            channels=channels,
            precision=precision,
            store_dtype=store_dtype,
            device=device,
            batch_size=batch_size,
            workers=workers,
            compile=compile,
            engine=engine,
            retry=retry,
            force=force,
            dry_run=dry_run,
            progress=report,
        )
    for network in result.networks:
        console.note(network["described"])
    columns = ["address", "width", "cached", "copied", "computed", "unusable", "missing"]
    columns += ["seconds", "estimate"] if dry_run else []
    columns = [name for name in columns if any(table[name] is not None for table in result.tables)]
    titles = ["seconds alone" if name == "seconds" else name for name in columns]
    rows = [[_cell(name, table[name]) for name in columns] for table in result.tables]
    console.aside(titles, rows)
    if dry_run:
        console.note(result.expectation)
    for note in result.notes:
        console.note(note)
    for warning in result.warnings:
        console.warn(warning)
    for table in result.tables:
        for difference in table["differences"]:
            console.warn(f"{table['address']} has another table {difference}")
    console.emit(list(result.addresses), result.to_json())
    _tell_problems(dataset, result.problems)


def _cell(name: str, value: Any) -> Any:
    return round(value) if name == "seconds" and value is not None and value >= 1 else value


def _tell_problems(dataset: str, problems: Sequence[Mapping[str, str]]) -> None:
    """Name samples that cannot be used, and end with the exit code of that."""
    if problems:
        what_next = "mend and ingest them, or --retry; train and others go on without them with --allow-missing"
        console.warn(f"Samples that could not be used: {len(problems)} ({what_next}):")
        for problem in problems[:_SHOWN_PROBLEMS]:
            console.warn(f"  {problem['id']}: {problem['reason']}")
        if len(problems) > _SHOWN_PROBLEMS:
            console.warn(f"  … all of them: histokit list problems {dataset}")
        raise typer.Exit(ExitCode.DATA)


def show(
    dataset: options.Dataset,
    where: options.Where = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", **LIMITS["limit"] | {"min": 1}, help="How many. [default: 42; 12 channel by channel]"
        ),
    ] = None,
    seed: options.Seed = 0,
    problems: Annotated[
        bool, typer.Option("--problems", help="Those that could not be used, and why, in place of those drawn.")
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="B", help="As this network sees them.", autocompletion=completion.backbones),
    ] = None,
    weights: options.Weights = "pretrained",
    preprocess: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Otherwise than the network's; may be repeated.")
    ] = None,
    channels: options.Channels = "",
    figure: options.Figure = None,
) -> None:
    """Look at samples, as read or as a network sees them.

    They are drawn at random, class by class. --figure draws them, with class, id and group below each.
    """
    from histokit.extract.shown_samples import show as run

    found = run(
        console.existing_store(),
        dataset,
        where=where,
        limit=limit,
        seed=seed,
        problems=problems,
        backbone=backbone,
        weights=weights,
        preprocess=preprocess or [],
        channels=channels,
    )
    if figure:
        from histokit.extract.shown_sheet import shown_sheet
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure('show', shown_sheet(found), figure)}")
    (sheet,) = found.sheets()
    console.note(sheet.title)
    console.table(sheet.columns, sheet.rows, found.to_json())


#: The commands of this room.
COMMANDS = (Entry("", "extract", extract, STEPS), Entry("", "show", show, LOOK))
