"""The labelled predictions of a run as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, some
from histokit.protocol.scorers import Scorer
from histokit.store import RunRecord, Store

Objects = NDArray[np.object_]
Codes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Frame:
    """Predictions of n samples, or of units that they were aggregated to.

    Parameters
    ----------
    classes : tuple of K str
    positive : int, optional
        The positive one of two classes.
    ids : (n,) array of str
    true, predicted : (n,) arrays of int
        Numbers of classes.
    scores : (n, K) float64 array
    repeat, fold : (n,) arrays of int
    groups : (n,) array of str or none
        What bootstrap resamples as a whole.
    levels : dict of str to (n,) array of str or none
    notes : list of str
    """

    classes: tuple[str, ...]
    positive: int | None
    ids: Objects
    true: Codes
    predicted: Codes
    scores: NDArray[np.float64]
    repeat: Codes
    fold: Codes
    groups: Objects
    levels: dict[str, Objects]
    notes: list[str] = field(default_factory=list)

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

    def scorer(self, units: Codes | None = None) -> Scorer:
        """Return the metrics of these predictions."""
        return Scorer(self.true, self.predicted, self.scores, self.positive, units)

    def folds(self) -> list[tuple[int, int, Codes]]:
        """Return (repeat, fold, rows) of each outer fold."""
        places = sorted(set(zip(self.repeat.tolist(), self.fold.tolist(), strict=True)))
        return [(r, f, np.flatnonzero((self.repeat == r) & (self.fold == f))) for r, f in places]

    @property
    def present(self) -> list[str]:
        """The true classes that occur."""
        return [self.classes[k] for k in np.unique(self.true)]


def read_frame(store: Store, run: RunRecord) -> Frame:
    """Read the labelled predictions of a run.

    Raises
    ------
    DataError
        If none of its predictions has a true label.
    """
    return make_frame(run, store.predictions(run.id))


def make_frame(run: RunRecord, table: pa.Table) -> Frame:
    """Return the labelled ones of a run's predictions, a table of `PREDICTION_SCHEMA`, in which order they are.

    Raises
    ------
    DataError
        If none of them has a true label.
    """
    truth = table.column("true").to_pylist()
    labelled = np.array([label is not None for label in truth], bool)
    if not labelled.any():
        raise DataError(
            f"None of the {len(truth)} predictions of the run {run.id} has a true label.",
            next=f"See them with: histokit predictions {run.id}. To score them, ingest {run.dataset!r} with labels.",
        )
    notes = list(run.notes)
    if not labelled.all():
        notes.append(f"{len(truth) - int(labelled.sum())} samples without a label are not scored")
    rows = table.filter(labelled)
    unknown = sorted({label for label in truth if label is not None} - set(run.classes))
    if len(unknown) == len({label for label in truth if label is not None}):
        raise DataError(
            f"The run {run.id} predicts {', '.join(run.classes)}; the labels of {run.dataset!r} are {some(unknown)}.",
            next=f"Ingest {run.dataset!r} with the labels that the model knows; see: histokit predictions {run.id}",
        )
    classes = (*run.classes, *unknown)
    number = {name: k for k, name in enumerate(classes)}
    scores = np.full((len(rows), len(classes)), -np.inf)
    scores[:, : len(run.classes)] = np.array(rows.column("scores").to_pylist())
    levels = rows.column("levels").to_pylist()
    positive = run.parameters.get("positive")
    return Frame(
        classes=classes,
        positive=number.get(str(positive)) if len(classes) == 2 else None,
        ids=_objects(rows.column("id").to_pylist()),
        true=np.array([number[label] for label in rows.column("true").to_pylist()], np.intp),
        predicted=np.array([number[label] for label in rows.column("predicted").to_pylist()], np.intp),
        scores=scores,
        repeat=rows.column("repeat").to_numpy().astype(np.intp),
        fold=rows.column("fold").to_numpy().astype(np.intp),
        groups=_objects(rows.column("group").to_pylist()),
        levels={name: _objects([row[i] for row in levels]) for i, name in enumerate(run.levels)},
        notes=notes,
    )


def _objects(values: Sequence[Any]) -> Objects:
    array = np.empty(len(values), object)
    array[:] = values
    return array
