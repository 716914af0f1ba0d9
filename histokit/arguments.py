"""What holds for the arguments of every command: no value is empty, and what takes one value is given once."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from histokit import console
from histokit.errors import UsageError

#: How the values begin, on help pages, of options that name columns.
_COLUMNS = ("COL", "COLUMN")


def check_arguments(values: dict[str, Any], given: Sequence[Any]) -> None:
    """Refuse empty values and second ones of what takes one; of lists, each text is kept once.

    Parameters
    ----------
    values : dict
        Parameter → what was given.
    given : sequence of Click's parameters
        In the order in which they were given, each as often.

    Raises
    ------
    UsageError
    """
    for parameter, count in Counter(given).items():
        value = values.get(parameter.name)
        if value is None or getattr(parameter, "is_flag", False):
            continue
        what = _called(parameter)
        several = isinstance(value, list | tuple)
        if count > 1 and not several:
            raise UsageError(f"{what} is given {count} times; it takes one value.", next="Give it once.")
        if "" in (value if several else [value]):
            raise UsageError(f"{what} is empty.", next="Give it a value, or leave it out.")
        if str(parameter.metavar).startswith(_COLUMNS):
            value = [_composed(each) for each in value] if several else _composed(value)
            values[parameter.name] = value
        if several:
            values[parameter.name] = once(what, value)


def _composed(name: str) -> str:
    """Return the name of a column as stores have it, with letters and accents in one, however they were typed."""
    return unicodedata.normalize("NFC", name)


def once(what: str, texts: Iterable[str]) -> list[str]:
    """Return each text once, and tell of those that are there more often."""
    counts = Counter(texts)
    for text, count in counts.items():
        if count > 1:
            console.warn(f"{what} {text} is given {count} times: it counts once")
    return list(counts)


def _called(parameter: Any) -> str:
    """Return what the usage line calls an argument, and the long name of an option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name)
    return str(max(parameter.opts, key=len))
