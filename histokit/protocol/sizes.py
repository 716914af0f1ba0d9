"""The subset sizes of an elimination: equal steps, shares, or coarse first and fine near the knee."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError

AUTO = "auto"

#: How many columns go at a time in Mormont et al. 2018 (paper 003).
PAPER_STEP = 4

#: Far from the knee, up to this share of the columns that are left goes at a time.
_SHARE = 0.2

#: So many new sizes are scored at a time near the knee.
_AT_A_TIME = 12


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
        How many columns go at a time: a fraction of those left below 1, else a count (4 in paper 003). ``auto``: a
        fifth of them, rounded down to a multiple of 4, but never less than 4, so that all sizes are also sizes of
        the step 4.

    Raises
    ------
    UsageError
        See `parse_step`.
    """
    step = parse_step(step)
    sizes = [columns]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] - _gone(sizes[-1], step)))
    return sizes


def _gone(size: int, step: float | str) -> int:
    if isinstance(step, str):
        return max(PAPER_STEP, int(_SHARE * size) // PAPER_STEP * PAPER_STEP)
    return max(1, int(step * size)) if step < 1 else int(step)


def knee(means: NDArray[np.float64], tolerance: float) -> tuple[int, int]:
    """Return the positions of the best score and of the smallest subset within the tolerance of it.

    Parameters
    ----------
    means : (sizes,) array
        The mean scores of subsets from large to small; of equally good ones the smallest is the best.
    tolerance : float
    """
    best = int(np.flatnonzero(means == means.max())[-1])
    return best, int(np.flatnonzero(means >= means[best] - tolerance)[-1])


def finer_sizes(sizes: Sequence[int], means: NDArray[np.float64], tolerance: float) -> list[int]:
    """Return the sizes of the paper's step that are still to be scored near the knee, from large to small.

    They lie between the smallest subset within the tolerance and the next one that is clearly worse, by twice the
    tolerance. There are none once the next smaller size of the paper's step was scored.

    Parameters
    ----------
    sizes : sequence of int
        Those with scores, from large to small; the first is that of all columns.
    means : (sizes,) array
    tolerance : float
    """
    best, least = knee(means, tolerance)
    worse = [size for size, mean in zip(sizes, means, strict=True) if mean < means[best] - 2 * tolerance]
    floor = max((size for size in worse if size < sizes[least]), default=0)
    between = [size for size in subset_sizes(sizes[0], PAPER_STEP) if floor < size < sizes[least]]
    if not between or between[0] in sizes:
        return []
    return _thinned([size for size in between if size not in sizes])


def _thinned(sizes: Sequence[int]) -> list[int]:
    """Return some of the sizes at equal distances."""
    taken: Collection[int] = np.unique(np.linspace(0, len(sizes) - 1, _AT_A_TIME).round().astype(int))
    return [sizes[i] for i in taken]
