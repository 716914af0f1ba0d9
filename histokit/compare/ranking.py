"""Average ranks of methods over datasets, and whether they differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from histokit.compare import significance
from histokit.compare.ranks import DECIMALS, rank_scores
from histokit.compare.score_table import Table
from histokit.compare.significance import ALPHA, ENOUGH_DATASETS, Floats
from histokit.compare.table_columns import Column, rankable
from histokit.errors import some
from histokit.protocol.number_metrics import ERRORS


def rank_methods(table: Table, columns: Sequence[Column]) -> tuple[dict[str, Any] | None, list[str]]:
    """Rank the methods that have a score on every dataset.

    Parameters
    ----------
    table : Table
    columns : sequence of Column

    Returns
    -------
    dict or None, list of str
        ``methods`` (the best first), ``average_ranks``, ``ranks`` (method → rank on each dataset), ``columns``,
        ``left_out`` (method → datasets where it has no score) and ``tests``, to which errors are negative, so that
        higher is better everywhere; None with a note where there is nothing to rank.
    """
    if len(columns) < 2 or not rankable(columns):
        return None, []
    absent = {method: [c.name for c in columns if _missing(cells.get(c))] for method, cells in table.items()}
    left_out = {method: names for method, names in absent.items() if names}
    notes = _left_out_notes(left_out)
    names = [method for method in table if method not in left_out]
    if len(names) < 2:
        notes.append("no ranks: fewer than two methods have a score on every dataset")
        return None, notes
    scores = np.array([[table[name][column].score for name in names] for column in columns], float)
    scales = np.array([[column.scale(row)] for column, row in zip(columns, scores.tolist(), strict=True)])
    unit = float(scales.min())
    # Higher ones are better from here on. Rounding tells which are equal, of each column by its own scale.
    scores = np.round(scores / scales, DECIMALS) * scales / unit * [[column.direction] for column in columns]
    ranks = rank_scores(scores)
    average = ranks.mean(0)
    order = sorted(range(len(names)), key=lambda i: (-round(float(average[i]), 9), i))
    tests, more = _tests([names[i] for i in order], scores[:, order], average[order], unit)
    document = {
        "methods": [names[i] for i in order],
        "average_ranks": {names[i]: float(average[i]) for i in order},
        "ranks": {names[i]: ranks[:, i].tolist() for i in order},
        "columns": [column.name for column in columns],
        "left_out": left_out,
        "tests": tests,
    }
    return document, [*notes, *more, *_unlike_notes(columns)]


def _unlike_notes(columns: Sequence[Column]) -> list[str]:
    """Say where differences have no unit in common, of which the signed-rank test takes the larger ones for more."""
    errors = [column for column in columns if column.metric in ERRORS]
    targets = dict.fromkeys(column.task[1] or "label" for column in errors)
    if not errors or (len(errors) == len(columns) and len(targets) == 1):
        return []
    of = ", ".join(dict.fromkeys(column.metric for column in columns))
    units = f" in the units of {some(list(targets))}" if len(targets) > 1 else ""
    return [
        f"the signed-rank test weighs differences of {of}{units} against each other: in other units its p and the "
        "median differences are other ones; ranks, wins, Friedman's and Nemenyi's test are the same"
    ]


def _left_out_notes(left_out: dict[str, list[str]]) -> list[str]:
    same: dict[str, list[str]] = {}
    for method, columns in left_out.items():
        same.setdefault(some(columns), []).append(method)
    return [f"left out of the ranks, without a score on {where}: {some(methods)}" for where, methods in same.items()]


def _missing(cell: Any) -> bool:
    return cell is None or cell.score is None


def _tests(names: list[str], scores: Floats, average: Floats, unit: float) -> tuple[dict[str, Any], list[str]]:
    datasets, methods = scores.shape
    pairs = significance.compare_pairs(names, scores, unit)
    tests = {"alpha": ALPHA, "datasets": datasets, "wilcoxon": pairs, "friedman": None, "nemenyi": None}
    notes = []
    least = significance.smallest_p(datasets)
    if least * len(pairs) > ALPHA:
        corrected = f", {min(1.0, least * len(pairs)):.3g} after Holm's correction for {len(pairs)} pairs" * (
            methods > 2
        )
        notes.append(
            f"{datasets} datasets are few: no p of the signed-rank test can be smaller than {least:.3g}{corrected}"
        )
    if datasets < ENOUGH_DATASETS:
        notes.append(f"{datasets} datasets: Friedman's and Nemenyi's tests need {ENOUGH_DATASETS} or more")
    elif methods < 3:
        notes.append("two methods: the signed-rank test is all, Friedman's and Nemenyi's need three or more")
    else:
        tests["friedman"] = significance.friedman(scores)
        difference = significance.critical_difference(methods, datasets)
        groups = significance.not_apart(names, average.tolist(), difference)
        tests["nemenyi"] = {"critical_difference": difference, "not_apart": groups}
        if tests["friedman"] is None:
            notes.append("every dataset ties all methods: Friedman's test is undefined")
        elif tests["friedman"]["p"] >= ALPHA:
            notes.append(f"Friedman's test finds no difference of ranks (p = {tests['friedman']['p']:.3g})")
    return tests, notes
