"""What things may be called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: How long an id, a label or another text may be that stands in messages and addresses: a path is no longer.
LONGEST = 4_096

_SPLIT = re.compile(r"[^\W_][\w.-]{0,63}")

#: Characters and words that addresses give another meaning than that of a layer's name.
SEPARATORS = "/+@: "
WORDS = ("all", "each", "last")

#: What columns of the store, or of what is exported, cannot have in their names.
_NOT_STORED = re.compile(r"[.`\x00-\x1f\x7f]")

#: Control characters, halves of a pair that are alone, and what ends a line.
_UNWRITTEN = frozenset(("Cc", "Cs", "Zl", "Zp"))

#: What is allowed as the name of a split.
SPLIT_NAME = "up to 64 letters, digits, _, . and -, beginning with a letter or digit"


def is_split_name(name: str) -> bool:
    """Return whether a split may be called so."""
    return _SPLIT.fullmatch(name) is not None


def fault_of(text: str) -> str:
    """Return why a text is no name that can be stored and shown, as the end of a sentence; empty where it is one."""
    if not text:
        return "which is empty"
    if len(text) > LONGEST:
        return f"which is of {len(text):,} characters: up to {LONGEST:,} are taken"
    if not text.isprintable():
        for letter in text:
            if unicodedata.category(letter) in _UNWRITTEN:
                return f"which holds {letter!r}: control characters and halves of surrogate pairs are not taken"
    return ""


def stored_name(name: str) -> str:
    """Return what a column is called in the store: composed, without ``.``, ``` ` ``` and a ``_`` at the beginning."""
    plain_name = _NOT_STORED.sub("_", unicodedata.normalize("NFC", name))
    bare = plain_name.lstrip("_")
    return (bare or "column") + "_" * (len(plain_name) - len(bare))


def is_stored_name(name: str) -> bool:
    """Return whether a column of the store may be called so, and tables would call it so."""
    tidied = unicodedata.normalize("NFC", name).strip()
    return not fault_of(name) and name == tidied == stored_name(name)


def differ_in_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names that differ in case alone, of which programs that read what is exported may take no notice."""
    met: dict[str, str] = {}
    for name in names:
        other = met.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            return other, name
    return None
