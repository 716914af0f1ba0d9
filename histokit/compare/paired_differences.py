"""Paired differences of two methods on the same samples, by bootstrap over groups and by McNemar's test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from histokit.compare.score_table import Cell, Table
from histokit.compare.scored import Floats
from histokit.compare.table_columns import Column
from histokit.evaluate.summary import ENOUGH_GROUPS, percentile_interval

#: What rounding leaves, as a share of the scores.
_ROUNDING = 1e-12


def pair_differences(table: Table, columns: Sequence[Column]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the difference of each two methods that were scored on the same samples of a split.

    Parameters
    ----------
    table : Table
    columns : sequence of Column

    Returns
    -------
    list of dict, list of str
        ``first``, ``second``, ``difference`` of the scores, its 95 % ``interval`` and ``p``, and ``mcnemar``, see
        `count_right`; and notes on methods that could not be paired.
    """
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for column in columns:
        present = {method: cells[column] for method, cells in table.items() if column in cells}
        alone = []
        for (first, a), (second, b) in combinations(present.items(), 2):
            if a.samples and a.samples == b.samples:
                found.append(_pair(column, first, a, second, b))
            else:
                alone.append((first, second))
        notes += _unpaired(column, alone)
    return found, notes


def _pair(column: Column, first: str, a: Cell, second: str, b: Cell) -> dict[str, Any]:
    differences = _less(a.resampled, b.resampled)
    known = differences[~np.isnan(differences)]
    defined = a.score is not None and b.score is not None
    return {
        "column": column.name,
        "metric": column.metric,
        "first": first,
        "second": second,
        "first_runs": [entry.run.id for entry in a.runs],
        "second_runs": [entry.run.id for entry in b.runs],
        "difference": float(_less(a.score, b.score)) if a.score is not None and b.score is not None else None,
        "interval": percentile_interval(known) if a.groups > 1 and defined else None,
        "p": share_beyond_zero(known) if a.groups > 1 and defined and len(known) else None,
        "mcnemar": count_right(a, b),
        "groups": a.groups,
        "reliable": a.groups >= ENOUGH_GROUPS,
    }


def _less(first: Any, second: Any) -> Floats:
    """Return differences; those that are left by rounding, as of means in another order of their terms, are 0."""
    found = np.subtract(first, second)
    return np.where(np.abs(found) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second)), 0.0, found)


def count_right(a: Cell, b: Cell) -> dict[str, Any] | None:
    """Return how many samples only one of two methods got right, and how likely that is if both are as good.

    Returns
    -------
    dict or None
        ``first_alone``, ``second_alone`` and the two-sided ``p`` of McNemar's test (1947) in its exact form, by the
        binomial distribution. It takes samples as independent: None where they are of groups or were predicted several
        times, where a method has several runs, and where numbers are predicted.
    """
    if a.right is None or b.right is None:
        return None
    first, second = (int(np.unpackbits(one & ~other).sum()) for one, other in ((a.right, b.right), (b.right, a.right)))
    return {"first_alone": first, "second_alone": second, "p": mcnemar(first, second)}


def mcnemar(first: int, second: int) -> float:
    """Return the p of so many samples that only the one method, and only the other one, got right."""
    from scipy.special import bdtr

    both = first + second
    return float(min(1.0, 2 * bdtr(min(first, second), both, 0.5))) if both else 1.0


def share_beyond_zero(differences: Floats) -> float:
    """Return twice the smaller share of resampled differences that are not above, or not below, zero; at most 1.

    One is added to counts and total, so that it is never zero (Davison and Hinkley 1997, section 4.2). It reads like
    a two-sided p of no difference, and is as rough as there are few groups.
    """
    counts = np.array([(differences <= 0).sum(), (differences >= 0).sum()])
    return float(min(1.0, 2 * (1 + counts.min()) / (1 + len(differences))))


def _unpaired(column: Column, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    if len(pairs) == 1:
        yield f"{' and '.join(pairs[0])} are not paired on {column.name}: they were not scored on the same samples"
    elif pairs:
        yield (
            f"{len(pairs)} pairs of methods, such as {' and '.join(pairs[0])}, are not paired on {column.name}: "
            "they were not scored on the same samples"
        )
