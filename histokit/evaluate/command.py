"""``histokit evaluate``, ``predictions`` and ``curves``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import LOOK, STEPS, Entry
from histokit.errors import UsageError

_Runs = Annotated[
    list[str], typer.Argument(metavar="RUN", help="Run ids, or their beginnings.", autocompletion=completion.runs)
]


def evaluate(
    runs: _Runs,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[:mean|median|vote],...", help="Score the units of a level, or inside those of a column."
        ),
    ] = None,
    bootstrap: options.Bootstrap = 0,
    seed: options.Seed = 0,
    metric: Annotated[
        str | None, typer.Option(metavar="M", help="Print this one only.", autocompletion=completion.metrics)
    ] = None,
    figure: options.Figures = None,
) -> None:
    """Score the stored predictions of runs.

    Over all test samples, by class, by fold, and with --by for units such as slides or patients. Nothing is fitted
    again. A view that --figure draws by its NAME is in what --json prints, too. Prints metrics.
    """
    from histokit.evaluate.evaluate import evaluate as run
    from histokit.evaluate.evaluation_sheets import evaluation_sheets
    from histokit.evaluate.views import VIEWS
    from histokit.figures import asked_figures, draw_figure

    views = [name for name in asked_figures("evaluate", figure) if name in VIEWS]
    asked: dict[str, Any] = {"by": by, "metric": metric, "bootstrap": bootstrap, "seed": seed, "views": views}
    with console.progress("Evaluating") as report:
        found = run(console.existing_store(), runs, **asked, progress=report)
    for text in figure or []:
        console.note(f"Drawn: {draw_figure('evaluate', found, text)}")
    console.warn_of_runs(evaluation.notes for evaluation in found)
    document = {"runs": [evaluation.to_json() for evaluation in found]}
    if console.state.json:
        console.emit([], document)
        return
    for evaluation in found:
        for sheet in evaluation_sheets(evaluation, metric, console.is_narrow):
            console.table(sheet.columns, sheet.rows, None, title=sheet.title)


def predictions(
    run: options.Run,
    wrong: Annotated[
        bool,
        typer.Option("--wrong", help="Only where it is not the true label; of numbers, the largest errors first."),
    ] = False,
    order: Annotated[
        str | None,
        typer.Option(metavar="surest|nearest", help="By how far the highest score is above the second."),
    ] = None,
    where: options.Where = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN[:mean|median|vote],...", help="Units, such as slides, in place of samples."),
    ] = None,
    limit: options.Limit = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write to a .csv, .parquet or .geojson file, or FOLDER/ of the latter."),
    ] = None,
    raw: options.Raw = False,
    figure: options.Figure = None,
) -> None:
    """List the predictions of a run, or draw their images.

    With --by those of units, labelled or not, aggregated as by evaluate. A .geojson file holds the samples' boxes with
    class, colour and scores, for QuPath; of a folder, ending in /, each image has one.
    """
    from histokit.evaluate.listing import (
        check_predictions,
        chosen_predictions,
        described_predictions,
        write_predictions,
    )
    from histokit.evaluate.prediction_sheets import finite_rows, prediction_sheets
    from histokit.protocol.since import changed_since

    if out:
        check_predictions(out, by)
    if figure and by is not None:
        raise UsageError("Units have no image to draw.", next="Leave out --figure, or --by.")
    store = console.existing_store()
    record = store.run(run)
    for text in changed_since(store, record):
        console.warn(text)
    chosen, notes = chosen_predictions(store, record, wrong=wrong, order=order, where=where, by=by)
    for text in notes:
        console.note(text)
    run_id, count = record.id, len(chosen)
    found = described_predictions(store, record, chosen.slice(0, limit))
    if len(found) < count:
        console.note(f"{len(found)} of {count} predictions are shown")
    if figure:
        from histokit.evaluate.prediction_pictures import prediction_sheet
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure('predictions', prediction_sheet(store, run_id, found), figure)}")
    if out:
        write_predictions(found, run_id, out, raw=raw)
        console.emit(out, {"run": run_id, "count": len(found), "file": out})
        return
    rows = found.to_pylist()
    document = {"run": run_id, **({"by": by} if by else {}), "count": count, "predictions": finite_rows(rows)}
    sheet, *narrow = prediction_sheets(found, rows)
    console.table(sheet.columns, sheet.rows, document, narrow=narrow)


def curves(
    runs: _Runs,
    against: Annotated[
        str, typer.Option(metavar="epoch|iteration", help="What stands first in tables, and below figures.")
    ] = "epoch",
    metric: Annotated[
        str | None, typer.Option(metavar="M", help="Show this only: loss, or the metric that was recorded.")
    ] = None,
    figure: options.Figure = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write all recorded points to a .csv or .parquet file.")
    ] = None,
) -> None:
    """Show how networks were trained: loss and metric by epoch.

    Of the training samples (the mean over the batches of an epoch), of those that chose the epoch, and of the test
    samples where they were recorded. Values are means over repeats and folds; the network of all training samples is
    left out. A figure shows several runs in one. Prints a table for each run.
    """
    from histokit.evaluate.curve_sheets import curve_sheets
    from histokit.evaluate.curves import curves as read
    from histokit.features.written_tables import check_table, write_table

    if out:
        check_table(out)
    found = read(console.existing_store(), runs, against=against, metric=metric)
    if figure:
        from histokit.figures import draw_figure

        console.note(f"Drawn: {draw_figure('curves', found, figure)}")
    console.warn_of_runs(run.notes for run in found)
    if out:
        import pyarrow as pa

        points = pa.concat_tables([run.points for run in found])
        write_table(points, out)
        console.emit(out, {"runs": [run.run for run in found], "count": len(points), "file": out})
    elif console.state.json:
        console.emit([], {"runs": [run.to_json() for run in found]})
    else:
        for run in found:
            sheet, *narrow = curve_sheets(run)
            console.table(sheet.columns, sheet.rows, None, title=sheet.title, narrow=narrow)


#: The commands of this room.
COMMANDS = (
    Entry("", "evaluate", evaluate, STEPS),
    Entry("", "predictions", predictions, LOOK),
    Entry("", "curves", curves, LOOK),
)
