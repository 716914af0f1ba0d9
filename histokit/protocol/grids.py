"""The grids of classifiers: which settings are compared, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.protocol.classifiers import Classifier, Parameter, classifier

#: Which values of a penalty make the more complex model.
_COMPLEX = {"C": "large", "alpha": "small"}


def make_grid(name: str, overrides: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the settings of a classifier to be compared, from simple to complex.

    Parameters
    ----------
    name : str
    overrides : mapping, optional
        Parameter → comma-separated text, one value or a sequence of values, in place of the default; ``search`` →
        the name of a published search.

    Returns
    -------
    list of dict
        Parameter → value.

    Raises
    ------
    UsageError
        If a parameter is unknown, or a value cannot be converted.
    """
    entry = classifier(name)
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
    if not any(entry.possible(setting) for setting in settings):
        raise UsageError(
            f"With w_min={_listed(values['w_min'])} and w_max={_listed(values['w_max'])} there is no setting of {name} "
            "where w_min is below w_max.",
            next="Give both, for instance --grid w_min=0.25,0.5 --grid w_max=0.75",
        )
    return [setting for setting in settings if entry.possible(setting)]


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
    if key in _COMPLEX:
        values.sort(reverse=_COMPLEX[key] == "small")
    return tuple(dict.fromkeys(values))


def _instead(key: str, wrong: str, parameter: Parameter) -> str:
    """Return what to write in place of a wrong value."""
    if parameter.names:
        text = wrong.strip("' ").lower()
        near = did_you_mean(parameter.synonyms.get(text, text), parameter.names)
        return f"{near}Use one or several of --grid {key}={_listed(parameter.names)}"
    return f"For instance --grid {key}={_listed(parameter.default[:2])}"
