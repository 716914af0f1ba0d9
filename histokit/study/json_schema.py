"""The form of study files as a JSON Schema, by which editors complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histokit.classifiers.table import names
from histokit.ranges import RANGES
from histokit.study import schema
from histokit.study.schema import Form
from histokit.study.strategies import STRATEGIES

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT, "minItems": 1}
_FLAG: dict[str, Any] = {"type": "boolean"}
_TABLE: dict[str, Any] = {"type": "object"}


def _number(name: str) -> dict[str, Any]:
    allowed = RANGES[name]
    low, high = ("exclusiveMinimum", "exclusiveMaximum") if allowed.between else ("minimum", "maximum")
    return {"type": "integer" if allowed.whole else "number", low: allowed.low, high: allowed.high}


#: What each form is in a schema; tables of known keys are put in their places.
_FORMS: dict[Form, dict[str, Any]] = {
    schema.TEXT: _TEXT,
    schema.TEXTS: _TEXTS,
    schema.TEXT_OR_TEXTS: {"anyOf": [_TEXT, _TEXTS]},
    schema.BOOTSTRAP: {**_number("bootstrap"), "minimum": 1},
    schema.STEP: {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            {"type": "integer", "minimum": 1},
        ]
    },
    **{form: _number(name) for name, form in schema.NUMBERS.items()},
    schema.FLAG: _FLAG,
    schema.FLAG_OR_FLAGS: {"anyOf": [_FLAG, {"type": "array", "items": _FLAG, "minItems": 1}]},
    schema.TABLE: _TABLE,
}


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of study files, which are TOML: keys, what each takes, and its range.

    Names of datasets, networks and presets are any; whether they are there is told when a file is read.
    """
    split = {"anyOf": [_TEXT, {**_table(schema.SPLIT), "minProperties": 1}]}
    dataset = _table(schema.DATASET, split=split)
    top = {
        **{key: _form(form) for key, form in schema.TOP.items() if form.of(()) in _FORMS},
        "device": {**_TEXT, "pattern": "^(auto|(cpu|cuda)(:[0-9]+)?)$"},
        "classifiers": {**_TEXTS, "items": {"enum": [name for name in names() if name not in _own_classifiers()]}},
        # Written in other ways these are taken as well.
        "strategies": {**_TEXTS, "items": {"anyOf": [{"enum": list(STRATEGIES)}, _TEXT]}},
        "split": split,
        "datasets": _named(dataset, or_names=True),
        "backbones": _named(_table(schema.BACKBONE), or_names=True),
        "classifier": {**_named(_table(schema.CLASSIFIER)), "propertyNames": {"enum": names()}},
        "strategy": {"type": "object", "properties": _strategies(), "additionalProperties": _TABLE},
        "compare": _table(schema.COMPARE),
    }
    return {
        "$schema": _DIALECT,
        "title": "A study of histokit",
        "type": "object",
        "properties": top,
        "required": ["datasets"],
        "additionalProperties": False,
    }


def _form(form: Form) -> dict[str, Any]:
    """Return what a form is in a schema, by its names where these are known."""
    found, names = _FORMS[form.of(())], {"enum": list(form.choices)}
    if not form.choices:
        return found
    return {**found, "items": names} if found["type"] == "array" else {**found, **names}


def _table(keys: Mapping[str, Form], **others: dict[str, Any]) -> dict[str, Any]:
    properties = {key: others.get(key) or _form(form) for key, form in keys.items()}
    described = {key: {**properties[key], "description": form.words} for key, form in keys.items()}
    return {"type": "object", "properties": described, "additionalProperties": False}


def _named(table: dict[str, Any], or_names: bool = False) -> dict[str, Any]:
    tables = {"type": "object", "additionalProperties": table}
    return {"anyOf": [_TEXTS, {**tables, "minProperties": 1}]} if or_names else tables


def _own_classifiers() -> set[str | None]:
    """Return the classifiers that belong to one strategy."""
    return {strategy.classifier for strategy in STRATEGIES.values()}


def _strategies() -> dict[str, Any]:
    found = {}
    for name, strategy in STRATEGIES.items():
        keys = {**schema.STRATEGY, **strategy.options}
        presets = _named(_table(schema.PRESET), or_names=True)
        found[name] = {**_table(keys, presets=presets), "description": strategy.summary}
    return found
