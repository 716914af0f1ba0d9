"""The subset sizes of an elimination: equal steps, shares, or coarse first and fine near the knee."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError
from histokit.protocol.scorers import TIE

AUTO = "auto"

#: How many columns go at a time in Mormont et al. 2018.
PAPER_STEP = 4

#: Far from the knee, up to this share of the columns that are left goes at a time.
_SHARE = 0.2

#: With so few sizes of the paper's step all of them are scored.
_FEW = 32

#: So many sizes of the paper's step are scored above the knee, and at most below it.
_ABOVE, _BELOW = 32, 12


def parse_step(step: float | str) -> float | str:
    """Return a step as a number, or ``auto``.

    Raises
    ------
    UsageError
        If it is neither ``auto`` nor a fraction nor a positive whole number.
    """
    if step == AUTO:
        return AUTO
    try:
        number = float(step)
    except ValueError:
        number = -1.0
    if not 0 < number < np.inf or (number > 1 and number != int(number)):
        raise UsageError(
            f"The step {step} is no step.", next="Give --step auto, a fraction such as 0.2, or a count such as 4."
        )
    return number


def subset_sizes(columns: int, step: float | str) -> list[int]:
    """Return the subset sizes to begin with, from all columns down to one.

    Parameters
    ----------
    columns : int
    step : float or str
        How many columns go at a time: a fraction of those left below 1, else a count, 4 in Mormont et al. 2018.
        ``auto``: a fifth of them, rounded down to a multiple of 4, but never less than 4, so that all sizes are also
        sizes of the step 4; up to 128 columns it is that step.

    Raises
    ------
    UsageError
        See `parse_step`.
    """
    step = parse_step(step)
    sizes = [columns]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] - _gone(sizes[-1], step, columns)))
    return sizes


def _gone(size: int, step: float | str, columns: int) -> int:
    if isinstance(step, str):
        share = 0.0 if columns <= _FEW * PAPER_STEP else _SHARE
        return max(PAPER_STEP, int(share * size) // PAPER_STEP * PAPER_STEP)
    return max(1, int(step * size)) if step < 1 else int(step)


def knee(means: NDArray[np.float64], tolerance: float) -> tuple[int, int]:
    """Return the positions of the best score and of the smallest subset within the tolerance of it.

    Parameters
    ----------
    means : (sizes,) array
        The mean scores of subsets from large to small; of equally good ones the smallest is the best.
    tolerance : float
    """
    best = int(np.flatnonzero(means >= means.max() - TIE)[-1])
    return best, int(np.flatnonzero(means >= means.max() - tolerance - TIE)[-1])


def finer_sizes(sizes: Sequence[int], means: NDArray[np.float64], tolerance: float, fine: Collection[int]) -> list[int]:
    """Return the sizes around the knee that are to be gone through by the paper's step, from large to small.

    They are some above the smallest subset within the tolerance the first time, that one itself, and those below it
    down to one that is clearly worse, by twice the tolerance; some of these only, where there are many. There are none
    once the smallest subset within the tolerance and the next smaller one were both reached in this way.

    Parameters
    ----------
    sizes : sequence of int
        Those with scores, from large to small; the first is that of all columns.
    means : (sizes,) array
    tolerance : float
    fine : collection of int
        Those that were gone through by the paper's step.
    """
    best, least = knee(means, tolerance)
    every = subset_sizes(sizes[0], PAPER_STEP)
    place = every.index(sizes[least])
    if set(every[place : place + 2]) <= set(fine):
        return []
    worse = [size for size, mean in zip(sizes, means, strict=True) if mean < means[best] - 2 * tolerance - TIE]
    floor = max((size for size in worse if size < sizes[least]), default=0)
    below = [size for size in every[place + 2 :] if size > floor]
    above = 0 if len(fine) > 1 else _ABOVE
    wanted = [*every[max(0, place - above) : place + 2], *_thinned(below)]
    return [size for size in wanted if size not in fine]


def _thinned(sizes: Sequence[int]) -> list[int]:
    """Return some of the sizes at equal distances."""
    if not sizes:
        return []
    taken = np.unique(np.linspace(0, len(sizes) - 1, _BELOW).round().astype(int))
    return [sizes[i] for i in taken]
