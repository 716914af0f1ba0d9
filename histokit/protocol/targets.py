"""What is learned: classes, or numbers; how either is read, spread over folds, and scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError, counted, did_you_mean, some
from histokit.plugin.values import known
from histokit.protocol.metrics import METRICS
from histokit.protocol.number_metrics import NUMBER_METRICS, NumberScorer
from histokit.protocol.scorers import Scorer, check_metric
from histokit.protocol.step_options import ExperimentOptions
from histokit.store import Store
from histokit.store.records import NUMBER

CLASS = "class"
TYPES = (CLASS, NUMBER)

#: Numbers are spread over folds by their quintiles, as classes are.
_PARTS = 5

Floats = NDArray[np.float64]
Options = TypeVar("Options", bound=ExperimentOptions)


@dataclass(frozen=True)
class ClassTarget:
    """Classes.

    Parameters
    ----------
    classes : int
    positive : int, optional
        The positive one of two.
    """

    classes: int = 2
    positive: int | None = None

    type: ClassVar[str] = CLASS
    metrics: ClassVar[Sequence[str]] = tuple(METRICS)
    #: What counts where nothing else is said, and where a metric is undefined in all inner folds.
    metric: ClassVar[str] = "accuracy"
    fallback: ClassVar[str] = "accuracy"

    def scorer(self, true: NDArray[Any], found: Floats, units: NDArray[np.intp] | None = None) -> Scorer:
        """Return the metrics of (n, classes) scores."""
        return Scorer(true, found.argmax(1), found, self.positive, units)

    def strata(self, y: NDArray[Any], folds: int) -> NDArray[Any]:
        """Return what folds are stratified by."""
        return y


@dataclass(frozen=True)
class NumberTarget:
    """Numbers."""

    type: ClassVar[str] = NUMBER
    metrics: ClassVar[Sequence[str]] = tuple(NUMBER_METRICS)
    metric: ClassVar[str] = "r2"
    fallback: ClassVar[str] = "mae"

    def scorer(self, true: NDArray[Any], found: Floats, units: NDArray[np.intp] | None = None) -> NumberScorer:
        """Return the metrics of (n, 1) predicted values."""
        return NumberScorer(true, found[:, 0], units)

    def strata(self, y: NDArray[Any], folds: int) -> NDArray[np.intp]:
        """Return the quintile of each number; fewer parts where these would have fewer samples than there are folds."""
        parts = max(1, min(_PARTS, len(y) // max(1, folds)))
        edges = np.quantile(y, np.arange(1, parts) / parts, method="inverted_cdf")
        return np.searchsorted(np.unique(edges), y, side="left")


Target = ClassTarget | NumberTarget


def target_of(type: str | None) -> Target:
    """Return the target of a type, as far as metrics go; classes where it is none."""
    return NumberTarget() if type == NUMBER else ClassTarget()


def check_type(type: str | None) -> str | None:
    """Return a type of target.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    if type not in (None, *TYPES):
        raise UsageError(
            f"There is no type of target {type!r}.",
            next=f"{did_you_mean(str(type), TYPES)}Use --target-type {' or --target-type '.join(TYPES)}.",
        )
    return type


def find_type(schema: pa.Schema, target: str | None, asked: str | None) -> str | None:
    """Return the type of a column as a target: what is asked for, else ``number`` for one of fractions.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the samples.
    target : str, optional
        The label where not given.
    asked : str, optional
        ``class`` or ``number``.

    Returns
    -------
    str or None
        None where nothing is asked for and the column holds no fractions: its values are classes.

    Raises
    ------
    UsageError
        If numbers are asked for, and there are none.
    """
    column = target or "label"
    if check_type(asked) == CLASS or column not in schema.names:
        return asked
    kind = schema.field(column).type
    if asked is None:
        return NUMBER if pa.types.is_floating(kind) else None
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        numeric = [f.name for f in schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        numeric = [name for name in numeric if name != "mpp"]
        holds = "truth values" if pa.types.is_boolean(kind) else "texts"
        others = f"Columns of numbers are: {some(numeric)}" if numeric else "There are no columns of numbers"
        raise UsageError(
            f"{column} holds {holds}, not numbers.",
            next=f"{others}; name one with --target, or ingest the numbers as a column of their own.",
        )
    return NUMBER


def with_type(store: Store, dataset: str, options: Options) -> Options:
    """Return options with the type of their target, see `find_type`."""
    if options.target is None and options.target_type is None:
        return options
    schema = store.database.schema(f"samples.{store.dataset(dataset).name}")
    return replace(options, target_type=find_type(schema, options.target, options.target_type))


def read_numbers(values: Iterable[Any], ids: Sequence[str], target: str) -> Floats:
    """Return known values of a target as numbers.

    Raises
    ------
    DataError
        If one is infinite.
    """
    found = np.array([np.nan if known(value) is None else float(value) for value in values], np.float64)
    endless = np.flatnonzero(np.isinf(found))
    if len(endless):
        raise DataError(
            f"{counted(len(endless), 'sample has', 'samples have')} an infinite value of {target!r}: "
            f"{some([ids[int(row)] for row in endless])}.",
            next="Mend or empty these values and ingest again, or leave the samples out with --where.",
        )
    return found


def check_varied(values: Floats, target: str) -> None:
    """Raise unless there are two values or more.

    Raises
    ------
    DataError
    """
    if len(np.unique(values)) < 2:
        what = f"All values of {target!r} are {values[0]:g}." if len(values) else "There are no labelled samples."
        raise DataError(what, next="Use another --target or --where: nothing is to be learned of one value.")


def whole_number_note(schema: pa.Schema, target: str | None, type: str | None) -> list[str]:
    """Say that whole numbers are taken as classes where nobody said so."""
    if type is not None or target is None or not pa.types.is_integer(schema.field(target).type):
        return []
    return [f"{target} holds whole numbers, which are taken as classes; --target-type number predicts them as numbers"]


def choose_metric(target: Target, asked: str | None, usual: str | None = None) -> str:
    """Return the metric of a target: the one that is asked for, else the usual one of the data where it is of its kind.

    Raises
    ------
    UsageError
        If that which is asked for is unknown, or of the other kind.
    """
    if asked is None:
        return usual if usual is not None and usual in target.metrics else target.metric
    return check_kind(target, check_metric(asked))


def check_kind(target: Target, metric: str, what: str = "The target", hint: str = "") -> str:
    """Return a metric that scores a target.

    Raises
    ------
    UsageError
        If it is one of the other kind.
    """
    if metric not in target.metrics:
        is_a, scores = ("a number", "classes") if target.type == NUMBER else ("a class", "numbers")
        raise UsageError(
            f"The metric {metric} is for {scores}. {what} is {is_a}.",
            next=f"Use one of {', '.join(target.metrics)}. {hint}".strip(),
        )
    return metric
