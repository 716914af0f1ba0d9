"""Conversion of ``KEY=VALUE`` texts into the arguments that a signature announces."""

from __future__ import annotations

import csv
import inspect
import io
import types
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path, PurePath
from shlex import quote
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from histokit.errors import UsageError, did_you_mean

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_pairs(texts: list[str], what: str) -> dict[str, str]:
    """Split ``["key=value", ...]`` into a dictionary.

    Raises
    ------
    UsageError
        If a text has no ``=``, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{what} {text!r} is not of the form KEY=VALUE.", next=f"Write it as {what} KEY=VALUE.")
        if key in pairs:
            raise UsageError(f"{what} {key} is given twice.", next="Give it once.")
        pairs[key] = value
    return pairs


def convert_options(function: Callable[..., Any], options: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Convert option texts by the annotations of a function's keyword parameters.

    Parameters
    ----------
    function : callable
        Its parameters after ``self`` and ``root`` are the known options.
    options : mapping
        Texts, converted to ``str``, ``int``, ``float``, ``bool``, ``Path``, a ``Literal``, a
        comma-separated ``tuple`` or ``list`` (a part that holds a comma stands in double quotes), or an optional one of
        these. Of values that are not text, numbers and paths become text where nothing but text is announced, so that
        a class may be called 1; all others pass unchanged.
    owner : str
        Who announces the options, for messages.

    Raises
    ------
    UsageError
        If an option is unknown, missing or cannot be converted.
    """
    known = announced_options(function)
    hints = get_type_hints(function)
    for name in options:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise UsageError(
                f"{owner} has no option {name!r}.", next=f"{did_you_mean(name, known)}Its options are: {listed}."
            )
    missing = [name for name, p in known.items() if p.default is p.empty and name not in options]
    if missing:
        raise UsageError(f"{owner} needs the option {missing[0]!r}.", next=f"Add -o {missing[0]}=VALUE.")
    plain = {name: _plain_texts(value, hints.get(name), name, owner) for name, value in options.items()}
    return {name: _convert(value, hints.get(name, str), name, owner) for name, value in plain.items()}


def announced_options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function that are options: all but ``self`` and ``root``."""
    parameters = inspect.signature(function).parameters
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {n: p for n, p in parameters.items() if n not in ("self", "root") and p.kind not in variadic}


def split_list(text: str) -> list[str]:
    """Return the parts of a list, without blanks around them; in double quotes a part may hold commas, as in CSV."""
    (parts,) = csv.reader([text], skipinitialspace=True) if text else ([],)
    return [part.strip() for part in parts if part.strip()]


def join_list(parts: Iterable[Any]) -> str:
    """Return parts as the text of which `split_list` makes them again."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(list(parts))
    return written.getvalue()


def typed_option(name: str, value: str | Iterable[str]) -> str:
    """Return how an option of a plugin is typed, in quotes where a shell needs them; of several values, as a list."""
    return f"-o {quote(f'{name}={value if isinstance(value, str) else join_list(value)}')}"


def _plain_texts(value: Any, hint: Any, name: str, owner: str) -> Any:
    """Return numbers and paths as the texts that a command line would give, where texts alone are announced."""
    origin = get_origin(hint)
    kinds = [a for a in get_args(hint) if a is not type(None)] if origin in (Union, types.UnionType) else [hint]
    lists = [a for a in kinds if get_origin(a) in (tuple, list) and {*get_args(a)} <= {str, ...}]
    if value is None or isinstance(value, str) or any(a is not str and a not in lists for a in kinds):
        return value
    if isinstance(value, Real | PurePath):
        return str(value)
    parts = value if isinstance(value, tuple | list) and lists else [value]
    if isinstance(value, Mapping) or any(not isinstance(part, str | Real | PurePath) for part in parts):
        _refuse(value, hint, name, owner)
    # What is text already stays as it is: members of an enumeration are called otherwise by str.
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    return texts if isinstance(value, list) else tuple(texts)


def _convert(value: Any, hint: Any, name: str, owner: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return _parse(value, hint)
    except ValueError:
        _refuse(value, hint, name, owner)


def _refuse(value: Any, hint: Any, name: str, owner: str) -> NoReturn:
    wanted = _describe(hint)
    raise UsageError(f"{owner}: option {name}={value!r} is not {wanted}.", next=f"Give {name} as {wanted}.") from None


def _parse(text: str, hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", ""):
            return None
        inner = [a for a in arguments if a is not type(None)]
        for candidate in inner[:-1]:
            try:
                return _parse(text, candidate)
            except ValueError:
                continue
        return _parse(text, inner[-1])
    if origin is Literal:
        matches = [a for a in arguments if str(a) == text]
        if not matches:
            raise ValueError(text)
        return matches[0]
    if origin in (tuple, list):
        element = arguments[0] if arguments else str
        return origin(_parse(part, element) for part in split_list(text))
    if hint is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    return hint(text) if hint in (int, float, Path) else text


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _describe(a) for a in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"a comma-separated list of {_describe(arguments[0] if arguments else str)}"
    return {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(hint, "text")
