"""``histokit report``."""

from __future__ import annotations

from typing import Annotated

import typer

from histokit import completion, console, options
from histokit.commands import LOOK, Entry
from histokit.errors import counted
from histokit.ranges import LIMITS


def report(
    runs: options.SomeRuns = None,
    out: Annotated[str, typer.Option(metavar="FILE.html", help="Where it is written to.")] = "report.html",
    dataset: Annotated[
        str | None, typer.Option(metavar="D", help="All runs on a dataset.", autocompletion=completion.datasets)
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="FILE.toml", help="The runs of a study.")] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="What stands above it.")] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", **LIMITS["samples"], help="Images of each kind and run; 0: none.")
    ] = 12,
    bootstrap: options.Bootstrap = 1000,
    seed: options.Seed = 0,
) -> None:
    """Write one page of HTML on runs, a dataset or a study.

    What was done and on what, leaks and warnings first, scores with intervals, figures, images that were told wrongly,
    the commands that make it again, versions and licences. The file needs no other one and asks nothing of the network.
    Prints its path.
    """
    from histokit.files import check_output
    from histokit.report.rendering import SUFFIXES
    from histokit.report.report import report as run

    check_output(out, SUFFIXES)
    with console.progress("Writing the report") as tell:
        found = run(
            console.existing_store(),
            runs or [],
            out=out,
            dataset=dataset,
            study=study,
            title=title,
            samples=samples,
            bootstrap=bootstrap,
            seed=seed,
            progress=tell,
        )
    for text in found.notes:
        console.warn(text)
    console.note(f"{found.bytes / 1e6:.1f} MB on {counted(len(found.runs), 'run', 'runs')}")
    console.emit(str(found.file), found.to_json())


#: The commands of this room.
COMMANDS = (Entry("", "report", report, LOOK),)
