"""What a room tells the command line of its commands; the app collects it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

STEPS = "The steps"
LOOK = "Look"
CARE = "Care"


class Entry(NamedTuple):
    """A command.

    Parameters
    ----------
    group : str
        Empty for the app itself.
    name : str
        Empty for the command of the group's own name.
    function : callable
    panel : str
        Where the help lists it; empty in groups.
    """

    group: str
    name: str
    function: Callable[..., None]
    panel: str = ""
