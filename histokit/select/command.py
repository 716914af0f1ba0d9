"""``histokit select``, and what looks at selections and importances."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import Entry
from histokit.layout import Pieces, listed, prose
from histokit.ranges import LIMITS

#: What one document of a selection leaves out: as many entries as there are samples.
_LONG = ("fitted_on", "contents", "vectors")


def select(
    dataset: options.Dataset,
    features: options.Features,
    split: options.Split = None,
    method: Annotated[str, typer.Option(metavar="rfe", help="Recursive feature elimination.")] = "rfe",
    tolerance: Annotated[
        float,
        typer.Option(metavar="T", **LIMITS["tolerance"], help="How far the smallest subset may be below the best."),
    ] = 0.005,
    step: Annotated[
        str,
        typer.Option(
            metavar="STEP",
            help="Columns to drop at a time: a count such as 4, a fraction below 1, or auto: large steps first, then 4 "
            "at a time where it matters.",
        ),
    ] = "auto",
    metric: Annotated[
        str | None,
        typer.Option(metavar="M", help="To judge by. [default: the dataset's own]", autocompletion=completion.metrics),
    ] = None,
    inner_folds: Annotated[
        int, typer.Option(metavar="N", **LIMITS["inner_folds"], help="Group-wise folds to score each size in.")
    ] = 5,
    target: options.Target = None,
    target_type: options.TargetType = None,
    where: options.Where = None,
    normalise: options.Normalise = None,
    controls: options.Controls = None,
    per: options.Per = None,
    seed: options.Seed = 0,
    figure: options.Figure = None,
    allow_missing: options.AllowMissing = False,
    force: options.Force = False,
) -> None:
    """Find the smallest set of features that does as well.

    Drops the least important columns of extremely randomised trees step by step, on training and validation samples
    only. Stopped, the same command goes on from there. Prints a selection id.
    """
    from histokit.select.provenance import kept_by_layer
    from histokit.select.select import select as run
    from histokit.select.select_options import SelectOptions

    asked = SelectOptions.among(locals())
    with console.progress("Selecting") as report:
        record = run(console.open_store(), dataset, features, **asked, force=force, progress=report)
    for text in record.found["notes"]:
        console.warn(text)
    rows = [_row(part) for part in [*record.folds, *([record.kept] if record.kept else [])]]
    console.aside(["fold", "columns", "k_best", "k_min", record.parameters["metric"]], rows)
    layers = kept_by_layer(record)
    shown = [[layer["network"], layer["layer"], layer["columns"], layer["kept"]] for layer in layers]
    console.aside(["network", "layer", "columns", "kept"], shown)
    if figure:
        from histokit.figures import draw_figure

        draw_figure("select", record, figure)
    console.emit(record.id, {**_document(record.to_json()), "layers": layers, **({"figure": figure} if figure else {})})


def _row(part: dict[str, Any]) -> list[Any]:
    name = "all training samples" if part["fold"] is None else f"{part['repeat']}/{part['fold']}"
    means = {size: mean for size, mean, _ in part["curve"]}
    return [name, len(part["ranking"]), part["k_best"], part["k_min"], means[part["k_min"]]]


def _document(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in console.named("selection", record).items() if key not in _LONG}


def compare(
    selections: Annotated[
        list[str],
        typer.Argument(metavar="SELECTION", help="Two selection ids or more.", autocompletion=completion.selections),
    ],
    figure: options.Figure = None,
) -> None:
    """Tell what the selections of datasets have in common.

    Of each two, how many columns both kept, and how many random subsets would share. Then how many of the first
    columns of every ranking it takes until one column is in all of them: ranked by importances on all columns, as in
    Mormont et al. 2018, and in the order of elimination. --figure draws the scores of all by subset size.
    """
    from histokit.select.overlap import compare_selections

    found = compare_selections(console.open_store(), selections)
    if figure:
        from histokit.figures import draw_figure

        draw_figure("select compare", found, figure)
    if console.state.json:
        console.emit([], {**found.to_json(), **({"figure": figure} if figure else {})})
        return
    names = ["first", "second", "datasets", "common", "expected", "jaccard"]
    pairs = [
        [*pair.values()]
        for pair in ({**p, "datasets": Pieces([f"{p['datasets'][0]} and", *p["datasets"][1:]])} for p in found.pairs)
    ]
    console.table(names, pairs, None, title=f"columns of {found.columns} that both kept")
    rows: list[list[Any]] = [
        [prose("kept by all"), len(found.common), len(found.common) / found.columns, listed(found.common, 3, "names")]
    ]
    for name, entry in found.smallest.items():
        if entry is not None:
            text = f"first columns by {name} until one is in all"
            rows.append([prose(text), entry["size"], entry["share"], listed(entry["names"], 3, "names")])
    console.table(["", "columns", "share", "names"], rows, None)


def importances(
    datasets: options.Datasets,
    features: options.Features,
    split: options.Split = None,
    max_features: Annotated[
        str, typer.Option(metavar="M", help="Columns tried at each node: sqrt, n/2, n or a number.")
    ] = "sqrt",
    trees: Annotated[int, typer.Option(metavar="N", **LIMITS["trees"], help="For each dataset.")] = 100,
    target: options.Target = None,
    target_type: options.TargetType = None,
    where: options.Where = None,
    normalise: options.Normalise = None,
    controls: options.Controls = None,
    per: options.Per = None,
    seed: options.Seed = 0,
    figure: options.Figure = None,
    allow_missing: options.AllowMissing = False,
) -> None:
    """Tell how much each network and each layer brings.

    Sums the importances of extremely randomised trees, fitted once on each dataset, and averages them over the
    datasets. The bands tell how much of it comes from the most important columns: those that together hold 10 %, those
    that bring it to 25 %, to 50 % and to 100 %, as in Figure 5 of Mormont et al. 2018.
    """
    from histokit.select.importances import importance_shares

    with console.progress("Fitting trees") as report:
        found = importance_shares(
            console.open_store(),
            datasets,
            features,
            split=split,
            max_features=max_features,
            trees=trees,
            seed=seed,
            target=target,
            target_type=target_type,
            where=where,
            normalise=normalise,
            controls=controls,
            per=per,
            allow_missing=allow_missing,
            progress=report,
        )
    for text in found.notes:
        console.warn(text)
    if figure:
        from histokit.figures import draw_figure

        draw_figure("select importances", found, figure)
    if console.state.json:
        console.emit([], {**found.to_json(), **({"figure": figure} if figure else {})})
        return
    for sheet in found.sheets():
        console.table(sheet.columns, sheet.rows, None)


#: The commands of this room.
COMMANDS = (
    Entry("select", "", select),
    Entry("select", "compare", compare),
    Entry("select", "importances", importances),
)
