"""The words of a filter, and the error of one that is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import isinf
from shlex import quote
from typing import Any, NoReturn

from histokit.errors import UsageError

_SPELT = {"==": "=", "!=": "<>"}
_RESERVED = {"AND", "OR", "NOT", "IN", "IS", "LIKE", "ILIKE", "BETWEEN", "ESCAPE", "NULL", "TRUE", "FALSE", "SELECT"}
_SHOWN = 200

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+"|`(?:[^`]|``)+`)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<word>[^\W\d][\w\u0300-\u036f]*)
    |(?P<sign><>|!=|<=|>=|==|[=<>(),+-])""",
    re.VERBOSE,
)

#: What is written where there is no token, and what to say of it; the first that fits.
_NO_TOKENS = (
    (r"['`]|\"(?!\")", "no quote ends what begins here"),
    (r'""', "a name has letters between its double quotes"),
    (r"[$?:@]", "there are no placeholders: write the value itself"),
    (r";", "a filter is one condition"),
    (r"/\*|#", "there are no comments in a filter"),
    (r"[‘’‚“”„´«»]", "texts stand between ' and ', names between \" and \""),
    (r"\.", 'a name with a dot stands in double quotes: "a.b"'),
    (r"[%*/|^~&]", "there is no arithmetic in a filter"),
)


@dataclass(frozen=True)
class Token:
    """A word, sign, text or number; ``end`` at the end."""

    kind: str
    at: int
    text: str
    value: Any = None


def name_text(column: str) -> str:
    """Return how a column is written in a filter."""
    found = _TOKEN.fullmatch(column)
    plain = found is not None and found.lastgroup == "word" and column.upper() not in _RESERVED
    return column if plain else '"' + column.replace('"', '""') + '"'


def typed(condition: str) -> str:
    """Return a filter as it is typed in a shell."""
    return quote(condition) if set('"$`!\\') & set(condition) else f'"{condition}"'


def refuse(text: str, at: int, why: str, next: str | None = None) -> NoReturn:
    """Raise the error of a filter that cannot be read, or does not fit."""
    whole = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    place = f" at character {at + 1}, {_word_at(text, at)!r}" if at < len(text) else " at its end"
    usual = "Write conditions such as: label = 'x' AND (age >= 50 OR \"cell line\" IN ('a', 'b'))"
    raise UsageError(f"The filter {whole!r} is refused{place}: {why}.", next=next or usual)


def _word_at(text: str, at: int) -> str:
    token = _TOKEN.match(text, at)
    return (token[0] if token else text[at])[:40]


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a filter, ``end`` last.

    Raises
    ------
    UsageError
        If a character has no meaning, or a quote has no end.
    """
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            said = (why for pattern, why in _NO_TOKENS if re.match(pattern, text[at:]))
            refuse(text, at, next(said, "this has no meaning in a filter"))
        kind, written = str(found.lastgroup), found[0]
        if kind in ("text", "quoted"):
            mark = written[0]
            yield Token(kind, at, written, written[1:-1].replace(mark * 2, mark))
        elif kind == "number":
            if isinf(float(written)):
                refuse(text, at, "this number is too large")
            yield Token(kind, at, written, Decimal(written))
        elif kind == "word" and written.upper() in _RESERVED:
            yield Token("keyword", at, written.upper())
        elif kind != "blank":
            yield Token(kind, at, _SPELT.get(written, written), written)
        at = found.end()
    yield Token("end", len(text), "")
