"""Tests of methods over datasets, as in Demšar, Journal of Machine Learning Research 7, 2006."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.compare.ranks import DECIMALS, rank_scores

Floats = NDArray[np.float64]

ALPHA = 0.05
#: Fewer datasets get no omnibus test.
ENOUGH_DATASETS = 6
#: Up to so many datasets all signs are counted out, tied or not; scipy would take a second or two for tied ones.
_COUNTED = 13
_EXACT = 50


def wilcoxon(differences: Floats) -> tuple[float, float]:
    """Return statistic and two-sided p of the Wilcoxon signed-rank test.

    Parameters
    ----------
    differences : (N,) array
        Zeros are left out. Equal absolute differences share their ranks.

    Returns
    -------
    statistic, p : float
        The smaller sum of ranks, and p: exact up to 50 datasets without ties and up to 13 with ties, else by the
        normal approximation, as ``scipy.stats.wilcoxon`` does; 1 where all differences are zero.
    """
    from scipy import stats

    rounded = np.round(differences, DECIMALS)
    d = rounded[rounded != 0]
    if not len(d):
        return 0.0, 1.0
    if len(rounded) <= _COUNTED:
        statistic, p = _count_out(rounded[None])
        return float(statistic[0]), float(p[0])
    untied = len(np.unique(np.abs(d))) == len(rounded)
    found = stats.wilcoxon(d, method="exact" if untied and len(d) <= _EXACT else "approx")
    return float(found.statistic), float(found.pvalue)


def _count_out(differences: Floats) -> tuple[Floats, Floats]:
    """Return statistics and p of (P, N) differences under all their signs."""
    from scipy.stats import rankdata

    # Twice the shared ranks are whole numbers; those of zeros, which come first, are left out.
    zeros = (differences == 0).sum(1, keepdims=True)
    ranks = np.where(differences == 0, 0, 2 * (rankdata(np.abs(differences), axis=1) - zeros)).astype(int)
    above, total = (ranks * (differences > 0)).sum(1), ranks.sum(1)
    patterns, which = np.unique(np.sort(ranks, axis=1), axis=0, return_inverse=True)
    p = np.empty(len(ranks))
    for number, pattern in enumerate(patterns):
        here = np.flatnonzero(which.reshape(-1) == number)
        shares = _sums_of_ranks(pattern)
        tails = np.minimum(np.cumsum(shares), np.cumsum(shares[::-1])[::-1])
        p[here] = np.minimum(1.0, 2 * tails[above[here]])
    return np.minimum(above, total - above) / 2, p


def _sums_of_ranks(ranks: NDArray[np.intp]) -> Floats:
    """Return the share of all signs that have each sum of positive ranks, which add up one rank at a time."""
    shares = np.ones(1)
    for rank in ranks:
        shares = (np.pad(shares, (0, rank)) + np.pad(shares, (rank, 0))) / 2
    return shares


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method, each at least as large as the one before it."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(1, np.maximum.accumulate(scaled)) if len(p) else []
    return [float(value) for value in found]


def compare_pairs(names: Sequence[str], scores: Floats, unit: float = 1.0) -> list[dict[str, Any]]:
    """Test each two methods over the datasets.

    Parameters
    ----------
    names : sequence of k str
    scores : (N, k) array
    unit : float
        That they were divided by: median differences are multiplied by it.

    Returns
    -------
    list of dict
        ``first``, ``second``, ``wins``, ``losses`` and ``ties`` of the first, ``statistic``, ``p`` and ``p_holm``.
    """
    places = np.array(list(combinations(range(len(names)), 2)), int).reshape(-1, 2)
    d = np.round((scores[:, places[:, 0]] - scores[:, places[:, 1]]).T, DECIMALS)
    few = d.shape[1] <= _COUNTED
    statistics, p = _count_out(d) if few else np.array(list(map(wilcoxon, d))).reshape(-1, 2).T
    columns = {
        "first": [names[i] for i in places[:, 0]],
        "second": [names[j] for j in places[:, 1]],
        "wins": (d > 0).sum(1).tolist(),
        "losses": (d < 0).sum(1).tolist(),
        "ties": (d == 0).sum(1).tolist(),
        "median_difference": (unit * np.median(d, axis=1)).tolist(),
        "statistic": statistics.tolist(),
        "p": p.tolist(),
    }
    found = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    adjusted = holm([entry["p"] for entry in found])
    return [{**entry, "p_holm": p} for entry, p in zip(found, adjusted, strict=True)]


def smallest_p(datasets: int) -> float:
    """Return the smallest p that the signed-rank test can give for so many datasets."""
    return 2.0 ** (1 - datasets)


def friedman(scores: Floats) -> dict[str, Any] | None:
    """Return Friedman's test over (N, k) scores, with the correction of Iman and Davenport 1980.

    Returns
    -------
    dict or None
        ``statistic`` (chi squared, corrected for ties), ``df`` and ``p``, and ``iman_davenport`` with ``statistic``
        (None where it is infinite, and p is 0), ``df`` and ``p``; None where every dataset ties all methods.
    """
    from scipy import stats

    ranks = rank_scores(scores)
    if (ranks == ranks[0, 0]).all():
        return None
    datasets, methods = scores.shape
    chi2, p = map(float, stats.friedmanchisquare(*np.round(scores, DECIMALS).T))
    df = (methods - 1, (methods - 1) * (datasets - 1))
    rest = datasets * (methods - 1) - chi2
    value = (datasets - 1) * chi2 / rest if rest > 1e-9 else None
    corrected = {"statistic": value, "df": list(df), "p": 0.0 if value is None else float(stats.f.sf(value, *df))}
    return {"statistic": chi2, "df": df[0], "p": p, "iman_davenport": corrected}


def critical_difference(methods: int, datasets: int, alpha: float = ALPHA) -> float:
    """Return how far average ranks must differ by Nemenyi's test: q √(k (k + 1) / 6 N).

    q is the quantile of the studentised range for infinite degrees of freedom, divided by √2.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * datasets)))


def not_apart(names: Sequence[str], ranks: Sequence[float], difference: float) -> list[list[str]]:
    """Return the largest groups of methods whose average ranks differ by less than a critical difference."""
    order = sorted(range(len(names)), key=lambda i: (-ranks[i], i))
    groups: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = max(i for i in range(first, len(order)) if ranks[order[first]] - ranks[order[i]] < difference)
        if last > first and not (groups and groups[-1][1] >= last):
            groups.append((first, last))
    return [[names[i] for i in order[first : last + 1]] for first, last in groups]
