"""The figures of the commands as a table of data: all that `--figure` can draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.figures.sheet import check_figure
from histokit.named_objects import named_object

#: Command, name of a figure of what it found, what it shows, and the function that draws it, given that and a path.
#: ``--figure FILE`` draws the first one of a command; another is asked for by its name, as in ``--figure NAME:FILE``.
FIGURES = (
    ("evaluate", "scores", "confusions and scores by fold", "histokit.figures.scores:scores_figure"),
    ("evaluate", "roc", "ROC curves", "histokit.figures.threshold_curves:roc_figure"),
    (
        "evaluate",
        "precision-recall",
        "precision against recall",
        "histokit.figures.threshold_curves:precision_recall_figure",
    ),
    ("evaluate", "calibration", "probabilities against shares", "histokit.figures.calibration:calibration_figure"),
    ("evaluate", "groups", "scores inside groups", "histokit.figures.groups:groups_figure"),
    ("compare", "ranks", "average ranks, or scores", "histokit.figures.ranks:rank_figure"),
    ("compare", "labels", "scores against training groups", "histokit.figures.score_curves:labels_figure"),
    ("compare", "layers", "scores against depth", "histokit.figures.score_curves:layers_figure"),
    ("select", "curve", "scores by number of columns", "histokit.figures.selections:curve_figure"),
    ("select compare", "curves", "scores of all by number of columns", "histokit.figures.selections:curves_figure"),
    (
        "select importances",
        "importances",
        "shares of networks and layers",
        "histokit.figures.selections:importance_figure",
    ),
    ("neighbours", "contact", "queries beside their neighbours", "histokit.figures.contact:contact_figure"),
    ("show", "contact", "samples by class", "histokit.figures.contact:contact_figure"),
    ("scatter", "scatter", "samples as points", "histokit.figures.scatter:scatter_figure"),
    ("predictions", "contact", "images with their scores", "histokit.figures.contact:contact_figure"),
    ("curves", "curves", "loss and metric by epoch", "histokit.figures.training:training_figure"),
    ("explain", "maps", "images beside their maps", "histokit.figures.heat_maps:heat_maps_figure"),
    ("explain filters", "filters", "filters by layer", "histokit.figures.filters:filters_figure"),
    ("explain columns", "columns", "samples of each column", "histokit.figures.contact:contact_figure"),
)

#: Of figures; a single letter before a colon is a drive of Windows.
_NAME = re.compile(r"[A-Za-z][\w-]+")


def figures_of(command: str) -> dict[str, str]:
    """Return the names of the figures of a command, the one that needs none first, and what each shows."""
    return {name: shown for of, name, shown, _ in FIGURES if of == command}


def find_figure(command: str, text: str) -> tuple[str, str]:
    """Return the name of the figure that a text asks for, and the path that it is to be drawn to.

    Raises
    ------
    UsageError
        If what stands before the colon looks like a name, and is that of no figure of the command.
    """
    known = list(figures_of(command))
    name, colon, path = text.partition(":")
    if not colon or name not in known:
        if colon and _NAME.fullmatch(name):
            hint = did_you_mean(name, known)
            raise UsageError(
                f"{command} draws no figure {name!r}.",
                next=f"{hint}It draws {', '.join(known)}; a path that begins so is written ./{text}",
            )
        return known[0], text
    if not path:
        raise UsageError(f"--figure {text} names no file.", next=f"Give it one, such as --figure {name}:{name}.png")
    return name, path


def check_figure_of(command: str, texts: str | Sequence[str] | None) -> None:
    """Raise a `UsageError` where a figure that is asked for could not be written; nothing happens without one.

    Parameters
    ----------
    command : str
    texts : str or sequence of str, optional
    """
    paths = [find_figure(command, text)[1] for text in _listed(texts)]
    for path in paths:
        check_figure(path)
    for path in dict.fromkeys(paths):
        if paths.count(path) > 1:
            raise UsageError(f"Two figures are to be drawn to {path}.", next="Give each a file of its own.")


def _listed(texts: str | Sequence[str] | None) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts or []


def asked_figures(command: str, texts: Sequence[str] | None) -> list[str]:
    """Return the names of the figures that are asked for."""
    return [find_figure(command, text)[0] for text in texts or []]


def draw_figure(command: str, found: Any, text: str) -> Path:
    """Draw a figure of what a command found.

    Parameters
    ----------
    command : str
        Of `FIGURES`.
    found
        What the figure is of.
    text : str
        ``FILE`` or ``NAME:FILE``.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    name, path = find_figure(command, text)
    function = next(place for of, known, _, place in FIGURES if (of, known) == (command, name))
    drawn: Path = named_object(function)(found, path)
    return drawn
