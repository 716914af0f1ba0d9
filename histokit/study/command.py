"""``histokit predict``, ``demo`` and ``doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from histokit import completion, console


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A training run, or the beginning of its id.", autocompletion=completion.runs
        ),
    ],
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="An ingested dataset, labelled or not.", autocompletion=completion.datasets
        ),
    ],
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where networks run.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Rows of each forward pass. [default: by network and device]")
    ] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Go on without unreadable samples.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do it again even if it is stored.")] = False,
) -> None:
    """Predict other data with the model of a run.

    Extracts the features that are missing. The dataset may have labels or not. Prints a run id, for `predictions` and,
    with labels, for `evaluate`.
    """
    from histokit.study.predict import predict as run_prediction

    with console.progress("Extracting") as report:
        record = run_prediction(
            console.open_store(),
            run,
            dataset,
            device=device,
            batch_size=batch_size,
            allow_missing=allow_missing,
            force=force,
            progress=report,
        )
    for note in record.notes:
        console.warn(note)
    document = record.to_json()
    console.emit(record.id, {"run": document.pop("id"), **document})


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="For the store and the figure.")] = Path(
        "histokit-demo"
    ),
) -> None:
    """Do the main job on drawn images: no download.

    Draws tissue with nuclei of three kinds on several slides, extracts, selects, trains and evaluates. Prints a table
    and draws a figure.
    """
    from histokit.study.demo import demo as run_demo

    with console.progress("Demo") as report:
        result = run_demo(out, say=console.note, progress=report)
    document = {"rows": result.rows, "figure": str(result.figure), "store": str(result.store)}
    columns = ["features", "folds", "accuracy", "95 % interval", "balanced accuracy", "columns", "run"]
    rows = [[row[column] for column in columns] for row in result.rows]
    console.table(columns, rows, document, title="Three kinds of nuclei on drawn tissue, linear SVM")
    console.note(f"Random folds show each test slide in training; slide-wise folds do not.\nFigure: {result.figure}")
    console.note(f"Look around: histokit list runs --store {result.store}")


def doctor() -> None:
    """Look at this machine: devices, weights, plugins.

    Prints versions, devices, weights that are found offline, and whether each plugin passes its checks.
    """
    from histokit.study.doctor import examine

    findings = examine()
    rows = [["ok" if f.ok else "!", f.topic, f.name, f.value] for f in findings]
    console.table(["", "what", "name", "found"], rows, {"findings": [asdict(f) for f in findings]})
