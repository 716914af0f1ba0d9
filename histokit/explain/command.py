"""``histokit explain``, ``explain filters`` and ``explain columns``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import STEPS, Entry
from histokit.ranges import LIMITS


def explain(
    run: options.Run,
    sample: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="This image; may be repeated. [default: some are drawn]")
    ] = None,
    wrong: Annotated[
        bool, typer.Option("--wrong", help="Draw from wrong predictions; of numbers, the largest errors first.")
    ] = False,
    per_class: Annotated[
        int | None, typer.Option(metavar="N", **LIMITS["per_class"], help="Images of each class. [default: 2]")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="L", help="Whose map, by name or path. [default: that which is pooled]")
    ] = None,
    target: Annotated[
        str, typer.Option("--class", metavar="predicted|true|NAME", help="Of whose score.")
    ] = "predicted",
    where: options.Where = None,
    limit: options.Some = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    figure: options.Figure = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write maps as .npz, pictures as .png, and a table.")
    ] = None,
) -> None:
    """Show where in an image a model looks.

    Of a network of finetune: by Grad-CAM, for test images and by the network of their own fold, which has not trained
    on them. Of a linear classifier: by its weights, which add the channels of a layer up to its decision value. The
    figure shows each image beside its map. Prints a table: area is the share of an image that has at least half of its
    map's largest value.
    """
    from histokit.explain.explain import explain as run_explain

    with console.progress("Explaining") as report:
        found = run_explain(
            console.existing_store(),
            run,
            samples=sample or [],
            wrong=wrong,
            per_class=per_class,
            layer=layer,
            target=target,
            where=where,
            limit=limit,
            seed=seed,
            device=device,
            out=out,
            progress=report,
        )
    _finish("explain", found, figure, out)
    columns = ["id", "true", "predicted", "explained", "score", "area"]
    rows = [[getattr(each, name) for name in columns] for each in found.samples]
    title = f"{found.run}  {found.dataset}  {found.method} of {found.backbone}, layer {found.layer}"
    console.table(columns, rows, found.to_json(), title=title)


def filters(
    run: options.Run,
    number: Annotated[
        int, typer.Option("--filters", metavar="N", **LIMITS["filters"], help="How many are drawn of each layer.")
    ] = 8,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="L", help="By name or path; may be repeated. [default: that which is pooled]"),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="activation, norm, power, variation, beta, iterations, decay, jitter, mean, std; may be repeated.",
        ),
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    figure: options.Figure = None,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Write pictures as .png, and a table.")] = None,
) -> None:
    """Show what excites filters, before training and after.

    By activation maximisation as in Kensert et al. 2018, for the network of all training samples of a run of finetune,
    and for that which it was trained from. Prints the mean of each filter's map for the picture that was found.
    """
    from histokit.explain.filters import filter_images
    from histokit.plugin.options import parse_pairs

    settings = parse_pairs(set or [], "--set")
    with console.progress("Looking for pictures") as report:
        found = filter_images(
            console.existing_store(),
            run,
            layers=layer or [],
            filters=number,
            settings=settings,
            seed=seed,
            device=device,
            out=out,
            progress=report,
        )
    _finish("explain filters", found, figure, out)
    rows = [[each.layer, each.filter, each.when, each.activation, each.objective] for each in found.images]
    console.table(["layer", "filter", "when", "activation", "objective"], rows, found.to_json())


def columns(
    selection: Annotated[
        str,
        typer.Argument(
            metavar="SELECTION", help="Its id, or the beginning of it.", autocompletion=completion.selections
        ),
    ],
    number: Annotated[
        int, typer.Option("--columns", metavar="N", **LIMITS["columns"], help="How many, the most important ones.")
    ] = 8,
    per_column: Annotated[int, typer.Option(metavar="N", **LIMITS["per_column"], help="How many samples of each.")] = 7,
    figure: options.Figure = None,
) -> None:
    """Show the samples with the highest values of kept columns.

    Of the columns that a selection kept, by the stored features: nothing is computed anew. The figure shows the
    samples. Prints them with their values.
    """
    from histokit.explain.columns import kept_columns

    found = kept_columns(console.existing_store(), selection, columns=number, per_column=per_column)
    _finish("explain columns", found.sheet if figure else found, figure, None, found.notes)
    rows = [
        [column.name, column.importance, each.id, each.label, each.value]
        for column in found.columns
        for each in column.samples
    ]
    console.table(["column", "importance", "sample", "label", "value"], rows, found.to_json())


def _finish(command: str, found: Any, figure: str | None, out: str | None, notes: Sequence[str] | None = None) -> None:
    """Draw what was found, and tell what is to be known of it."""
    if figure:
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure(command, found, figure)}")
    for text in found.notes if notes is None else notes:
        console.warn(text)
    if out:
        console.note(f"Written: {out}")


#: The commands of this room.
COMMANDS = (
    Entry("explain", "", explain, STEPS),
    Entry("explain", "filters", filters),
    Entry("explain", "columns", columns),
)
