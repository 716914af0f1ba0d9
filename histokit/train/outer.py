"""Training in the outer folds: select, tune, fit and predict, each on the training samples only."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import converged, scores
from histokit.classifiers.fitting import Fitting, fit_classifier
from histokit.protocol.elimination import PASSES, Elimination, eliminate
from histokit.protocol.experiment import Experiment
from histokit.protocol.outer_folds import OuterFold, Rows
from histokit.protocol.reuse import check_selection, equal_notes, fitted_contents
from histokit.protocol.scorers import defined
from histokit.protocol.tuning import Tuned, tune
from histokit.store import Store
from histokit.store.records import SelectionRecord


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    classifier : str
    grid : sequence of dict
    class_weight : str, optional
    inner_folds : int
    selection : SelectionRecord, optional
    rfe : bool
        Whether to select anew in each training set.
    solver : str
    scale : bool
    scored : bool
        Whether a single setting is scored in the inner folds as well.
    numbers : bool
        Whether numbers are predicted in place of classes.
    """

    classifier: str
    grid: Sequence[dict[str, Any]]
    class_weight: str | None
    inner_folds: int
    selection: SelectionRecord | None
    rfe: bool
    solver: str = "auto"
    scale: bool = False
    scored: bool = False
    numbers: bool = False

    def fitting(self, seed: int) -> Fitting:
        """Return how the classifier is fitted."""
        return Fitting(self.classifier, self.class_weight, self.solver, self.scale, seed, self.numbers)

    @property
    def steps(self) -> int:
        """How many fits and elimination paths a training set takes at most."""
        return len(self.grid) * self.inner_folds + 1 + self.rfe * PASSES * (self.inner_folds + 1)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier fitted on one training set.

    Parameters
    ----------
    rows : array of int
    estimator : fitted scikit-learn estimator
    columns : array of int, optional
        The columns that it takes; all where none.
    tuned : Tuned
    eliminated : Elimination, optional
    stopped : int
        Fits that stopped before they converged.
    seconds : float
    """

    rows: Rows
    estimator: Any
    columns: Rows | None
    tuned: Tuned
    eliminated: Elimination | None
    stopped: int
    seconds: float

    @property
    def fits(self) -> int:
        """How many fits it took, tuning included."""
        return self.tuned.fits + 1

    @property
    def said(self) -> list[str]:
        """What tuning and elimination noted."""
        eliminated = self.eliminated.notes if self.eliminated else []
        return [*(f"tuning: {text}" for text in self.tuned.notes), *(f"elimination: {text}" for text in eliminated)]

    def scores(self, recipe: Recipe, experiment: Experiment, rows: Rows) -> NDArray[np.float64]:
        """Return the (rows, classes) scores of rows of the experiment."""
        X = experiment.problem.X[rows] if self.columns is None else experiment.problem.X[np.ix_(rows, self.columns)]
        return scores(recipe.classifier, self.estimator, X, experiment.problem.classes, recipe.numbers)

    def document(self) -> dict[str, Any]:
        """Return what is kept of it in the run's record."""
        document: dict[str, Any] = {"parameters": self.tuned.parameters, "train": len(self.rows)}
        if self.tuned.table:
            document["tuning"] = {name: getattr(self.tuned, name) for name in ("metric", "score", "folds", "table")}
        if self.columns is not None:
            document["columns"] = [int(column) for column in self.columns]
        if self.eliminated is not None:
            names = ("metric", "k_best", "k_min", "curve")
            document["elimination"] = {name: getattr(self.eliminated, name) for name in names}
        if hasattr(self.estimator, "facts"):
            document["facts"] = self.estimator.facts
        return {**document, "seconds": round(self.seconds, 3)}


def fit_rows(
    recipe: Recipe,
    experiment: Experiment,
    rows: Rows,
    part: dict[str, Any] | None,
    step: Callable[..., None],
    memory: MutableMapping[str, dict[str, Any]],
) -> Fitted:
    """Select, tune and fit on rows.

    Parameters
    ----------
    recipe : Recipe
    experiment : Experiment
    rows : array of int
    part : dict, optional
        The part of a stored selection that they may use.
    step : callable
        Called after each fit, and with shares of what elimination does.
    memory : mutable mapping
        Keeps the stretches of elimination that are done.
    """
    started = time.perf_counter()
    problem, eliminated, columns = experiment.problem, None, None
    if recipe.rfe:
        eliminated = eliminate(problem, rows, folds=recipe.inner_folds, report=step, memory=memory)
        columns = np.array(eliminated.columns, np.intp)
    elif part is not None:
        columns = np.array(part["columns"], np.intp)
    fitting = recipe.fitting(problem.seed)
    options: dict[str, Any] = {"folds": recipe.inner_folds, "columns": columns, "scored": recipe.scored, "step": step}
    tuned = tune(fitting, problem, rows, recipe.grid, **options)
    X = problem.X[rows] if columns is None else problem.X[np.ix_(rows, columns)]
    estimator = fit_classifier(fitting, tuned.parameters, X, problem.y[rows])
    stopped = tuned.stopped + (not converged(recipe.classifier, estimator, X, problem.y[rows], recipe.numbers))
    return Fitted(rows, estimator, columns, tuned, eliminated, stopped, time.perf_counter() - started)


def selection_parts(
    recipe: Recipe, experiment: Experiment, store: Store
) -> tuple[list[dict[str, Any] | None], list[str]]:
    """Return the part of the stored selection that each outer fold may use, and what a reader should know of it.

    Raises
    ------
    LeakageError
    """
    selection, split = recipe.selection, experiment.split
    if selection is None:
        return [None] * len(experiment.folds), []
    fitted, notes = fitted_contents(store, selection)
    parts: list[dict[str, Any] | None] = [
        check_selection(selection, split, outer.fold, experiment.contents, fitted) for outer in experiment.folds
    ]
    return parts, [*notes, *equal_notes(selection, split, experiment.vectors)]


def fold_document(
    experiment: Experiment, outer: OuterFold, fitted: Fitted, found: NDArray[np.float64]
) -> dict[str, Any]:
    """Return what the run's record keeps of an outer fold, with its test score."""
    problem = experiment.problem
    values = problem.score(problem.y[outer.test], found)
    absent = experiment.lacking(fitted.rows)
    document = {"repeat": outer.fold.repeat, "fold": outer.fold.fold, "test": len(outer.test), **fitted.document()}
    document["scores"] = {name: defined(value) for name, value in values.items()}
    return {**document, "classes_without_training": absent} if absent else document
