"""The labelled predictions of a run as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import DataError, counted, some
from histokit.features.chained_units import parse_aggregate
from histokit.protocol.number_metrics import NumberScorer
from histokit.protocol.scorers import Scorer
from histokit.protocol.targets import target_of
from histokit.store import RunRecord
from histokit.store.records import NUMBER

Objects = NDArray[np.object_]
Codes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Frame:
    """Predictions of n samples, or of units that they were aggregated to.

    Parameters
    ----------
    classes : tuple of K str
        None of them where numbers are predicted.
    positive : int, optional
        The positive one of two classes.
    ids : (n,) array of str
    true, predicted : (n,) arrays of int or float64
        Numbers of classes, or the numbers themselves; see `frame_of` for those that are not known.
    scores : (n, K) float64 array
    repeat, fold : (n,) arrays of int
    groups : (n,) array of str or none
        What bootstrap resamples as a whole.
    levels : dict of str to (n,) array of str or none
    notes : list of str
    kind : str
        Of scores: ``decision``, ``probability``, or how they were combined where that leaves no probabilities.
    unit : str
        What each of them is of: a sample, or a unit of this column.
    """

    classes: tuple[str, ...]
    positive: int | None
    ids: Objects
    true: NDArray[Any]
    predicted: NDArray[Any]
    scores: NDArray[np.float64]
    repeat: Codes
    fold: Codes
    groups: Objects
    levels: dict[str, Objects]
    notes: list[str] = field(default_factory=list)
    kind: str = "decision"
    unit: str = "sample"

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Any) -> Frame:
        """Return the predictions at rows."""
        arrays = ("ids", "true", "predicted", "scores", "repeat", "fold", "groups")
        levels = {name: values[rows] for name, values in self.levels.items()}
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays}, levels=levels)

    def units(self) -> tuple[Codes, bool]:
        """Return the number of each prediction's group, and whether there are groups; else each id is its own."""
        grouped = all(group is not None for group in self.groups)
        return np.unique((self.groups if grouped else self.ids).astype(str), return_inverse=True)[1], grouped

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted in place of classes."""
        return not self.classes

    @property
    def metrics(self) -> Sequence[str]:
        """What they are scored by."""
        return target_of(NUMBER if self.numbers else None).metrics

    def scorer(self, units: Codes | None = None) -> Scorer | NumberScorer:
        """Return the metrics of these predictions."""
        if self.numbers:
            return NumberScorer(self.true, self.predicted, units)
        return Scorer(self.true, self.predicted, self.scores, self.positive, units)

    def folds(self) -> list[tuple[int, int, Codes]]:
        """Return (repeat, fold, rows) of each outer fold."""
        places = sorted(set(zip(self.repeat.tolist(), self.fold.tolist(), strict=True)))
        return [(r, f, np.flatnonzero((self.repeat == r) & (self.fold == f))) for r, f in places]

    @property
    def labels(self) -> list[str]:
        """The true classes, or the true numbers as texts."""
        return [repr(value) for value in self.true.tolist()] if self.numbers else [self.classes[k] for k in self.true]

    @property
    def present(self) -> list[str]:
        """The true classes that occur."""
        return [self.classes[k] for k in np.unique(self.true)]


def make_frame(run: RunRecord, table: pa.Table) -> Frame:
    """Return the labelled ones of a run's predictions, a table of `RunRecord.schema`, in which order they are.

    Raises
    ------
    DataError
        If none of them has a true label.
    """
    labelled = pc.is_valid(table.column("true_value" if run.numbers else "true"))
    # Of tables in which all have one, nothing is copied.
    rows, what = table if pc.all(labelled).as_py() else table.filter(labelled), "value" if run.numbers else "label"
    if not len(rows):
        raise DataError(
            f"None of the {len(table)} predictions of the run {run.id} has a true {what}.",
            next=f"See them with: histokit predictions {run.id}. To score them, ingest {run.dataset!r} with {what}s.",
        )
    notes = list(run.notes)
    if len(rows) < len(table):
        without = (f"{each} without a {what} {is_} not scored" for each, is_ in (("sample", "is"), ("samples", "are")))
        notes.append(counted(len(table) - len(rows), *without))
    found = set(pc.unique(rows.column("true")).to_pylist()) if run.classes else set()
    if found and not found & set(run.classes):
        raise DataError(
            f"The run {run.id} predicts {', '.join(run.classes)}; the labels of {run.dataset!r} are "
            f"{some(sorted(found))}.",
            next=f"Ingest {run.dataset!r} with the labels that the model knows; see: histokit predictions {run.id}",
        )
    return replace(frame_of(run, rows), notes=notes)


def frame_of(run: RunRecord, rows: pa.Table) -> Frame:
    """Return predictions of a run, labelled or not, in which order they are: where no true one is known, it is -1, or
    NaN where numbers are predicted.
    """
    if run.numbers:
        return Frame(
            classes=(),
            positive=None,
            true=rows.column("true_value").to_numpy(),
            predicted=rows.column("predicted_value").to_numpy(),
            scores=np.empty((len(rows), 0)),
            **_places(run, rows),
        )
    labels = rows.column("true")
    classes = (*run.classes, *sorted(set(pc.unique(labels.drop_null()).to_pylist()) - set(run.classes)))
    number = {name: k for k, name in enumerate(classes)}
    positive = run.parameters.get("positive")
    return Frame(
        classes=classes,
        positive=number.get(str(positive)) if len(classes) == 2 else None,
        true=codes(labels, classes),
        predicted=codes(rows.column("predicted"), classes),
        scores=score_matrix(rows, len(run.classes), len(classes)),
        **_places(run, rows),
        kind=rows.column("kind")[0].as_py(),
    )


def score_matrix(rows: pa.Table, known: int, classes: int) -> NDArray[np.float64]:
    """Return the scores of predictions as an (n, classes) array: those of classes that a run does not know are lowest.

    Parameters
    ----------
    rows : pyarrow.Table
        With the column ``scores``.
    known : int
        How many classes the run knows.
    classes : int
    """
    values = pc.list_flatten(rows.column("scores")).to_numpy().reshape(len(rows), known)
    if known == classes:
        return values
    scores = np.full((len(rows), classes), -np.inf)
    scores[:, :known] = values
    return scores


def codes(labels: pa.ChunkedArray, classes: Sequence[str]) -> Codes:
    """Return the numbers of labels among the classes; of none, -1."""
    found = pc.index_in(labels, value_set=pa.array(classes, pa.string()))
    numbers: Codes = pc.fill_null(found, -1).to_numpy().astype(np.intp)
    return numbers


def _places(run: RunRecord, rows: pa.Table) -> dict[str, Any]:
    """Return what predictions are of, and in which fold they were made."""
    levels = rows.column("levels").to_pylist()
    aggregate = run.parameters.get("aggregate")
    return {
        "unit": parse_aggregate(aggregate)[-1][0] if aggregate else "sample",
        "ids": _objects(rows.column("id").to_pylist()),
        "repeat": rows.column("repeat").to_numpy().astype(np.intp),
        "fold": rows.column("fold").to_numpy().astype(np.intp),
        "groups": _objects(rows.column("group").to_pylist()),
        "levels": {name: _objects([row[i] for row in levels]) for i, name in enumerate(run.levels)},
    }


#: What a figure of predicted numbers shows: ``true``, ``predicted`` and ``group``, of each prediction.
Points = dict[str, list[Any]]


def points_of(frame: Frame) -> Points:
    """Return predicted numbers as they are drawn."""
    arrays = {"true": frame.true, "predicted": frame.predicted, "group": frame.groups}
    return {name: values.tolist() for name, values in arrays.items()}


def _objects(values: Sequence[Any]) -> Objects:
    array = np.empty(len(values), object)
    array[:] = values
    return array
