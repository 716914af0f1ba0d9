"""``histokit select``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from histokit import completion, console


def select(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="An ingested dataset.", autocompletion=completion.datasets)
    ],
    features: Annotated[
        str,
        typer.Option(
            "--features",
            metavar="ADDRESS",
            help="One address (histokit list features DATASET).",
            autocompletion=completion.addresses,
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="A stored split, cv, leave-one-group-out or holdout. [default: published, else cv]",
            autocompletion=completion.splits,
        ),
    ] = None,
    method: Annotated[str, typer.Option(metavar="rfe", help="Recursive feature elimination.")] = "rfe",
    tolerance: Annotated[
        float, typer.Option(metavar="T", help="How far the smallest subset may be below the best.")
    ] = 0.005,
    step: Annotated[
        float, typer.Option(metavar="STEP", help="Columns to drop at a time: a fraction below 1, else a count.")
    ] = 0.2,
    metric: Annotated[str | None, typer.Option(metavar="M", help="To judge by. [default: the dataset's own]")] = None,
    inner_folds: Annotated[int, typer.Option(metavar="N", min=2, help="Group-wise folds to score each size in.")] = 5,
    target: Annotated[str | None, typer.Option(metavar="COL", help="A column in place of the label.")] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="SQL over the columns of the samples.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of folds and trees.")] = 0,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Go on without missing features.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do it again even if it is stored.")] = False,
) -> None:
    """Find the smallest set of features that does as well.

    Drops the least important columns of extremely randomised trees step by step, on training and validation samples
    only. Prints a selection id.
    """
    from histokit.select.select import select as run

    with console.progress("Selecting") as report:
        record = run(
            console.open_store(),
            dataset,
            features,
            split=split,
            method=method,
            tolerance=tolerance,
            step=step,
            inner_folds=inner_folds,
            seed=seed,
            metric=metric,
            target=target,
            where=where,
            allow_missing=allow_missing,
            force=force,
            progress=report,
        )
    for text in record.parameters["notes"]:
        console.warn(text)
    rows = [_row(part) for part in [*record.folds, *([record.kept] if record.kept else [])]]
    console.aside(["fold", "columns", "k_best", "k_min", record.parameters["metric"]], rows)
    console.emit(record.id, _document(record.to_json()))


def _row(part: dict[str, Any]) -> list[Any]:
    name = "all training samples" if part["fold"] is None else f"{part['repeat']}/{part['fold']}"
    means = {size: mean for size, mean, _ in part["curve"]}
    return [name, len(part["ranking"]), part["k_best"], part["k_min"], means[part["k_min"]]]


def _document(record: dict[str, Any]) -> dict[str, Any]:
    return {"selection": record["id"], **{k: v for k, v in record.items() if k not in ("id", "fitted_on")}}
