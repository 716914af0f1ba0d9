"""Values that are not there, whatever they are written as."""

from __future__ import annotations

from typing import Any

_NO_NUMBER = ("nan", "NaN", "NAN", "-nan", "-NaN")


def known(value: Any) -> Any:
    """Return a value, none where it is NaN, be it a number or its text: no class and no group is called that."""
    return None if value is None or value != value or (isinstance(value, str) and value in _NO_NUMBER) else value
