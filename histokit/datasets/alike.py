"""Names that are nearly the same: classes and groups that differ in what one hardly sees, or stand for nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from histokit.datasets.cells import MISSING, odd_cell

_SHOWN = 3

#: What stands for a value that is not known where it is the name of a unit, in small letters.
_NOTHING = (
    *("none", "unknown", "unk", "missing", "undefined", "unspecified", "unassigned", "tbd"),
    *("n.a.", "n. a.", "not available", "not applicable", "not known", "no data"),
    *{name.lower() for name in MISSING if name},
)
_SIGNS = re.compile(r"[^\w\s]+")
#: What spreadsheets write where a formula has no value, such as #DIV/0! and #NAME?.
_FAILED = re.compile(r"#[A-Z][A-Z0-9/_]*[!?]?")
#: Classes may be called + and -.
_QUESTION = re.compile(r"[?.\u2026]+")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return those of some names that are the same but for what `alike_notes` tells of, sorted."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(_folded(name), set()).add(name)
    return sorted(sorted(same) for same in found.values() if len(same) > 1)


def alike_notes(what: str, values: Iterable[str | None] | pa.ChunkedArray, unit: bool = True) -> list[str]:
    """Return a sentence on nearly equal values, and one on values that say that there is none.

    Nearly equal are those that differ in blanks, letters that are not seen (soft hyphens, joiners, marks of
    direction), case, the form of letters, or as texts of one number (``1`` and ``1.0``).

    Parameters
    ----------
    what : str
        What a value is: ``class``, or the name of a column.
    values : iterable of str, or pyarrow.ChunkedArray
        One for each sample, none where it is not known.
    unit : bool
        Whether samples of one value belong together, as those of a group: no group is called ``unknown``.
    """
    if not isinstance(values, pa.ChunkedArray):
        values = pa.chunked_array([pa.array(values, pa.string())])
    known = values.drop_null()
    counts = {each["values"]: each["counts"] for each in pc.value_counts(known).to_pylist()}
    notes = []
    pairs = alike(counts)
    if pairs:
        each = "; ".join(" and ".join(f"{name!r} ({counts[name]})" for name in same) for same in pairs[:_SHOWN])
        more = f", and {len(pairs) - _SHOWN} more of this kind" if len(pairs) > _SHOWN else ""
        differ = f"Values of {what} differ in blanks, unseen letters, case, or the form of letters or numbers alone"
        notes.append(f"{differ}, and count as different: {each}{more}")
    odd = odd_cell(known) if len(known) else None
    if odd is not None and odd.certain and not _is_nothing(odd.text, unit):
        notes.append(f"A {what} is called {odd.text!r} ({counts[odd.text]}), and most others are numbers")
    nothing = [name for name in counts if name in MISSING or _is_nothing(name, unit)]
    if nothing:
        listed = ", ".join(f"{name!r} ({counts[name]})" for name in nothing)
        notes.append(f"A {what} is called {listed}; where that stands for a missing value, leave the cells empty")
    return notes


def _is_nothing(name: str, unit: bool) -> bool:
    """Whether a name is of signs alone, or is a word for a unit that is not known."""
    if _FAILED.fullmatch(name):
        return True
    folded = _folded(name)
    signs = _SIGNS if unit else _QUESTION
    return not folded or signs.fullmatch(folded) is not None or (unit and folded.strip("<>()[]") in _NOTHING)


def _folded(name: str) -> str:
    seen = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    text = " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())
    return str(Decimal(text).normalize() + 0) if _NUMBER.fullmatch(text) else text
