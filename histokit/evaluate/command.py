"""``histokit evaluate``, ``predictions`` and ``curves``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from histokit import completion, console, options
from histokit.commands import LOOK, STEPS, Entry
from histokit.errors import UsageError, counted
from histokit.layout import Pieces, Sheet, natural_confusion, number_text

if TYPE_CHECKING:
    from histokit.evaluate.evaluate import Evaluation

_CONFUSION_COLUMNS = 12
_CONFUSIONS = 20
#: Of more classes those of the lowest and of the highest F1 are shown.
_CLASSES, _WORST, _BEST = 50, 20, 5
_SCORE = "score:"


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
        _print(evaluation, only=metric)


def _print(evaluation: Evaluation, only: str | None) -> None:
    facts = (evaluation.run, evaluation.dataset, evaluation.address, evaluation.classifier, evaluation.split)
    counts = {"predictions": evaluation.n, "groups": evaluation.groups, "folds": evaluation.folds["count"]}
    shown = {what: count for what, count in counts.items() if count and (count > 1 or what != "folds")}
    sizes = ", ".join(counted(count, what.removesuffix("s"), what) for what, count in shown.items())
    title = f"{'  '.join(filter(None, facts))}  ({sizes})"
    columns: list[Any] = ["metric", "pooled", "mean over folds", "std"] + ["95 % interval"] * bool(evaluation.intervals)
    folds = evaluation.folds
    rows = [
        [name, evaluation.metrics[name], mean, folds["std"][name], *_interval(evaluation.intervals, name)]
        for name, mean in folds["mean"].items()
        if _is_wanted(name, evaluation, only)
    ]
    rows += [
        [
            Pieces([f"{name},", "always", *evaluation.guess.split(" ")]),
            value,
            None,
            None,
            *[None] * bool(evaluation.intervals),
        ]
        for name, value in evaluation.baseline.items()
        if name in folds["mean"] and _is_wanted(name, evaluation, only)
    ]
    console.table(columns, rows, None, title=title)
    # Of each sample there are as many as repeats.
    several = "predictions" * any(fold["repeat"] for fold in folds["each"])
    for name, entry in evaluation.by.items():
        kind = "scores of units" if entry["kind"] == "level" else "metric inside each unit"
        inner = [
            [metric, value, *_undefined(entry, metric), *_interval(entry.get("intervals") or {}, metric)]
            for metric, value in entry["metrics"].items()
            if _is_wanted(metric, evaluation, only)
        ]
        extra = ["undefined in"] * (entry["kind"] == "per-unit") + ["95 % interval"] * bool(entry.get("intervals"))
        units = counted(entry["units"], "unit", "units")
        predicted = entry.get("n", 0)
        units += f", {predicted:,} predictions" * (predicted > entry["units"])
        console.table(["metric", "value", *extra], inner, None, title=f"by {name}: {kind}, {units}")
        if only is None and entry["kind"] == "level" and entry["per_class"]:
            _print_classes(f"{several or 'units'} of {name}", entry["per_class"], entry["confusion"])
    if only is None and evaluation.per_class:
        _print_classes(several or "samples", evaluation.per_class, evaluation.confusion)


def _is_wanted(metric: str, evaluation: Evaluation, only: str | None) -> bool:
    from histokit.protocol.metrics import is_shown

    return is_shown(metric, evaluation.metric) if only is None else metric == only


def _print_classes(what: str, per_class: dict[str, dict[str, Any]], confusion: dict[str, Any]) -> None:
    confusion = natural_confusion(confusion)
    classes = confusion["classes"]
    per_class = {name: per_class[name] for name in classes if name in per_class}
    few = len(classes) <= _CONFUSION_COLUMNS
    measures = ("precision", "recall", "f1", "roc_auc", "support")
    each = [[name, *(values[m] for m in measures)] for name, values in per_class.items()]
    columns: list[Any] = ["true class", *measures]
    wide = [[*row, *counts] for row, counts in zip(each, confusion["counts"], strict=True)]
    heads = [*columns, *(Pieces(["as", name]) for name in classes)]
    if few and not console.is_narrow(heads, wide):
        console.table(heads, wide, None, title=f"{what} by class, and confusion")
        return
    _print_each(what, columns, each)
    pairs = [
        [true, predicted, count]
        for true, counts in zip(classes, confusion["counts"], strict=True)
        for predicted, count in zip(classes, counts, strict=True)
        if count and (few or true != predicted)
    ]
    pairs = pairs if few else sorted(pairs, key=lambda pair: -pair[2])
    title = f"confusion of {what} (of other pairs there are none)" if few else f"most frequent confusions of {what}"
    hidden = (
        f" ({_CONFUSIONS} of {len(pairs)}; all: --figure or --json)" if len(pairs) > _CONFUSIONS and not few else ""
    )
    console.table(["true", "predicted", "count"], pairs if few else pairs[:_CONFUSIONS], None, title=title + hidden)


def _print_each(what: str, columns: list[Any], each: list[list[Any]]) -> None:
    """Print the measures of each class; of many, of the worst and of the best ones."""
    if len(each) <= _CLASSES:
        console.table(columns, each, None, title=f"{what} by class")
        return
    place = columns.index("f1")
    ranked = sorted((row for row in each if row[place] is not None), key=lambda row: float(row[place]))
    worst, best = ranked[:_WORST], ranked[max(_WORST, len(ranked) - _BEST) :]
    title = f"{what} by class: the {len(worst)} of {len(each)} with the lowest f1 (all: --json)"
    console.table(columns, worst, None, title=title)
    if best:
        console.table(columns, best, None, title=f"{what} by class: the {len(best)} with the highest f1")


def _interval(intervals: dict[str, Any], metric: str) -> list[Pieces | None]:
    if not intervals:
        return []
    bounds = intervals["metrics"].get(metric)
    mark = [] if intervals["reliable"] else ["(unreliable)"]
    return [Pieces([f"{number_text(bounds[0])} to {number_text(bounds[1])}", *mark]) if bounds else None]


def _undefined(entry: dict[str, Any], metric: str) -> list[int]:
    return [entry["undefined_units"][metric]] if entry["kind"] == "per-unit" else []


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
    finite = [{k: v if not _infinite(v) else None for k, v in row.items()} for row in rows]
    document = {"run": run_id, **({"by": by} if by else {}), "count": count, "predictions": finite}
    optional = ("part", "box", "group")
    empty = {name for name in optional if name in found.column_names and found.column(name).null_count == len(found)}
    shown = [name for name in found.column_names if name not in empty]
    narrow = _narrow_predictions(rows, [name for name in shown if not name.startswith(_SCORE)])
    console.table(shown, [[row[name] for name in shown] for row in rows], document, narrow=narrow)


def _narrow_predictions(rows: list[dict[str, Any]], shown: list[str]) -> list[Sheet]:
    """Return the predictions with fewer and fewer columns: of the scores only that of the predicted class."""
    least = ["id", "true", "predicted"]
    if "residual" in shown:
        chosen = [shown, [n for n in shown if n != "image"], [*least, "residual", "fold"], [*least, "residual"], least]
        return [Sheet("", names, [[row[n] for n in names] for row in rows]) for names in chosen]
    chosen = [shown, [n for n in shown if n != "image"], [n for n in shown if n in (*least, "fold")], least]
    scores = [row[f"{_SCORE}{row['predicted']}"] for row in rows]
    return [
        Sheet(
            "", [*names, "score"], [[*(row[n] for n in names), score] for row, score in zip(rows, scores, strict=True)]
        )
        for names in chosen
    ]


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and value in (float("inf"), float("-inf"))


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
