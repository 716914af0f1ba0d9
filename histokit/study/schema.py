"""The keys of a study file, and what each takes, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, NamedTuple

from histokit.classifiers.table import names
from histokit.errors import did_you_mean
from histokit.networks.requests import ENGINES, PRECISIONS
from histokit.protocol.metrics import METRICS
from histokit.protocol.number_metrics import NUMBER_METRICS
from histokit.protocol.targets import TYPES
from histokit.ranges import RANGES
from histokit.store.vectors import STORE_DTYPES
from histokit.study.mistakes import Mistakes, Place, show_place


class Form(NamedTuple):
    """What a key takes: in words, as a test of its form, and the names that there are, where these are known."""

    words: str
    fits: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def of(self, choices: Iterable[str]) -> Form:
        """Return the same form of these names; another one is told by what uses them."""
        return self._replace(choices=tuple(choices))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _are_tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values())


TEXT = Form("a text in quotes", _is_text)
TEXTS = Form("a list of texts", _are_texts)
TEXT_OR_TEXTS = Form("a text or a list of texts", lambda v: _is_text(v) or _are_texts(v))
NUMBERS = {name: Form(allowed.words, allowed.fits) for name, allowed in RANGES.items()}
BOOTSTRAP = Form("a whole number of at least 1", lambda v: RANGES["bootstrap"].fits(v) and v > 0)
STEP = Form(
    "a share below 1, or a whole number", lambda v: _is_number(v) and v > 0 and (v < 1 or float(v).is_integer())
)
FLAG = Form("true or false", lambda v: isinstance(v, bool))
TABLE = Form("a table", lambda v: isinstance(v, dict))
TEXT_OR_TABLE = Form(
    "the name of a split, or a table that says how to make it",
    lambda v: _is_text(v) or (isinstance(v, dict) and bool(v)),
)
NAMES_OR_TABLES = Form("a list of names, or a table for each", lambda v: _are_texts(v) or (bool(v) and _are_tables(v)))
TABLES = Form("a table for each name", _are_tables)
FLAG_OR_FLAGS = Form(
    "true, false, or a list of both",
    lambda v: isinstance(v, bool) or (isinstance(v, list) and bool(v) and all(isinstance(one, bool) for one in v)),
)

#: How a split is made; these are options of `histokit split`.
SPLIT = {
    "name": TEXT,
    "folds": NUMBERS["folds"],
    "test": NUMBERS["test"],
    "test_where": TEXT,
    "leave_one_group_out": FLAG,
    "from": TEXT,
    "within": TEXT,
    "group": TEXT,
    "repeats": NUMBERS["repeats"],
    "train_groups": NUMBERS["train_groups"],
    "train_per_class": NUMBERS["train_per_class"],
    "ignore_groups": FLAG,
    "bar": TEXT,
    "seed": NUMBERS["seed"],
}

#: What may stand at the top for all datasets, and in a dataset for that one.
SHARED = {"split": TEXT_OR_TABLE, "metric": TEXT.of((*METRICS, *NUMBER_METRICS)), "allow_missing": FLAG}

DATASET = {
    "plugin": TEXT,
    "root": TEXT,
    "options": TABLE,
    "target": TEXT,
    "target_type": TEXT.of(TYPES),
    "where": TEXT,
    "aggregate": TEXT,
    "normalise": TEXT,
    "controls": TEXT,
    "per": TEXT,
    **SHARED,
}

#: How networks run and vectors are stored, which tables tell apart: at the top for all backbones, and in one for it.
EXTRACTION = {
    "precision": TEXT.of(PRECISIONS),
    "store_dtype": TEXT.of(STORE_DTYPES),
    "compile": FLAG,
    "engine": TEXT.of(ENGINES),
}

BACKBONE = {
    "layers": TEXT_OR_TEXTS,
    "last": TEXT,
    "version": TEXT,
    "weights": TEXT,
    "preprocess": TABLE,
    **EXTRACTION,
    "batch_size": NUMBERS["batch_size"],
}

CLASSIFIER = {"grid": TABLE, "class_weight": TEXT.of(("balanced", "none"))}

#: What every strategy takes.
STRATEGY = {"backbones": TEXTS, "classifiers": TEXTS.of(names())}

#: What every preset of a strategy that trains networks takes.
PRESET = {"set": TABLE, "from_scratch": FLAG_OR_FLAGS}

COMPARE = {"bootstrap": BOOTSTRAP, "seed": NUMBERS["seed"], "by": TEXT_OR_TEXTS, "best_of": TEXT_OR_TEXTS}

TOP = {
    "store": TEXT,
    "seed": NUMBERS["seed"],
    "inner_folds": NUMBERS["inner_folds"],
    "device": TEXT,
    "classifiers": TEXTS.of(names()),
    "strategies": TEXTS,
    **SHARED,
    **EXTRACTION,
    "datasets": NAMES_OR_TABLES,
    "backbones": NAMES_OR_TABLES,
    "classifier": TABLES,
    "strategy": TABLES,
    "compare": TABLE,
}


#: What is asked of the machine at hand, by options of `histokit study run`.
_OF_THE_COMMAND = {"workers": "--workers N", "batch_size": "--batch-size N"}


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
            if key in _OF_THE_COMMAND:
                hint = f"It is a matter of the machine: histokit study run FILE {_OF_THE_COMMAND[key]}"
            elif place and key in TOP:
                hint = f"Above the first [table] it is for the whole study. {hint}"
            mistakes.add((*place, key), f"There is no key {key!r} here.", hint.strip())
        elif not known[key].fits(value):
            mistakes.add(
                (*place, key), f"{value!r} is not {known[key].words}.", f"Write {key} = {_EXAMPLES[known[key].of(())]}"
            )
        else:
            good[key] = value
    return good


_EXAMPLE_NUMBERS = {"folds": "10", "inner_folds": "5", "test": "0.2", "tolerance": "0.005", "seed": "0"}

_EXAMPLES: dict[Form, str] = {
    TEXT: '"…"',
    TEXTS: '["…", "…"]',
    TEXT_OR_TEXTS: '"…" or ["…", "…"]',
    STEP: "4",
    BOOTSTRAP: "1000",
    **{form: _EXAMPLE_NUMBERS.get(name, "1") for name, form in NUMBERS.items()},
    FLAG: "true or false",
    TABLE: "{ KEY = VALUE }",
    TEXT_OR_TABLE: '"cv" or { folds = 10 }',
    NAMES_OR_TABLES: f'["…", "…"], or give each a table such as {show_place(("datasets", "NAME"))}',
    TABLES: "{ NAME = { KEY = VALUE } }",
    FLAG_OR_FLAGS: "true, or [false, true] for both",
}
