"""How good retrieval is: whether the nearest samples are of the class of the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.protocol.metrics import Counts, count_metrics
from histokit.protocol.scorers import defined

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

#: Of how many neighbours scores are given, up to the number that is asked for, and of that.
SERIES = (1, 3, 5, 10, 20, 50, 100, 200, 500, 1_000)

#: What is told of the majority votes, by the names of `histokit.protocol.metrics.METRICS`.
VOTED = ("accuracy", "balanced_accuracy", "eta_p", "eta_w", "eta_total", "eta_w_precision")

Scores = dict[str, Any]


def numbers_of(count: int) -> list[int]:
    """Return of how many neighbours scores are given where `count` are found."""
    return sorted({k for k in SERIES if k < count} | {count})


def retrieval_scores(
    true: Rows, neighbours: Rows, precision: Floats, classes: Sequence[str]
) -> tuple[Scores, dict[str, Scores]]:
    """Score the neighbours of m queries that have a class.

    Parameters
    ----------
    true : (m,) array of int
        Numbers of classes.
    neighbours : (m, k) array of int
        The classes of the neighbours, the nearest first; -1 of those that have none.
    precision : (m,) float64 array
        The average precision of each query; NaN where it is not known.
    classes : sequence of K str

    Returns
    -------
    scores : dict
        ``queries``, m; ``mean_average_precision``, none where it is not known; and ``at``, for each number of
        neighbours ``k``:

        - ``recall``: the share of queries of whose k nearest samples one or more are of its class. This is recall@k
          as retrieval by images means it (Jégou, Douze and Schmid 2011; Musgrave, Belongie and Lim 2020), also called
          hit rate.
        - ``precision``: the mean share of the k nearest samples that are of the query's class.
        - ``vote``: what the class would be by the most votes of the k nearest; of classes with as many votes, that of
          the nearest sample among theirs. Its accuracy, mean recall of classes, and Kimia Path24's η (Babaie et al.
          2017), see `histokit.protocol.metrics`.
    per_class : dict
        Class → the same of its queries, with the accuracy of votes alone.
    """
    right = neighbours == true[:, None]
    numbers = numbers_of(neighbours.shape[1])
    votes = _votes(neighbours, numbers, len(classes))
    scores = _scores(right, precision, numbers)
    for entry, voted in zip(scores["at"], votes, strict=True):
        # A query without any vote is in a column of its own.
        confusion = np.zeros((len(classes) + 1, len(classes) + 1))
        np.add.at(confusion, (true, voted), 1)
        found = count_metrics(confusion)
        # That column is no class, whose precision would be 0.
        classes_there = Counts(confusion).either
        found["eta_w_precision"] *= classes_there / (classes_there - confusion[:, -1].any())
        entry["vote"] = {name: defined(float(found[name])) for name in VOTED}
    per_class: dict[str, Scores] = {}
    for code in np.unique(true).tolist():
        own = true == code
        per_class[classes[code]] = _scores(right[own], precision[own], numbers)
        for entry, voted in zip(per_class[classes[code]]["at"], votes, strict=True):
            entry["vote"] = {"accuracy": float((voted[own] == code).mean())}
    return scores, per_class


def _scores(right: NDArray[np.bool_], precision: Floats, numbers: Sequence[int]) -> Scores:
    at: list[Scores] = [
        {"k": k, "recall": float(right[:, :k].any(axis=1).mean()), "precision": float(right[:, :k].mean())}
        for k in numbers
    ]
    return {"queries": len(right), "mean_average_precision": defined(float(precision.mean())), "at": at}


def _votes(neighbours: Rows, numbers: Sequence[int], classes: int) -> list[Rows]:
    """Return for each number of neighbours the class with the most votes; `classes` where nothing voted."""
    counts = np.zeros((len(neighbours), classes), np.intp)
    # Of classes with as many votes that whose first vote came first is taken.
    first = np.full((len(neighbours), classes), neighbours.shape[1], np.intp)
    found = []
    rows = np.arange(len(neighbours))
    for rank in range(neighbours.shape[1]):
        voter = neighbours[:, rank]
        voting, code = rows[voter >= 0], voter[voter >= 0]
        counts[voting, code] += 1
        first[voting, code] = np.minimum(first[voting, code], rank)
        if rank + 1 in numbers:
            best = np.where(counts == counts.max(axis=1, keepdims=True), first, neighbours.shape[1] + 1).argmin(axis=1)
            found.append(np.where(counts.any(axis=1), best, classes))
    return found


def average_precision(order: Rows, alike: NDArray[np.bool_]) -> Floats:
    """Return the average precision of each ranking of samples: 0 where nothing is to be found.

    The mean, over all samples of the query's class that it may find, of the precision at the rank of each (Manning,
    Raghavan and Schütze 2008, Introduction to Information Retrieval, section 8.4; as ``trec_eval`` computes it).
    """
    right = np.take_along_axis(alike, order, axis=1)
    total = right.sum(axis=1)
    rows, ranks = right.nonzero()
    hits = np.arange(1, len(rows) + 1) - (total.cumsum() - total)[rows]
    precision = np.zeros(right.shape)
    precision[rows, ranks] = hits / (ranks + 1)
    found: Floats = precision.sum(axis=1) / np.maximum(1, total)
    return found
