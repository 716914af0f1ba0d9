"""The training sets of a run: what is fitted, by what the epoch is chosen, and what is kept of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import counted_values, some
from histokit.protocol.experiment import Experiment
from histokit.protocol.folds import assign_folds
from histokit.protocol.outer_folds import OuterFold
from histokit.store.networks import FINAL

Rows = NDArray[np.intp]

#: One of so many group folds of a training set chooses the epoch where the split has no validation samples.
_VALIDATION_FOLDS = 5


@dataclass(frozen=True)
class TrainingPart:
    """One training set of a run.

    Parameters
    ----------
    name : str
        ``REPEAT.FOLD``, or ``final``: that of all training samples.
    fit, val, test : arrays of int
        Rows of the experiment.
    outer : OuterFold, optional
    notes : tuple of str
    """

    name: str
    fit: Rows
    val: Rows
    test: Rows
    outer: OuterFold | None
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> Rows:
        """The rows of the training set, those that choose the epoch among them."""
        return np.union1d(self.fit, self.val)

    def seen(self, chosen_by_test: bool) -> Rows:
        """Return the rows that the network depends on, by its gradients or by the choice of the epoch."""
        return np.union1d(self.used, self.test) if chosen_by_test else self.used


def counted_notes(notes: Iterable[str], lacking: Iterable[str], sets: int) -> list[str]:
    """Return what is to be known of training sets, each note once with the number of sets that it is about.

    Parameters
    ----------
    notes : iterable of str
        Of all sets.
    lacking : iterable of str
        Each class once for every set that has no sample of it.
    sets : int
    """
    times = Counter(notes)
    times.update(f"class {name!r} has no training sample" for name in lacking)
    return [f"{text} ({count} of {sets} training sets)" for text, count in times.items()]


def training_parts(experiment: Experiment, validate: bool, seed: int) -> list[TrainingPart]:
    """Return the training sets of the folds, and last that of all training samples where none of them is it.

    Parameters
    ----------
    experiment : Experiment
    validate : bool
        Whether samples are kept from the gradients.
    seed : int
    """
    parts = []
    row_of = {sample: row for row, sample in enumerate(experiment.features.sample_ids)}
    for outer in experiment.folds:
        val = np.array(sorted(row_of[i] for i in outer.fold.val if i in row_of), np.intp)
        fit, val, notes = _divided(experiment, outer.train, val, validate, seed)
        name = f"{outer.fold.repeat}.{outer.fold.fold}"
        parts.append(TrainingPart(name, fit, val, outer.test, outer, notes))
    whole = experiment.training
    if not any(len(outer.train) == len(whole) for outer in experiment.folds):
        fit, val, notes = _divided(experiment, whole, np.empty(0, np.intp), validate, seed)
        parts.append(TrainingPart(FINAL, fit, val, np.empty(0, np.intp), None, notes))
    return parts


def _divided(
    experiment: Experiment, rows: Rows, val: Rows, validate: bool, seed: int
) -> tuple[Rows, Rows, tuple[str, ...]]:
    if not validate:
        return rows, np.empty(0, np.intp), ()
    problem = experiment.problem
    if len(val) and len(val) < len(rows):
        fit = np.setdiff1d(rows, val)
        both = set[str]() if problem.groups is None else {*problem.groups[fit]} & {*problem.groups[val]}
        return fit, val, (_not_apart(sorted(both), experiment.group),) if both else ()
    groups = None if problem.groups is None else problem.groups[rows]
    labels = problem.target.strata(problem.y[rows], _VALIDATION_FOLDS) if problem.numbers else experiment.labels[rows]
    try:
        fold, _ = assign_folds(labels, groups, _VALIDATION_FOLDS, seed)
    except ValueError:
        return rows, np.empty(0, np.intp), ("a training set is one group: the last epoch was taken",)
    val_fold = _most_alike(labels, fold)
    return rows[fold != val_fold], rows[fold == val_fold], ()


def _not_apart(both: Sequence[str], group: str | None) -> str:
    """Say that samples of the same groups are trained on and choose the epoch."""
    count = counted_values(len(both), group or "group")
    do = "train and validate" if len(both) > 1 else "trains and validates"
    return f"{count} {do} ({some(list(both), 3)}): the epoch is chosen by images like those that are trained on"


def _most_alike(labels: NDArray[Any], fold: NDArray[np.intp]) -> int:
    """Return the fold that differs least from its share of each class: with few groups, folds are unlike the rest."""
    _, label_codes = np.unique(labels, return_inverse=True)
    folds = int(fold.max()) + 1
    counts = np.zeros((folds, int(label_codes.max()) + 1))
    np.add.at(counts, (fold, label_codes), 1)
    return int(np.abs(counts - counts.sum(0) / folds).sum(1).argmin())


def fold_facts(experiment: Experiment, part: TrainingPart, scores: dict[str, float | None] | None) -> dict[str, Any]:
    """Return what the run's record keeps of a training set, whatever was trained on it."""
    absent = experiment.lacking(part.fit)
    facts: dict[str, Any] = {"train": len(part.used), "validation": len(part.val)}
    if part.outer is not None:
        place = {"repeat": part.outer.fold.repeat, "fold": part.outer.fold.fold, "test": len(part.test)}
        facts = {**place, **facts, "scores": scores}
    return {**facts, "classes_without_training": absent} if absent else facts


def of_all_samples(parts: Sequence[TrainingPart]) -> TrainingPart:
    """Return the training set that is of all training samples: the last one, or a fold that trains on them all."""
    return parts[-1] if parts[-1].outer is None else max(parts, key=lambda part: len(part.used))


def covered(parts: Sequence[TrainingPart]) -> Rows:
    """Return all rows that are read."""
    return np.unique(np.concatenate([rows for part in parts for rows in (part.fit, part.val, part.test)]))
