"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

import re
from copy import copy
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from histokit import completion
from histokit.ranges import LIMITS

#: Metavars that are nothing but one of several things, and which of these is meant as it stands: ``NAME`` is not.
_ONE_OF, _WORD = re.compile(r"[\w.,-]+(\|[\w.,-]+)*"), re.compile(r"[a-z][a-z0-9-]*")

Asked = TypeVar("Asked", str | None, list[str] | None)


def _figure(context: typer.Context, asked: Asked) -> Asked:
    """Refuse before the work what could not be written after it."""
    from histokit.figures import check_figure_of

    check_figure_of(context.command_path.partition(" ")[2], asked)
    return asked


def of_command(annotation: Any, command: str) -> Any:
    """Return how a parameter is declared for one command.

    The help of ``--figure`` tells what that one draws; the words of which an option takes one are offered to the shell.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, declared = get_args(annotation)
    if annotation in (Figure, Figures):
        return Annotated[kind, _drawing(declared, command)]
    metavar = str(declared.metavar or "")
    words = [word for word in metavar.split("|") if _ONE_OF.fullmatch(metavar) and _WORD.fullmatch(word)]
    if not words or declared.autocompletion:
        return annotation
    option = copy(declared)
    option.autocompletion = completion.words(words)
    return Annotated[kind, option]


def _drawing(declared: Any, command: str) -> Any:
    from histokit.figures import figures_of

    (first, shown), *others = figures_of(command).items()
    named = ", ".join(f"{name} ({what})" for name, what in others)
    again = "; may be repeated" if declared is get_args(Figures)[1] else ""
    option = copy(declared)
    option.help = f"Draw {shown}{f' ({first})' if named else ''} as .png, .svg or .pdf{again}."
    option.help += f" By NAME: {named}." if named else ""
    return option


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
_FIGURE: dict[str, Any] = {"callback": _figure, "autocompletion": completion.figures}
#: Their help is that of each command, by `of_command`.
Figure = Annotated[str | None, typer.Option(metavar="FILE", **_FIGURE)]
Figures = Annotated[list[str] | None, typer.Option("--figure", metavar="[NAME:]FILE", **_FIGURE)]
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
        metavar="N",
        **LIMITS["batch_size"],
        help="Rows of each forward pass; of others, vectors differ in last bits. [default: by network and device]",
    ),
]
