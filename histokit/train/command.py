"""``histokit train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.classifiers.table import CLASSIFIERS, REGRESSORS, names, on_images
from histokit.commands import STEPS, Entry
from histokit.layout import is_number, prose
from histokit.ranges import LIMITS

#: More values of a parameter are told by the first and the last.
_NAMED = 4


def train(
    dataset: options.Dataset,
    features: options.ManyFeatures,
    classifier: Annotated[
        str,
        typer.Option(
            metavar="|".join(names()),
            help=f"What is trained; {on_images()}: on images; for numbers {', '.join(REGRESSORS)}.",
            autocompletion=completion.classifiers,
        ),
    ] = "svm",
    split: options.Split = None,
    selection: Annotated[str | None, typer.Option(metavar="ID", help="Use only the columns of a selection.")] = None,
    rfe: Annotated[bool, typer.Option("--rfe", help="Select columns anew in each outer training set.")] = False,
    aggregate: Annotated[
        str | None,
        typer.Option(metavar="COL:how[,COL:how]", help="Train on units: mean, median or max of their samples."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="M", help="To tune by. [default: the data's]", autocompletion=completion.metrics),
    ] = None,
    class_weight: Annotated[
        str, typer.Option(metavar="none|balanced", help="Whether rare classes weigh more.")
    ] = "none",
    target: options.Target = None,
    target_type: options.TargetType = None,
    where: options.Where = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="Values of a parameter; may be repeated.")
    ] = None,
    inner_folds: Annotated[
        int, typer.Option(metavar="N", **LIMITS["inner_folds"], help="Group-wise folds for tuning.")
    ] = 5,
    normalise: options.Normalise = None,
    controls: options.Controls = None,
    per: options.Per = None,
    scale: Annotated[bool, typer.Option("--scale", help="Standardise columns inside each fold.")] = False,
    fold_networks: Annotated[
        bool,
        typer.Option("--fold-networks", help="Of run:ID, take in each fold the network of that fold, run:ID.FOLD."),
    ] = False,
    choose: Annotated[
        str | None,
        typer.Option(metavar="inner|test", help="One more run: the best address of each fold, by inner folds or test."),
    ] = None,
    solver: Annotated[
        str, typer.Option(metavar="auto|sklearn", help="Whole grids at once, or scikit-learn fit by fit.")
    ] = "auto",
    seed: options.Seed = 0,
    allow_missing: options.AllowMissing = False,
    force: options.Force = False,
) -> None:
    """Train a classifier on features, fold by fold.

    What predicts numbers is trained likewise. Parameters are tuned inside each training set; test samples are predicted
    and the predictions stored; the model for `predict` is fitted on all training samples. A run that is stored already
    is answered from the store. Prints a run id for each address; with --choose only that of the chosen features.
    """
    from histokit.plugin.options import parse_pairs
    from histokit.train.choices import chosen_addresses
    from histokit.train.train import train as run
    from histokit.train.train_options import TrainOptions

    asked = {**TrainOptions.among(locals()), "grid": parse_pairs(grid or [], "--grid")}
    with console.progress("Training") as report:
        records = run(console.open_store(), dataset, features, **asked, force=force, progress=report)
    console.warn_of_runs(record.notes for record in records)
    facts = [[r.id, r.address, r.classifier, r.split, len(r.folds), r.metric] for r in records]
    rows = [[*known, r.mean_over_folds, round(r.seconds)] for known, r in zip(facts, records, strict=True)]
    console.aside(["run", "address", "classifier", "split", "folds", "metric", "mean over folds", "seconds"], rows)
    if choose:
        console.note(chosen_addresses(records[-1]))
    printed = records[-1:] if choose else records
    documents = [{**console.named("run", r.to_json()), "mean_over_folds": r.mean_over_folds} for r in records]
    console.emit([record.id for record in printed], {"runs": documents})


def list_classifiers() -> None:
    """List the classifiers, and the grids tried by default."""
    documents: list[dict[str, Any]] = [
        {
            "name": name,
            "predicts": predicts,
            "trained_on": "images" if row.pixels else "features",
            "about": row.summary,
            "grid": {key: list(parameter.default) for key, parameter in row.parameters.items()},
            "searches": {key: {name: list(values) for name, values in s.items()} for key, s in row.searches.items()},
        }
        for predicts, rows in (("classes", CLASSIFIERS), ("numbers", REGRESSORS))
        for name, row in rows.items()
    ]
    shown = [[d["name"], d["predicts"], prose(_grid_text(d["grid"])), prose(d["about"])] for d in documents]
    console.table(["classifier", "predicts", "tried by default", "about"], shown, {"classifiers": documents})


def _grid_text(grid: Mapping[str, Sequence[Any]]) -> str:
    """Return the values of parameters; of many, the first, the last and how many there are."""
    return "; ".join(
        f"{key}={_value_text(values[0])}..{_value_text(values[-1])} ({len(values)})"
        if len(values) > _NAMED
        else f"{key}={','.join(map(str, values))}"
        for key, values in grid.items()
    )


def _value_text(value: Any) -> str:
    return f"{value:g}" if is_number(value) else str(value)


#: The commands of this room.
COMMANDS = (
    Entry("", "train", train, STEPS),
    Entry("list", "classifiers", list_classifiers),
)
