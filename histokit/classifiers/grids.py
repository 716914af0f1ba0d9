"""The grids of classifiers: which settings are compared, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from histokit.classifiers.row import Classifier, Parameter
from histokit.classifiers.table import classifier
from histokit.errors import UsageError, did_you_mean


def make_grid(
    name: str, overrides: Mapping[str, Any] | None = None, numbers: bool | None = None
) -> list[dict[str, Any]]:
    """Return the settings of a classifier to be compared, from simple to complex.

    Parameters
    ----------
    name : str
    overrides : mapping, optional
        Parameter → comma-separated text, one value or a sequence of values, in place of the default; ``search`` →
        the name of a published search.
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.

    Returns
    -------
    list of dict
        Parameter → value.

    Raises
    ------
    UsageError
        If a parameter is unknown, or a value cannot be converted.
    """
    entry = classifier(name, numbers)
    known = entry.parameters
    given = dict(overrides or {})
    values = {key: parameter.default for key, parameter in known.items()}
    values |= _search(name, entry, given.pop("search")) if entry.searches and "search" in given else {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(
                f"The classifier {name} has no parameter {key!r}.",
                next=f"{did_you_mean(key, known)}Its parameters are: {', '.join(known)}.",
            )
        values[key] = _values(name, key, value, known[key])
    settings = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    condition = entry.condition
    if condition is None:
        return settings
    possible = [setting for setting in settings if condition.holds(setting)]
    if not possible:
        shown = {key: _listed(tried) for key, tried in values.items()}
        raise UsageError(condition.otherwise.format(**shown), next=condition.next.format(**shown))
    return possible


def _listed(values: Sequence[Any]) -> str:
    return ",".join(map(str, values))


def _search(name: str, entry: Classifier, chosen: Any) -> Mapping[str, tuple[Any, ...]]:
    if chosen not in entry.searches:
        raise UsageError(
            f"There is no search {chosen!r} for {name}.", next=f"Use one of search={', '.join(entry.searches)}."
        )
    return entry.searches[chosen]


def _values(name: str, key: str, given: Any, parameter: Parameter) -> tuple[Any, ...]:
    listed = given.split(",") if isinstance(given, str) else given if isinstance(given, Sequence) else [given]
    values: list[Any] = []
    wrong = "nothing"
    for value in (v for v in listed if v != ""):
        try:
            values.append(parameter.convert(str(value).strip()))
        except (ValueError, OverflowError):
            values, wrong = [], repr(value)
            break
    if not values:
        raise UsageError(f"The parameter {key} of {name} cannot be {wrong}.", next=_instead(key, wrong, parameter))
    if parameter.complex:
        values.sort(reverse=parameter.complex == "small")
    return tuple(dict.fromkeys(values))


def _instead(key: str, wrong: str, parameter: Parameter) -> str:
    """Return what to write in place of a wrong value."""
    if parameter.names:
        text = wrong.strip("' ").lower()
        near = did_you_mean(parameter.synonyms.get(text, text), parameter.names)
        return f"{near}Use one or several of --grid {key}={_listed(parameter.names)}"
    return f"For instance --grid {key}={_listed(parameter.default[:2])}"
