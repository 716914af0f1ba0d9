"""Recursive feature elimination, ranked by the importances of extremely randomised trees."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError
from histokit.protocol.elimination_paths import Paths, Walk
from histokit.protocol.number_metrics import ERRORS, direction, scale_of
from histokit.protocol.scorers import defined, spread
from histokit.protocol.subset_sizes import AUTO, PAPER_STEP, finer_sizes, knee, parse_step, subset_sizes
from histokit.protocol.tuning import Problem, decide, mean_of

#: How often each path is gone with the step ``auto``, as a rule.
PASSES = 2

_TREES: dict[str, Any] = {"max_features": "sqrt", "trees": 100}


@dataclass(frozen=True)
class Elimination:
    """What recursive elimination kept.

    Parameters
    ----------
    columns : list of int
        The smallest subset whose score is within the tolerance of the best, ascending.
    ranking : list of int
        The rank of every column; 1 was kept longest.
    importances : list of float
        Of every column, before any was eliminated; they add up to 1.
    curve : list of [size, mean, std]
        The score by subset size over the inner folds, from large to small; no std where one of them defines it.
    scores : list of list of float
        For each point of the curve the score in each inner fold, none where undefined.
    k_best, k_min : int
        The size with the best score (the smallest of equals), and that of `columns`.
    metric : str
        What decided.
    notes : list of str
    """

    columns: list[int]
    ranking: list[int]
    importances: list[float]
    curve: list[list[float | None]]
    scores: list[list[float | None]]
    k_best: int
    k_min: int
    metric: str
    notes: list[str]


def eliminate(
    problem: Problem,
    rows: NDArray[np.intp],
    *,
    tolerance: float = 0.005,
    step: float | str = AUTO,
    folds: int = 5,
    report: Callable[[float], None] | None = None,
    memory: MutableMapping[str, Walk] | None = None,
) -> Elimination:
    """Eliminate the least important columns, and keep the smallest subset that is as good as the best.

    The order of elimination is found anew in every inner fold for the curve, and once more on all rows for
    the columns that are kept (Mormont et al. 2018). Columns are ranked at every size by the impurity
    importances of 100 extremely randomised trees. A step that is a number gives the curve of scikit-learn's ``RFECV``.
    With ``auto`` large steps find the knee, then each path goes through it once more from a larger subset of its own,
    four columns at a time as in the paper; sizes that it had scored there are scored anew.

    Parameters
    ----------
    problem : Problem
    rows : (m,) array of int
        The training samples; no other row of the problem is looked at.
    tolerance : float
        How far below the best score a smaller subset may lie; of errors, which are in the units of the target, in
        standard deviations of the target among `rows`.
    step : float or str
        See `histokit.protocol.subset_sizes.subset_sizes`.
    folds : int
        Capped by the number of groups.
    report : callable, optional
        Called with what share was done of a stretch of a path; for each pass there is one more of these than inner
        folds.
    memory : mutable mapping, optional
        Keeps the stretches that are done, as JSON-serialisable data; what is there already is not done again. It must
        be of the same problem, rows and options.

    Returns
    -------
    Elimination

    Raises
    ------
    DataError
        If there is a single training sample.
    """
    step = parse_step(step)
    if len(rows) < 2:
        raise DataError(
            "A training set has a single sample: columns cannot be eliminated by it.",
            next="Leave elimination out, or use a --split with more training samples.",
        )
    fold, notes = problem.inner_folds(rows, folds)
    places = [(rows[fold != number], rows[fold == number]) for number in range(int(fold.max()) + 1)]
    kept = {} if memory is None else memory
    paths = Paths(problem, [*places, (rows, rows[:0])], _TREES, kept, report or (lambda _: None))
    sizes = subset_sizes(problem.X.shape[1], step)
    paths.extend(sizes, sizes)
    fine = set(sizes if step != AUTO or sizes == subset_sizes(sizes[0], PAPER_STEP) else sizes[:1])
    while True:
        sizes, found = paths.table()
        said: list[str] = []
        metric, table = decide(found, problem, said)
        means = mean_of(table)
        scale = scale_of(metric, means)
        goodness, below = direction(metric) * means / scale, tolerance * _unit(metric, problem, rows) / scale
        best, least = knee(goodness, below)
        finer = finer_sizes(sizes, goodness, below, fine) if step == AUTO else []
        if not finer:
            break
        start = min(size for size in sizes if size >= finer[0])
        paths.extend(
            sorted({start, *finer}, reverse=True),
            sorted({start, *finer, *(size for size in sizes if size < start)}, reverse=True),
        )
        fine.update(finer)
    order = paths.order
    ranking = np.empty(len(order), np.intp)
    ranking[order] = np.arange(1, len(order) + 1)
    return Elimination(
        columns=np.sort(order[: sizes[least]]).tolist(),
        ranking=ranking.tolist(),
        importances=paths.importances,
        curve=[[size, float(mean), spread(line)] for size, mean, line in zip(sizes, means, table, strict=True)],
        scores=[[defined(value) for value in line] for line in table],
        k_best=sizes[best],
        k_min=sizes[least],
        metric=metric,
        notes=[*notes, *said],
    )


def _unit(metric: str, problem: Problem, rows: NDArray[np.intp]) -> float:
    """Return what a tolerance of 1 is in the units of a metric."""
    return float(problem.y[rows].std()) if metric in ERRORS else 1.0
