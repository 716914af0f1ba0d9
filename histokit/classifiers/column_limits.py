"""What columns of features have to be for a classifier: not too large, and for most of like spreads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.table import classifier
from histokit.errors import DataError

#: How the note on spreads begins, which tells of no fault but of what may be tried.
SPREADS = "the spread of"
#: Spreads that differ by more than this are worth a note.
_LIKE = 100.0
#: Where squares of squares are computed, or single precision squares, larger numbers have no digits left beside others.
_LARGEST = 1e15


def check_columns(
    name: str,
    X: NDArray[np.floating],
    columns: Sequence[str],
    *,
    solver: str = "auto",
    scale: bool = False,
    numbers: bool | None = None,
) -> list[str]:
    """Return what a reader should know of the columns that a classifier is trained on.

    Parameters
    ----------
    name : str
        Of the classifier.
    X : (n, d) array
        The training samples.
    columns : sequence of d str
        Their names.
    solver : str
    scale : bool
        Whether they are standardised.
    numbers : bool, optional
        As of `histokit.classifiers.table.classifier`.

    Raises
    ------
    DataError
        If numbers are larger than the classifier can compute with.
    """
    entry = classifier(name, numbers)
    if scale or not entry.by_scale or not X.size:
        return []
    first = X[0].astype(np.float64)
    total, square, reach = np.zeros(X.shape[1]), np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for start in range(0, len(X), 1000):
        rest = X[start : start + 1000] - first
        total, square = total + rest.sum(0), square + (rest**2).sum(0)
        reach = np.maximum(reach, np.abs(rest).max(0))
    if not entry.any_size or (solver == "sklearn" and entry.must_converge):
        # Where means are taken away first, what all samples have in common is no matter.
        size = reach if entry.centred and solver != "sklearn" else np.abs(X).max(0)
        worst = int(size.argmax())
        if size[worst] > _LARGEST:
            raise DataError(
                f"The column {columns[worst]!r} has numbers as large as {np.abs(X[:, worst]).max():.1e}: {name} cannot "
                "compute with them beside others.",
                next="Use --scale, which standardises columns, or import the features again without this column.",
            )
    spread = np.sqrt(np.maximum(square / len(X) - (total / len(X)) ** 2, 0.0))
    spread[reach == 0] = np.nan
    if np.isnan(spread).all():
        return []
    small, large = int(np.nanargmin(spread)), int(np.nanargmax(spread))
    if spread[large] <= _LIKE * spread[small]:
        return []
    times = "" if spread[small] == 0 else f" {_rounded(spread[large] / spread[small])} times"
    return [
        f"{SPREADS} {columns[large]!r} is{times} that of {columns[small]!r}: columns of small spread hardly "
        f"count in {name}; --scale standardises all"
    ]


def _rounded(ratio: float) -> str:
    return f"{float(f'{ratio:.2g}'):,.0f}" if ratio < 1e6 else f"{ratio:.0e}"
