"""The keys of a study file, and what each takes, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from histokit.errors import did_you_mean
from histokit.study.mistakes import Mistakes, Place, show_place


class Form(NamedTuple):
    """What a key takes: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values())


TEXT = Form("a text in quotes", _is_text)
TEXTS = Form("a list of texts", _are_texts)
TEXT_OR_TEXTS = Form("a text or a list of texts", lambda v: _is_text(v) or _are_texts(v))
WHOLE = Form("a whole number", _is_whole)
COUNT = Form("a whole number of at least 1", lambda v: _is_whole(v) and v > 0)
FOLDS = Form("a whole number of at least 2", lambda v: _is_whole(v) and v > 1)
NUMBER = Form("a number", _is_number)
FLAG = Form("true or false", lambda v: isinstance(v, bool))
TABLE = Form("a table", lambda v: isinstance(v, dict))
TEXT_OR_TABLE = Form("the name of a split, or a table that says how to make it", lambda v: _is_text(v) or bool(v))
NAMES_OR_TABLES = Form("a list of names, or a table for each", lambda v: _are_texts(v) or (bool(v) and _are_tables(v)))
TABLES = Form("a table for each name", _are_tables)

#: How a split is made; these are options of `histokit split`.
SPLIT = {
    "name": TEXT,
    "folds": FOLDS,
    "test": NUMBER,
    "leave_one_group_out": FLAG,
    "from": TEXT,
    "group": TEXT,
    "repeats": COUNT,
    "train_groups": COUNT,
    "seed": WHOLE,
}

#: What may stand at the top for all datasets, and in a dataset for that one.
SHARED = {"split": TEXT_OR_TABLE, "metric": TEXT, "allow_missing": FLAG}

DATASET = {
    "plugin": TEXT,
    "root": TEXT,
    "options": TABLE,
    "target": TEXT,
    "where": TEXT,
    "aggregate": TEXT,
    **SHARED,
}

BACKBONE = {
    "layers": TEXT_OR_TEXTS,
    "last": TEXT,
    "version": TEXT,
    "weights": TEXT,
    "preprocess": TABLE,
    "precision": TEXT,
    "store_dtype": TEXT,
    "batch_size": COUNT,
}

CLASSIFIER = {"grid": TABLE, "class_weight": TEXT}

#: What every strategy takes.
STRATEGY = {"backbones": TEXTS, "classifiers": TEXTS}

COMPARE = {"bootstrap": COUNT, "seed": WHOLE, "by": TEXT_OR_TEXTS, "best_of": TEXT_OR_TEXTS}

TOP = {
    "store": TEXT,
    "seed": WHOLE,
    "inner_folds": FOLDS,
    "device": TEXT,
    "classifiers": TEXTS,
    "strategies": TEXTS,
    **SHARED,
    "datasets": NAMES_OR_TABLES,
    "backbones": NAMES_OR_TABLES,
    "classifier": TABLES,
    "strategy": TABLES,
    "compare": TABLE,
}


def check_table(
    table: Mapping[str, Any], known: Mapping[str, Form], place: Place, mistakes: Mistakes
) -> dict[str, Any]:
    """Return what is as it must be in a table; the rest becomes mistakes.

    Parameters
    ----------
    table : mapping
    known : mapping
        Its keys and what they take.
    place : tuple of str
        Where the table is.
    mistakes : Mistakes
    """
    good = {}
    for key, value in table.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"Its keys are: {', '.join(known)}."
            if place and key in TOP:
                hint = f"Above the first [table] it is for the whole study. {hint}"
            mistakes.add((*place, key), f"There is no key {key!r} here.", hint.strip())
        elif not known[key].fits(value):
            mistakes.add(
                (*place, key), f"{value!r} is not {known[key].words}.", f"Write {key} = {_EXAMPLES[known[key]]}"
            )
        else:
            good[key] = value
    return good


_EXAMPLES: dict[Form, str] = {
    TEXT: '"…"',
    TEXTS: '["…", "…"]',
    TEXT_OR_TEXTS: '"…" or ["…", "…"]',
    WHOLE: "0",
    COUNT: "1",
    FOLDS: "10",
    NUMBER: "0.2",
    FLAG: "true or false",
    TABLE: "{ KEY = VALUE }",
    TEXT_OR_TABLE: '"cv" or { folds = 10 }',
    NAMES_OR_TABLES: f'["…", "…"], or give each a table such as {show_place(("datasets", "NAME"))}',
    TABLES: "{ NAME = { KEY = VALUE } }",
}
