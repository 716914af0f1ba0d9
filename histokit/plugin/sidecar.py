"""What a JSON file beside weights says: preprocessing, and how the network is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.files import oddity, refuse_odd
from histokit.plugin.preprocess import INTERPOLATIONS, LARGEST_SIZE, RESIZES, Preprocess, beyond_scale

#: Fields that say something else than preprocessing.
OTHER = ("architecture", "model_args", "num_classes", "num_features", "global_pool")
#: What files of a model folder are called that its ``config.json`` is about.
MAIN = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
REMARKS = ("licence", "license", "description", "origin", "name")


def beside(file: Path) -> Mapping[str, Any]:
    """Return the JSON object beside a weights file, empty where there is none.

    Beside ``x.safetensors`` that is ``x.json`` or ``x.safetensors.json``.
    """
    path = beside_file(file)
    return read_object(path) if path else {}


def beside_file(file: Path) -> Path | None:
    """Return the JSON file beside a weights file, or none."""
    candidates = (file.with_suffix(".json"), file.with_name(f"{file.name}.json"))
    return next((path for path in candidates if path.is_file() or oddity(path)), None)


def configuration_beside(file: Path) -> Path | None:
    """Return timm's ``config.json`` in the folder of a weights file that goes by a main file's name, or none."""
    path = file.with_name("config.json")
    return path if file.name in MAIN and path.is_file() and "architecture" in read_object(path) else None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DataError
        If the file holds something else.
    """
    refuse_odd(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).", next="Mend or remove the file.") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no JSON object.", next='Write fields such as {"mean": [0.5, 0.5, 0.5]}.')
    return document


def preprocess_from(document: Mapping[str, Any], base: Preprocess, origin: str) -> Preprocess:
    """Return preprocessing with the fields that a configuration sets.

    Parameters
    ----------
    document : mapping
        Fields of `Preprocess`, at the top or under ``preprocess``, or a configuration as timm writes it.
    base : Preprocess
    origin : str
        Which file it is, for messages.

    Raises
    ------
    DataError
        If a field is unknown or has an impossible value; names the file and the field.
    """
    changes = declared(document, origin)
    try:
        return Preprocess.from_json({**base.to_json(), **changes})
    except UsageError as error:
        raise DataError(f"{origin}: {error.message}", next="Mend the file.") from error


def declared(document: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return the fields of preprocessing that a configuration sets, checked one by one.

    Raises
    ------
    DataError
        If a field is unknown or has an impossible value; names the file and the field.
    """
    own = object_of(document, "preprocess", origin) if "preprocess" in document else {}
    library = {}
    if "pretrained_cfg" in document or "architecture" in document:
        nested = object_of(document, "pretrained_cfg", origin) if "pretrained_cfg" in document else document
        library = library_fields(nested, origin)
        if "size" in library and len(set(nested["input_size"][1:])) > 1:
            raise _impossible("input_size", nested["input_size"], "of an equal height and width", origin)
        changes = {k: v for k, v in document.items() if k in _FIELDS}
    else:
        changes = {k: v for k, v in document.items() if k not in ("preprocess", *OTHER, *REMARKS)}
    changes.update(own)
    for name, value in changes.items():
        if name not in _FIELDS:
            raise DataError(
                f"{origin}: preprocessing has no field {name!r}.",
                next=f"{did_you_mean(name, _FIELDS)}Use some of {', '.join(_FIELDS)}.",
            )
        _check(_FIELDS[name], name, value, origin)
    return library | changes


def object_of(document: Mapping[str, Any], key: str, origin: str) -> Mapping[str, Any]:
    """Return the JSON object under a key.

    Raises
    ------
    DataError
        If something else is there.
    """
    value = document[key]
    if not isinstance(value, dict):
        raise DataError(f"{origin}: {key} is {_shown(value)}, not a JSON object.", next="Mend the file.")
    return value


def network_fields(document: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return what a configuration says of the network: ``architecture``, ``model_args`` and ``num_features``.

    ``global_pool`` is among ``model_args``; the number of classes is not, for heads are left out where they differ.

    Raises
    ------
    DataError
        If one of them has an impossible value; names the file and the field.
    """
    for name in ("architecture", "num_features"):
        if document.get(name) is not None:
            _check(_NETWORK_FIELDS[name], name, document[name], origin)
    arguments = dict(object_of(document, "model_args", origin)) if document.get("model_args") else {}
    arguments = {k: v for k, v in {**builder_fields(document, origin), **arguments}.items() if k != "num_classes"}
    return {
        "architecture": document.get("architecture"),
        "model_args": arguments,
        "num_features": document.get("num_features"),
    }


def builder_fields(document: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return what a configuration in timm's format says of how the network is built, besides ``model_args``.

    Raises
    ------
    DataError
        If one of them has an impossible value; names the file and the field.
    """
    found = {name: document[name] for name in _BUILDER_FIELDS if document.get(name) not in (None, "")}
    for name, value in found.items():
        _check(_BUILDER_FIELDS[name], name, value, origin)
    return found


def library_fields(configuration: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return size, interpolation, mean and std of a configuration in timm's format.

    Raises
    ------
    DataError
        If one of them has an impossible value; names the file and the field.
    """
    changes = {k: configuration[k] for k in ("interpolation", "mean", "std") if configuration.get(k)}
    for name in ("mean", "std"):
        if isinstance(changes.get(name), tuple):
            changes[name] = list(changes[name])
    for name, value in changes.items():
        _check(_FIELDS[name], name, value, origin)
    if configuration.get("input_size"):
        size = configuration["input_size"]
        good = isinstance(size, (list, tuple)) and len(size) == 3 and all(map(_is_count, size))
        if not good:
            raise _impossible("input_size", size, "channels, height and width, such as [3, 224, 224]", origin)
        changes["size"] = size[-1]
        _check(_FIELDS["size"], "input_size", size[-1], origin)
    return changes


def library_preprocess(configuration: Mapping[str, Any], base: Preprocess) -> Preprocess:
    """Return preprocessing with size, interpolation, mean and std of a configuration of timm itself."""
    return Preprocess.from_json({**base.to_json(), **library_fields(configuration, "timm's configuration")})


class _Field(NamedTuple):
    """What a field may hold."""

    good: Callable[[Any], bool]
    what: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_size(value: Any) -> bool:
    return _is_count(value) and value <= LARGEST_SIZE


def _is_list_of(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(good, value))


def _is_operation(value: Any) -> bool:
    return isinstance(value, list) and [type(part) for part in value] == [str, dict]


def _are_numbers(value: Any) -> bool:
    return _is_list_of(_is_number)(value) and bool(value)


_NUMBERS = _Field(_are_numbers, "a list of numbers, one a channel")
_FIELDS: Mapping[str, _Field] = {
    "size": _Field(_is_size, f"a whole number of 1 to {LARGEST_SIZE:,}"),
    "resize": _Field(RESIZES.__contains__, f"one of {', '.join(RESIZES)}"),
    "interpolation": _Field(INTERPOLATIONS.__contains__, f"one of {', '.join(INTERPOLATIONS)}"),
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "channels": _Field(_is_list_of(lambda value: isinstance(value, str)), "a list of names"),
    "transforms": _Field(_is_list_of(_is_operation), 'a list such as [["greyscale", {}]]'),
    "target_mpp": _Field(lambda value: value is None or _is_number(value), "a number, or null"),
    "resize_size": _Field(
        lambda value: value is None or _is_size(value), f"a whole number of 1 to {LARGEST_SIZE:,}, or null"
    ),
}


_NETWORK_FIELDS: Mapping[str, _Field] = {
    "architecture": _Field(lambda value: isinstance(value, str), "the name of a network"),
    "num_features": _Field(_is_count, "a whole number"),
}
_BUILDER_FIELDS: Mapping[str, _Field] = {
    "num_classes": _Field(lambda value: value == 0 or _is_count(value), "a whole number"),
    "global_pool": _Field(lambda value: isinstance(value, str), "a name"),
}


def _check(field: _Field, name: str, value: Any, origin: str) -> None:
    if not field.good(value):
        raise _impossible(name, value, field.what, origin)
    if field is _NUMBERS and (hint := beyond_scale(name, value)):
        raise DataError(f"{origin}: {name} is {_shown(value)}. {hint}", next=f"Mend {name} in the file.")


def _impossible(name: str, value: Any, what: str, origin: str) -> DataError:
    return DataError(f"{origin}: {name} is {_shown(value)}, not {what}.", next=f"Mend {name} in the file.")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
