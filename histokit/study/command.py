"""``histokit predict``, ``study run``, ``study plan``, ``demo`` and ``doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from histokit import completion, console, options
from histokit.commands import CARE, LOOK, STEPS, Entry
from histokit.layout import prose

if TYPE_CHECKING:
    from histokit.study.run import StudyResult


_File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A TOML file of datasets, backbones, strategies, classifiers.")
]


_Device = Annotated[
    str | None, typer.Option(metavar="auto|cpu|cuda", help="Where networks run. [default: as the file says, or auto]")
]


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FOLDER",
            help="A training run, or the beginning of its id; or the folder of an exported model (with a slash).",
            autocompletion=completion.runs,
        ),
    ],
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="An ingested dataset, labelled or not.", autocompletion=completion.datasets
        ),
    ],
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    allow_missing: options.AllowUnreadable = False,
    force: options.Force = False,
) -> None:
    """Predict other data with the model of a run.

    Extracts the features that are missing. A FOLDER of `export-model` needs neither the run nor a download. The dataset
    may have labels or not. Prints a run id, for `predictions` and, with labels, for `evaluate`.
    """
    from histokit.study.predict import predict as run_prediction

    with console.progress("Extracting") as report:
        record = run_prediction(
            console.open_store(),
            run,
            dataset,
            device=device,
            batch_size=batch_size,
            workers=workers,
            allow_missing=allow_missing,
            force=force,
            progress=report,
        )
    for note in record.notes:
        console.warn(note)
    console.emit(record.id, console.named("run", record.to_json()))


def study_run(
    file: _File,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write the comparison there: tables, figure, JSON.")
    ] = None,
    device: _Device = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
) -> None:
    """Do a whole study from one file.

    Ingests, splits, extracts, selects and trains what is missing, and prints the comparison of all runs. What is done
    already is answered from the store, so that an interrupted study goes on where it stopped. A piece that fails is
    named at the end and stops no other.
    """
    from histokit.files import check_folder
    from histokit.study.report import write_report
    from histokit.study.run import run_study

    if out is not None:
        check_folder(out)
    with console.progress("Study", timed=False) as report:
        result = run_study(
            file,
            store=console.state.store,
            device=device,
            batch_size=batch_size,
            workers=workers,
            say=console.note,
            progress=report,
        )
    console.warn_of_runs(([text] for text in result.notes), "other note", "other notes")
    for text in result.failures:
        console.warn(text)
    if out is not None:
        console.note(f"Written: {', '.join(map(str, write_report(result, out)))}")
    _print_comparison(result)
    console.note(
        "Paired differences and tests: --out or --json. "
        f"The runs: histokit list runs --store {quote(str(result.store))}"
    )
    if result.failed:
        raise typer.Exit(result.code)


def _print_comparison(result: StudyResult) -> None:
    from histokit.compare.sheets import score_sheets

    found = result.comparison
    for text in found.notes if found else ["fewer than two runs are there: nothing is to be compared"]:
        console.warn(text)
    if console.state.json:
        console.print_json(result.to_json())
    elif found is not None:
        for title, columns, rows in score_sheets(found):
            console.table(columns, rows, None, title=title)


def study_plan(
    file: _File,
    device: _Device = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
) -> None:
    """Print what a study consists of, and how long it takes.

    Every piece, whether it is done already, and the seconds that it will take: an estimate by what such pieces took
    before, meant to tell minutes from days. Nothing is computed.
    """
    from histokit.study.plan import plan_study

    plan = plan_study(file, store=console.state.store, device=device, batch_size=batch_size, workers=workers)
    columns = ["piece", "dataset", "what", "strategy", "classifier", "state", "seconds"]
    names = ("kind", "dataset", "what", "strategy", "classifier", "state", "seconds")
    document = plan.to_json()
    rows = [[piece[name] for name in names] for piece in document["pieces"]]
    rows = [[*row[:-1], None if row[-1] is None else round(row[-1])] for row in rows]
    console.table(columns, rows, document)
    for piece in plan.pieces:
        if piece.trouble is not None:
            console.warn(f"{piece.title}: {piece.trouble.message}")
    console.note(plan.expectation)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="For the figure, and the store without --store.")
    ] = Path("histokit-demo"),
) -> None:
    """Do the main job on drawn images: no download.

    Draws tissue with nuclei of three kinds on several slides, extracts, selects, trains and evaluates. Prints a table
    and draws a figure.
    """
    from histokit.files import check_folder
    from histokit.study.demo import demo as run_demo

    check_folder(out)
    with console.progress("Demo") as report:
        result = run_demo(out, store=console.state.store, say=console.note, progress=report)
    document = {"rows": result.rows, "figure": str(result.figure), "store": str(result.store)}
    columns = ["features", "folds", "accuracy", "95 % interval", "balanced accuracy", "columns", "run"]
    rows = [[row[column] for column in columns] for row in result.rows]
    console.table(columns, rows, document, title="Three kinds of nuclei on drawn tissue, linear SVM")
    console.note(f"Random folds show each test slide in training; slide-wise folds do not.\nFigure: {result.figure}")
    console.note(f"Look around: histokit list runs --store {quote(str(result.store))}")


def doctor() -> None:
    """Look at this machine: devices, weights, plugins.

    Prints versions, devices, weights that are found offline, and whether each plugin passes its checks.
    """
    from histokit.study.doctor import examine

    findings = examine()
    rows = [["ok" if f.ok else "!", f.topic, f.name, prose(f.value)] for f in findings]
    console.table(["", "what", "name", "found"], rows, {"findings": [asdict(f) for f in findings]})


def study_schema() -> None:
    """Print the JSON Schema of study files, for editors.

    An editor that knows TOML completes and checks study files by it: save it, and name it in the first line of a study
    file, #:schema study.schema.json
    """
    import json

    from histokit.study.json_schema import study_schema as schema

    document = schema()
    console.emit(json.dumps(document, indent=2, ensure_ascii=False).split("\n"), document)


#: The commands of this room.
COMMANDS = (
    Entry("", "predict", predict, STEPS),
    Entry("study", "run", study_run),
    Entry("study", "plan", study_plan),
    Entry("study", "schema", study_schema),
    Entry("", "demo", demo, LOOK),
    Entry("", "doctor", doctor, CARE),
)
