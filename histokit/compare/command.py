"""``histokit compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from histokit import completion, console, options
from histokit.commands import LOOK, Entry
from histokit.ranges import LIMITS


def compare(
    runs: options.SomeRuns = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="D", help="Runs on this dataset only; may be repeated.", autocompletion=completion.datasets
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="SQL over what is known of runs, such as \"classifier = 'svm'\"."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All stored runs.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="M", help="To compare by. [default: each dataset's own]", autocompletion=completion.metrics
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEYS",
            help="What makes a method, such as features,classifier. [default: all but dataset, split, seed]",
        ),
    ] = None,
    best_of: Annotated[
        list[str] | None,
        typer.Option(metavar="KEYS", help="Only the best on each dataset of each strategy, or classifier, network, …"),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(metavar="N", **LIMITS["bootstrap"] | {"min": 1}, help="Resamples of groups for intervals.")
    ] = 1000,
    seed: options.Seed = 0,
    figure: options.Figures = None,
) -> None:
    """Compare methods over datasets.

    Scores with the best two marked, paired differences on equal splits, average ranks, and tests over datasets. Which
    runs are of one method is told by their parameters; its score on a dataset is the mean over seeds.
    """
    from histokit.compare.compare import compare as run
    from histokit.compare.compare_options import CompareOptions
    from histokit.compare.sheets import comparison_sheets, hidden_rows
    from histokit.compare.views import VIEWS
    from histokit.figures import asked_figures, draw_figure

    views = [name for name in asked_figures("compare", figure) if name in VIEWS]
    asked = {**CompareOptions.among(locals()), "dataset": dataset or []}
    with console.progress("Comparing") as report:
        found = run(console.existing_store(), runs or [], **asked, progress=report)
    for text in figure or []:
        console.note(f"Drawn: {draw_figure('compare', found, text)}")
    for text in found.notes:
        console.warn(text)
    if console.state.json:
        console.print_json(found.to_json(pairs=False), {"pairs": found.pairs})
        return
    for title, columns, rows in comparison_sheets(found):
        console.table(columns, rows, None, title=title)
    if hidden := hidden_rows(found):
        console.note(f"{hidden}: --json")


#: The commands of this room.
COMMANDS = (Entry("", "compare", compare, LOOK),)
