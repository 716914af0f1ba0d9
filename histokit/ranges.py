"""The numbers that options can be: one table for the functions and for the help of the commands."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

from histokit.errors import UsageError


@dataclass(frozen=True)
class Range:
    """What a number can be.

    Parameters
    ----------
    low, high : int or float
    whole : bool
    between : bool
        Whether neither end is meant.
    """

    low: float
    high: float
    whole: bool = True
    between: bool = False

    def fits(self, value: Any) -> bool:
        """Return whether a value is such a number; NaN is none."""
        try:
            number = operator.index(value) if self.whole else float(value)
        except (TypeError, ValueError, OverflowError):
            return False
        inside = self.low < number < self.high if self.between else self.low <= number <= self.high
        return inside and not isinstance(value, bool | str)

    @property
    def words(self) -> str:
        """It in words."""
        ends = f"{self.low:,} and {self.high:,}"
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} between {ends}" if self.between else f"{kind} from {ends.replace(' and ', ' to ')}"


#: The number of seeds that every generator of numbers takes.
SEEDS = 2**32

#: By the names of parameters. Folds are stored in 16 bits; more of the others would only take memory.
RANGES = {
    "seed": Range(0, SEEDS - 1),
    "inner_folds": Range(2, 1_000),
    "folds": Range(2, 32_767),
    "repeats": Range(1, 1_000),
    "train_groups": Range(1, 1_000_000),
    "train_per_class": Range(1, 1_000_000),
    "test": Range(0, 1, whole=False, between=True),
    "tolerance": Range(0, 1, whole=False),
    "trees": Range(1, 10_000),
    "bootstrap": Range(0, 100_000),
    "batch_size": Range(1, 65_536),
    "micro_batch": Range(1, 65_536),
    "workers": Range(0, 1_024),
    "per_class": Range(1, 1_000),
    "k": Range(1, 10_000),
    "filters": Range(1, 1_000),
    "columns": Range(1, 1_000),
    "per_column": Range(1, 1_000),
    "limit": Range(0, 2**31 - 1),
    "samples": Range(0, 1_000),
    "older_than": Range(0, 525_600_000, whole=False),
}


#: The same as arguments of options of the command line, whose help then shows them.
LIMITS: dict[str, Any] = {
    name: {"min": allowed.low, "max": allowed.high} for name, allowed in RANGES.items() if not allowed.between
}


def check_range(name: str, value: Any, low: float | None = None) -> Any:
    """Return a number as Python's own, where it is in the range of its name, or of a higher beginning.

    Raises
    ------
    UsageError
        If it is outside, or no number of the kind.
    """
    allowed = RANGES[name] if low is None else replace(RANGES[name], low=low)
    if not allowed.fits(value):
        option = name.replace("_", "-")
        raise UsageError(f"--{option} {value} is not {allowed.words}.", next=f"Give --{option} such a number.")
    return operator.index(value) if allowed.whole else float(value)


def check_ranges(**values: Any) -> None:
    """Check all that is given, see `check_range`; what is none is left to its default."""
    for name, value in values.items():
        if value is not None:
            check_range(name, value)
