"""What the attributes of a dataset have to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histokit.plugin.calls import Caller
from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset
from histokit.plugin.intensities import OVER
from histokit.plugin.names import differ_in_case, fault_of, is_stored_name

COLUMN_TYPES = (str, int, float, bool)


class Attribute(NamedTuple):
    """An attribute that a plugin declares, what it has to be in words, and whether a value is that."""

    name: str
    kind: str
    fits: Callable[[Any], bool]


def check_attributes(caller: Caller, owner: Any, attributes: Sequence[Attribute]) -> None:
    """Raise unless all attributes of what a plugin made are what they have to be.

    Raises
    ------
    PluginError
    """
    for name, kind, fits in attributes:
        method = f"its attribute {name}"
        with caller.call(method):
            value = getattr(owner, name)
            caller.check(method, value, kind, fits(value))


def or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return the same test, passed by none as well."""
    return lambda value: value is None or fits(value)


def is_text(value: Any) -> bool:
    """Return whether a value is a text that can be stored and shown in a line."""
    return isinstance(value, str) and _behaves(value) and not fault_of(value)


def is_sentence(value: Any) -> bool:
    """Return whether a value is a text that can be stored, of several lines maybe, or empty."""
    return isinstance(value, str) and _behaves(value) and is_json(value)


def _behaves(value: str) -> bool:
    """Return whether a text, of a class of the plugin's maybe, is the same as Python's own; it may raise as well."""
    return type(value) is str or (str(value) == value and hash(value) == hash(str.__str__(value)))


def are_sentences(value: Any) -> bool:
    """Return whether a value is a sequence of texts that can be stored."""
    return is_sequence(value) and all(map(is_sentence, value))


def is_sequence(value: Any) -> bool:
    """Return whether a value is a sequence, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def are_texts(value: Any) -> bool:
    """Return whether a value is a sequence of texts, no two of them the same."""
    return is_sequence(value) and all(map(is_text, value)) and len(set(value)) == len(value)


def is_json(value: Any) -> bool:
    """Return whether a value can be kept as JSON; paths are kept as texts."""
    try:
        json.dumps(plain(value), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def plain(value: Any) -> Any:
    """Return a value of an option as JSON has it."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    return str(value) if isinstance(value, Path) else value


def _are_columns(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and all(_is_column(name) and kind in COLUMN_TYPES for name, kind in dict(value).items())
        and not differ_in_case(value)
    )


def _is_column(name: Any) -> bool:
    return is_text(name) and is_stored_name(name) and name not in RESERVED_COLUMNS


def _are_options(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) and is_json(v) for name, v in value.items())


def _are_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        is_text(name) and (_is_count(count) or (isinstance(count, Mapping) and _are_numbers(count)))
        for name, count in dict(value).items()
    )


def _are_numbers(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and _is_count(count) for name, count in dict(value).items())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_COLUMNS = (
    "a mapping of column → str, int, float or bool; no name has a dot or a backtick, begins with _, has blanks at its "
    f"ends, differs from another one in case alone or is one of {', '.join(RESERVED_COLUMNS)}"
)

#: In the order in which they are looked at.
ATTRIBUTES = (
    # Of a class that is not registered it is the empty one.
    Attribute("name", "a text", lambda value: is_text(value) or (type(value) is str and not value)),
    Attribute("version", "a text", is_text),
    Attribute("root", "a pathlib.Path", lambda value: isinstance(value, Path)),
    Attribute("options", "a mapping of names → values that JSON can hold", _are_options),
    Attribute("needs_data", "True or False", lambda value: isinstance(value, bool)),
    Attribute("opens_whole", "True or False", lambda value: isinstance(value, bool)),
    Attribute("classes", "a sequence of different texts, or None", or_none(are_texts)),
    Attribute("positive", "a text, or None", or_none(is_text)),
    Attribute("metric", "a text", is_text),
    Attribute("channels", "a sequence of one or more different texts", lambda value: are_texts(value) and value),
    Attribute("columns", _COLUMNS, _are_columns),
    Attribute("group", "the name of a column, or None", or_none(is_text)),
    Attribute("levels", "a sequence of names of columns", are_texts),
    Attribute("pixel_options", "a sequence of names of options, or None", or_none(are_texts)),
    Attribute(
        "bits",
        "a whole number of 8 to 16, or None",
        or_none(lambda value: isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 16),
    ),
    Attribute("scale", "a text", is_text),
    Attribute("scale_over", f"one of {', '.join(OVER)}", lambda value: value in OVER),
    Attribute("file_channels", "a sequence of texts", are_sentences),
    Attribute("licence", "a text, or None", or_none(is_text)),
    Attribute("citation", "a text, or None", or_none(is_sentence)),
    Attribute("expected", "a mapping of names → numbers, or → mappings of values → numbers", _are_counts),
    Attribute("warnings", "a list of texts", lambda value: isinstance(value, list) and all(map(is_sentence, value))),
)


def check_declared(caller: Caller, dataset: Dataset) -> None:
    """Raise unless a dataset's attributes are what they have to be, and go together.

    Raises
    ------
    PluginError
    """
    check_attributes(caller, dataset, ATTRIBUTES)
    given = dataset.options.values()
    wanted = {"group": [dataset.group] if dataset.group else [], "levels": dataset.levels}
    for attribute, names in wanted.items():
        for name in names:
            # What the user named is told by whoever looks at it.
            if name not in dataset.columns and not any(_holds(value, name) for value in given):
                columns = ", ".join(dataset.columns) or "none"
                raise caller.wrong(f"its attribute {attribute}", f"{name!r}, which is no column ({columns})")


def _holds(value: Any, name: str) -> bool:
    return value == name or (is_sequence(value) and name in value)
