"""``histokit neighbours`` and ``scatter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import LOOK, STEPS, Entry
from histokit.ranges import LIMITS

if TYPE_CHECKING:
    from histokit.neighbours.retrieval import Retrieval


def neighbours(
    dataset: options.Dataset,
    features: options.Features,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="ID|FILE|DATASET",
            help="A sample, an image file, or another dataset with these features. [default: every sample]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="Test samples seek among the training samples of each fold of a split.",
            autocompletion=completion.splits,
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="N", **LIMITS["k"], help="Neighbours of each query.")] = 10,
    metric: Annotated[str, typer.Option(metavar="cosine|euclidean", help="The distance.")] = "cosine",
    where: options.Where = None,
    same_group: Annotated[
        bool, typer.Option("--same-group", help="Find samples of the query's own slide or patient, too.")
    ] = False,
    allow_missing: options.AllowMissing = False,
    device: options.Device = "auto",
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write all neighbours to a .csv or .parquet file.")
    ] = None,
    figure: options.Figure = None,
    raw: options.Raw = False,
) -> None:
    """Find the most similar samples, and score retrieval.

    By the distance of stored features, never among the query's own group. Where every sample is a query, or the test
    samples of a split, tells how often neighbours are of the query's class. A figure shows queries with their
    neighbours.
    """
    from histokit.features.written_tables import check_table
    from histokit.neighbours.neighbours import neighbours as run

    if out:
        check_table(out)
    with console.progress("Searching") as report:
        found = run(
            console.existing_store(),
            dataset,
            features,
            query=query,
            split=split,
            k=k,
            metric=metric,
            where=where,
            same_group=same_group,
            allow_missing=allow_missing,
            device=device,
            progress=report,
        )
    for text in found.notes:
        console.warn(text)
    if figure:
        from histokit.figures import draw_figure
        from histokit.neighbours.pictures import contact_sheet

        console.note(f"Drawn: {draw_figure('neighbours', contact_sheet(console.open_store(), found), figure)}")
    _show(found, out, raw)


def _show(found: Retrieval, out: str | None, raw: bool) -> None:
    document: dict[str, Any] = found.to_json()
    if out:
        from histokit.features.written_tables import write_table

        table = found.table()
        write_table(table, out, raw=raw)
        document |= {"count": len(table), "file": out}
        if console.state.json or found.scores is None:
            console.emit(out, document)
            return
        console.note(f"Written: {out}")
    elif console.state.json:
        console.emit([], {**document, "neighbours": found.table().to_pylist()})
        return
    for sheet in found.sheets():
        console.table(sheet.columns, sheet.rows, None, title=sheet.title or None)


def scatter(
    dataset: options.Dataset,
    features: options.Features,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What colours tell; may be repeated. [default: label]"),
    ] = None,
    method: Annotated[str, typer.Option(metavar="pca|umap", help="How points are found.")] = "pca",
    where: options.Where = None,
    scale: Annotated[bool, typer.Option("--scale", help="Standardise columns, so that none outweighs others.")] = False,
    normalise: options.Normalise = None,
    controls: options.Controls = None,
    per: options.Per = None,
    allow_missing: options.AllowMissing = False,
    seed: options.Seed = 0,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the points to a .csv or .parquet file.")
    ] = None,
    figure: options.Figure = None,
    raw: options.Raw = False,
) -> None:
    """Show samples as points, by PCA or UMAP.

    By the first two principal components of stored features, or by UMAP (umap-learn), in colours of the label or of
    any column, such as the slide: what features tell apart that they should not is seen at once. Prints where the
    samples of each value lie.
    """
    from histokit.features.written_tables import check_table, write_table
    from histokit.neighbours.scatter import scatter as run

    if out:
        check_table(out)
    asked: dict[str, Any] = {"by": by, "method": method, "where": where, "scale": scale, "controls": controls}
    asked |= {"normalise": normalise, "per": per, "allow_missing": allow_missing, "seed": seed}
    found = run(console.existing_store(), dataset, features, **asked)
    for text in found.notes:
        console.warn(text)
    if figure:
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure('scatter', found, figure)}")
    if out:
        write_table(found.table(), out, raw=raw)
        console.emit(out, {**found.to_json(), "file": out} if console.state.json else {})
    elif console.state.json:
        console.emit([], found.to_json())
    else:
        console.note(f"x: {found.axes[0]}; y: {found.axes[1]}")
        for sheet in found.sheets():
            narrow = [sheet._replace(columns=sheet.columns[:4], rows=[row[:4] for row in sheet.rows])]
            console.table(sheet.columns, sheet.rows, None, title=sheet.title, narrow=narrow)


#: The commands of this room.
COMMANDS = (Entry("", "neighbours", neighbours, STEPS), Entry("", "scatter", scatter, LOOK))
