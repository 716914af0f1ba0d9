"""What is known of a classifier: the fields of its row in the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

#: The kind of scores of what predicts numbers: they are the predicted values.
VALUE: Final = "value"


def max_features(text: str) -> int | float | str:
    """Return how many columns are tried at a split: a number, a share of all, or the name of a function of all."""
    named: dict[str, int | float | str] = {"sqrt": "sqrt", "log2": "log2", "n/2": 0.5, "n": 1.0}
    if text in named:
        return named[text]
    return _share(text) if "." in text else whole(text)


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError(text)
    return number


def positive(text: str) -> float:
    """Return a number above zero."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def not_negative(text: str) -> float:
    """Return a number from zero on."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def whole(text: str) -> int:
    """Return a whole number from one on."""
    number = int(float(text))
    if number < 1 or number != float(text):
        raise ValueError(text)
    return number


def fraction(text: str) -> float:
    """Return a number from zero to one."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


@dataclass(frozen=True)
class Parameter:
    """A parameter that `--grid` may set.

    Parameters
    ----------
    name : str
        Its name in the estimator.
    convert : callable
        From text.
    default : tuple
        The values tried by default, from simple to complex: the first of equally good ones is taken.
    complex : {'', 'large', 'small'}
        Which values make the more complex model, ``large`` or ``small`` ones, where values that are given are to be
        sorted; else they are tried as they are given.
    names : tuple of str
        All that it may be, where it is a name.
    synonyms : mapping of str to str
        What other libraries call some of the names, for messages.
    """

    name: str
    convert: Callable[[str], Any]
    default: tuple[Any, ...]
    complex: Literal["", "large", "small"] = ""
    names: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)


def named(
    name: str, names: tuple[str, ...], default: tuple[str, ...], synonyms: Mapping[str, str] | None = None
) -> Parameter:
    """Return a parameter that is one of some names."""
    convert = lambda text: names[names.index(text.lower())]  # noqa: E731
    return Parameter(name, convert, default, names=names, synonyms=synonyms or {})


@dataclass(frozen=True)
class Cost:
    """Seconds for one training set, and how they grow: typical of two slow cores, corrected by what runs took.

    Parameters
    ----------
    seconds : float
        Of 2,000 rows, 1,000 columns and 2 classes with the default grid in 5 inner folds, tuning and fitting.
    rows, columns, classes : float
        Exponents.
    of_setting : callable
        What a setting of the grid costs, relative to others.
    """

    seconds: float
    rows: float
    columns: float
    classes: float
    of_setting: Callable[[Mapping[str, Any]], float] = lambda setting: 1.0


@dataclass(frozen=True)
class Condition:
    """What the parameters of a setting have to be for each other; settings where it does not hold are left out.

    Parameters
    ----------
    holds : callable
    otherwise, next : str
        The error where it holds for no setting, and what to type; ``{KEY}`` stands for the values of a parameter.
    """

    holds: Callable[[Mapping[str, Any]], bool]
    otherwise: str
    next: str


@dataclass(frozen=True)
class Classifier:
    """A classifier of `--classifier`.

    Parameters
    ----------
    summary : str
    estimator : str
        ``module:class``. It fits any training set: also one with a single sample of a class, or with more columns than
        samples.
    fixed : mapping
        Arguments that are always given.
    parameters : mapping of str to Parameter
    cost : Cost
    kind : str
        Of scores: ``decision``, ``probability`` or, where numbers are predicted, ``value``.
    weighted : bool
        Whether it takes class weights.
    seeded : bool
        Whether it draws random numbers.
    must_converge : bool
        Whether reaching the last iteration is worth a note.
    threaded : bool
        Whether fits run at the same time in threads; else they hold Python's lock and need processes.
    limits : mapping of str to str
        Arguments of the estimator that are at most the number of ``rows``, or of ``columns``, that it is fitted to.
    by_scale : bool
        Whether it matters what columns are measured in.
    any_size : bool
        Whether our own fit computes with numbers of any size.
    centred : bool
        Whether what all samples have in common is taken away first.
    solver : str
        The module of `histokit.classifiers.solvers` that finds the same optimum for a whole grid at once.
    pixels : bool
        Whether it is trained on images in place of features.
    searches : mapping
        Name → the values of parameters that a published search went through: ``--grid search=NAME``.
    condition : Condition, optional
    stored_types : tuple of str
        What its stored models may hold beside types of scikit-learn that skops knows.
    colour : str
        Of figures, where publications have one for it.
    """

    summary: str
    estimator: str
    fixed: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    cost: Cost
    kind: Literal["decision", "probability", "value"] = "probability"
    weighted: bool = True
    seeded: bool = True
    must_converge: bool = False
    threaded: bool = False
    limits: Mapping[str, Literal["rows", "columns"]] = field(default_factory=dict)
    by_scale: bool = True
    any_size: bool = False
    centred: bool = False
    solver: str = ""
    pixels: bool = False
    searches: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    condition: Condition | None = None
    stored_types: tuple[str, ...] = ()
    colour: str = ""
