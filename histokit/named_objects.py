"""Objects that tables of data name, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def named_object(place: str) -> Any:
    """Return what ``module:name`` stands for."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
