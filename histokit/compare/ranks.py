"""Places and ranks of methods on datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Scores that differ by less are equal: a mean is not the same to the last bit in every order of its terms.
DECIMALS = 12


def rank_scores(scores: Floats) -> Floats:
    """Return the ranks of methods on each dataset: the best of k gets k, ties share the mean of their ranks.

    Parameters
    ----------
    scores : (N, k) array
        Datasets in rows.

    Returns
    -------
    (N, k) array

    References
    ----------
    Mormont et al. 2018, section 5.1.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.round(scores, DECIMALS), axis=1))


def places(scores: Sequence[float | None]) -> list[int | None]:
    """Return the place of each score among those that are defined: 1 for the best, ties share the better one."""
    # All by one way of rounding: that of NumPy gives another last digit where a share of 40,960 has 13 decimals.
    rounded = [None if s is None else round(s, DECIMALS) for s in scores]
    known = np.array([s for s in rounded if s is not None])
    return [None if s is None else int((known > s).sum()) + 1 for s in rounded]


def marks(scores: Sequence[float | None]) -> list[str | None]:
    """Return ``best`` and ``second`` for the highest and the second highest of the scores, if there are several."""
    values = [None if s is None else round(s, DECIMALS) for s in scores]
    order = sorted({v for v in values if v is not None}, reverse=True)
    several = sum(v is not None for v in values) > 1
    names = dict(zip(order[:2], ("best", "second"), strict=False)) if several else {}
    return [None if v is None else names.get(v) for v in values]
