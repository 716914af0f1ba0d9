"""The figures of the commands as a table of data: all that `--figure` can draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from histokit.figures.sheet import check_figure
from histokit.named_objects import named_object

#: Command, name of a figure of what it found, and the function that draws it, given that and a path. ``--figure FILE``
#: draws the first one of a command; another is asked for by its name, as in ``--figure NAME:FILE``.
FIGURES = (
    ("evaluate", "scores", "histokit.figures.scores:scores_figure"),
    ("compare", "ranks", "histokit.figures.ranks:rank_figure"),
    ("select", "curve", "histokit.figures.selections:curve_figure"),
    ("select importances", "importances", "histokit.figures.selections:importance_figure"),
    ("neighbours", "contact", "histokit.figures.contact:contact_figure"),
    ("curves", "curves", "histokit.figures.training:training_figure"),
    ("explain", "maps", "histokit.figures.heat_maps:heat_maps_figure"),
)


def find_figure(command: str, text: str) -> tuple[str, str]:
    """Return the function that draws what a text asks for, and the path that it is to be drawn to."""
    known = {name: function for of, name, function in FIGURES if of == command}
    name, colon, path = text.partition(":")
    return (known[name], path) if colon and name in known else (next(iter(known.values())), text)


def check_figure_of(command: str, text: str | None) -> None:
    """Raise a `UsageError` where the figure that a text asks for could not be written; nothing happens without one."""
    if text is not None:
        check_figure(find_figure(command, text)[1])


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
    function, path = find_figure(command, text)
    drawn: Path = named_object(function)(found, path)
    return drawn
