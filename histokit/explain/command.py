"""``histokit explain``."""

from __future__ import annotations

from typing import Annotated

import typer

from histokit import console, options
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
    limit: options.Limit = None,
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
            limit=limit,
            seed=seed,
            device=device,
            out=out,
            progress=report,
        )
    if figure:
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure('explain', found, figure)}")
    for text in found.notes:
        console.warn(text)
    if out:
        console.note(f"Written: {out}")
    columns = ["id", "true", "predicted", "explained", "score", "area"]
    rows = [[getattr(each, name) for name in columns] for each in found.samples]
    title = f"{found.run}  {found.dataset}  {found.method} of {found.backbone}, layer {found.layer}"
    console.table(columns, rows, found.to_json(), title=title)


#: The commands of this room.
COMMANDS = (Entry("", "explain", explain, STEPS),)
