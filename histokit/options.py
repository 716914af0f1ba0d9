"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer

from histokit import completion
from histokit.ranges import LIMITS

Asked = TypeVar("Asked", str | None, list[str] | None)


def _figure(context: typer.Context, asked: Asked) -> Asked:
    """Refuse before the work what could not be written after it."""
    from histokit.figures import check_figure_of

    check_figure_of(context.command_path.partition(" ")[2], asked)
    return asked


Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="An ingested dataset.", autocompletion=completion.datasets)
]
Datasets = Annotated[
    list[str],
    typer.Argument(metavar="DATASET", help="One dataset or more.", autocompletion=completion.datasets),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or its beginning.", autocompletion=completion.runs)]

SomeRuns = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="Run ids, or their beginnings.", autocompletion=completion.runs),
]

_ADDRESS = {"metavar": "ADDRESS", "autocompletion": completion.addresses}

Features = Annotated[
    str, typer.Option("--features", **_ADDRESS, help="BACKBONE/LAYER, joined by + (histokit list features DATASET).")
]
ManyFeatures = Annotated[
    list[str],
    typer.Option(
        "--features",
        **_ADDRESS,
        help="BACKBONE/LAYER, joined by + (histokit list features), or images; may be repeated, each gives a run.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="A stored split, cv, leave-one-group-out or holdout. [default: the data's, or cv]",
        autocompletion=completion.splits,
    ),
]
Target = Annotated[str | None, typer.Option(metavar="COL", help="A column in place of the label.")]
TargetType = Annotated[
    str | None,
    typer.Option(metavar="class|number", help="What it holds. [default: number for fractions, else class]"),
]
Where = Annotated[str | None, typer.Option(metavar="EXPR", help="SQL over the columns of the samples.")]
Normalise = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD[:EPSILON]",
        help="Normalise by controls: standardise, mad-robustise or sphering; EPSILON is added to spreads.",
    ),
]
Controls = Annotated[
    str | None, typer.Option(metavar="EXPR", help="Which samples are controls, such as \"compound = 'DMSO'\".")
]
Per = Annotated[str | None, typer.Option(metavar="COL", help="Each plate by its own controls. [default: all by all]")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on without missing features.")]
AllowUnreadable = Annotated[bool, typer.Option("--allow-missing", help="Go on without unreadable samples.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again even if it is stored.")]
Bootstrap = Annotated[
    int, typer.Option(metavar="N", **LIMITS["bootstrap"], help="Resamples of groups for 95 % intervals.")
]
Seed = Annotated[int, typer.Option(metavar="N", **LIMITS["seed"], help="Of all that is drawn.")]
Limit = Annotated[int | None, typer.Option(metavar="N", **LIMITS["limit"], help="Only the first N.")]
Some = Annotated[int | None, typer.Option(metavar="N", **LIMITS["limit"] | {"min": 1}, help="Only the first N.")]
Figure = Annotated[str | None, typer.Option(metavar="FILE", callback=_figure, help="Draw it as .png, .svg or .pdf.")]
Figures = Annotated[
    list[str] | None,
    typer.Option(
        "--figure",
        metavar="[NAME:]FILE",
        callback=_figure,
        help="Draw it as .png, .svg or .pdf; may be repeated, with the NAME of a view.",
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="In CSV, no ' before texts such as =A1.")]
Weights = Annotated[str, typer.Option(metavar="W", help="pretrained, random, random:SEED, a file or a folder.")]
Channels = Annotated[
    str,
    typer.Option(
        metavar="A,B,C|each|replicate|inflate",
        help="How channels meet a network of three: those that go in; each on its own, vectors joined; the only "
        "one repeated; or its first convolution inflated to all.",
    ),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where networks run.")]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", **LIMITS["workers"], help="Processes that read; 0: this one does. [default: by need]"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N", **LIMITS["batch_size"], help="Rows of each forward pass. [default: by network and device]"
    ),
]
