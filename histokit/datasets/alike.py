"""Names that are nearly the same: classes and groups that differ in blanks, case or Unicode alone."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from histokit.datasets.cells import MISSING

_SHOWN = 3


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return those of some names that are the same but for blanks, case or the form of letters, sorted."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(_folded(name), set()).add(name)
    return sorted(sorted(same) for same in found.values() if len(same) > 1)


def alike_notes(what: str, values: Iterable[str | None]) -> list[str]:
    """Return a sentence on nearly equal values, and one on values that say that there is none.

    Parameters
    ----------
    what : str
        What a value is: ``class``, or the name of a column.
    values : iterable of str
        One for each sample, none where it is not known.
    """
    counts = Counter(value for value in values if value is not None)
    notes = []
    pairs = alike(counts)
    if pairs:
        each = "; ".join(" and ".join(f"{name!r} ({counts[name]})" for name in same) for same in pairs[:_SHOWN])
        more = f", and {len(pairs) - _SHOWN} more of this kind" if len(pairs) > _SHOWN else ""
        differ = f"Values of {what} differ in blanks, case or the form of letters alone"
        notes.append(f"{differ}, and count as different: {each}{more}")
    nothing = [name for name in counts if name in MISSING]
    if nothing:
        listed = ", ".join(f"{name!r} ({counts[name]})" for name in nothing)
        notes.append(f"A {what} is called {listed}; where that stands for a missing value, leave the cells empty")
    return notes


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
