"""Outer folds that one setting is fitted in, solved together where their training sets share most samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.fitting import cross_scores
from histokit.protocol.experiment import Experiment
from histokit.protocol.tuning import Tuned
from histokit.train.outer import Fitted, Recipe

#: So many decision values of all samples are solved for at once: a few arrays of 40 MB.
_AT_ONCE = 5_000_000
#: And for so many folds: the next ones show how far it is, and are what an interruption costs.
_FOLDS_AT_ONCE = 10


def can_be_solved_together(recipe: Recipe, parts: Sequence[dict[str, Any] | None]) -> bool:
    """Return whether folds need neither tuning nor columns of their own, and there is a solver for many of them."""
    alone = recipe.rfe or recipe.scored or recipe.scale or any(part is not None for part in parts)
    return len(recipe.grid) == 1 and not alone and recipe.fitting(0).module is not None


def solve_together(
    recipe: Recipe, experiment: Experiment, numbers: Sequence[int]
) -> Iterator[tuple[int, Fitted, NDArray[np.float64]]]:
    """Fit the one setting of a recipe in outer folds, and score their test rows.

    Parameters
    ----------
    recipe : Recipe
    experiment : Experiment
    numbers : sequence of int
        Which folds.

    Yields
    ------
    number : int
    fitted : Fitted
        Without an estimator.
    scores : (test rows, classes) float64 array
    """
    problem, fitting = experiment.problem, recipe.fitting(experiment.problem.seed)
    size = max(1, min(_FOLDS_AT_ONCE, _AT_ONCE // (len(problem.y) * problem.classes)))
    for start in range(0, len(numbers), size):
        chunk = numbers[start : start + size]
        places = [(experiment.folds[number].train, experiment.folds[number].test) for number in chunk]
        before = time.perf_counter()
        for place, _, found, reached in cross_scores(
            fitting, problem.X, problem.y, places, recipe.grid, problem.classes
        ):
            now = time.perf_counter()
            tuned = Tuned(dict(recipe.grid[0]))
            fitted = Fitted(places[place][0], None, None, tuned, None, int(not reached), now - before)
            yield chunk[place], fitted, found
            before = now
