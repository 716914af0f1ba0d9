"""Options of a library's builder, as they stand in a backbone's name: ``timm:mobilenetv2_100,pad_type=same``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from histokit.errors import HistokitError, UsageError, did_you_mean
from histokit.plugin.backbone import BackboneRequest

#: Builder arguments that histokit sets itself.
RESERVED = ("pretrained", "pretrained_cfg", "checkpoint_path", "features_only", "weights", "progress", "cache_dir")

_WORDS = {"true": True, "false": False, "none": None}
_UNEXPECTED = re.compile(r"unexpected keyword argument(?:\(s\))?:? \[?'(\w+)'")


def parse_options(request: BackboneRequest) -> dict[str, Any]:
    """Return builder options as whole numbers, numbers, truth values, none or texts, whichever they look like."""
    return {key: parse_value(text) for key, text in request.options.items()}


def parse_value(text: str) -> Any:
    """Return ``3`` as int, ``0.5`` as float, ``true``, ``false`` and ``none`` as such, and all else as text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def check_reserved(options: Iterable[str], name: str) -> None:
    """Raise where an option is one that histokit sets itself.

    Raises
    ------
    UsageError
    """
    for key in options:
        if key in RESERVED:
            raise UsageError(f"{key!r} is no builder option of {name!r}.", next="Leave it out.")


def check_taken(
    network: Any, options: Iterable[str], builder: Callable[..., Any], name: str, origin: str | None = None
) -> None:
    """Raise where a network's class takes any option without a word, and one is known nowhere beside it.

    Raises
    ------
    UsageError
    """
    # What a class hands on may be taken by one that it is derived from, of another module.
    constructors = [vars(each)["__init__"] for each in type(network).__mro__ if "__init__" in vars(each)]
    own, *others = (inspect.signature(constructor).parameters for constructor in constructors)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
        known = known_options(builder).union(own, *others)
        for key in options:
            if key not in known:
                raise _unknown(key, known, name, origin)


def build_error(
    error: Exception,
    given: Mapping[str, Any],
    builder: Callable[..., Any],
    library: str,
    name: str,
    origin: str | None,
) -> HistokitError:
    """Return the error for a builder that fails with its options.

    Parameters
    ----------
    error : Exception
    given : mapping
        The options.
    builder : callable
        Whose module tells the options that there are.
    library, name : str
        Of the backbone, without options.
    origin : str, optional
        The file that the options stand in, where it is not the name.
    """
    key = unexpected(error)
    if key in given:
        return _unknown(key, known_options(builder), name, origin)
    options = ", ".join(f"{key}={value}" for key, value in given.items())
    return UsageError(
        f"{library} cannot build {name!r} with the options {options}{_in(origin)}: {error}.",
        next=f"Mend or leave out the options: {name}" if origin is None else f"Mend model_args{_in(origin)}.",
    )


def unexpected(error: Exception) -> str:
    """Return the argument that a builder does not know, by its error; empty for another error."""
    match = _UNEXPECTED.search(str(error))
    return match[1] if match else ""


def _unknown(key: str, known: Iterable[str], name: str, origin: str | None = None) -> UsageError:
    mend = f"Leave it out: {name}" if origin is None else f"Mend model_args{_in(origin)}."
    return UsageError(
        f"{name!r} has no builder option {key!r}{_in(origin)}.", next=f"{did_you_mean(key, sorted(known))}{mend}"
    )


def _in(origin: str | None) -> str:
    return f" in {origin}" if origin else ""


def known_options(builder: Callable[..., Any]) -> set[str]:
    """Return the names of all parameters in a builder's module: what is handed on reaches one of them."""
    module = sys.modules[inspect.unwrap(builder).__module__]
    names: set[str] = set()
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) == module.__name__ and callable(thing):
            try:
                names.update(inspect.signature(thing).parameters)
            except (TypeError, ValueError):
                continue
    return names - {"self", "args", "kwargs", *RESERVED}
