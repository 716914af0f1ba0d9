"""Tables and sentences as lines that fit a terminal: what does not fit moves, and is never cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

Measure = Callable[[str], int]

Held = TypeVar("Held")

#: Sentences are not squeezed into columns that are narrower than this.
_PROSE = 24
#: So many columns at most go below their rows; with more, every row is a record.
_MOVED = 3
#: Ids, marked scores and what else is not wider stay in their rows as long as others can go.
_SHORT = 12
_GAP = "  "
#: Below the one, numbers have digits of their own; what is not above the other is left by rounding.
_SMALL, _ROUNDING = 1e-3, 1e-13

#: A command to be copied stays on one line.
_COMMAND = re.compile(r"(?:(?<=[:,] )|(?<=\())histokit [a-z][^;)]*")
_WORD = re.compile(r" *[^ ]+")
_HELD = "\0"
_DIGITS = re.compile(r"(\d+)")


class Pieces(tuple[str, ...]):
    """A cell that may go on in the next line between its pieces, and nowhere else."""

    #: What stands between pieces on one line.
    between: ClassVar[str] = " "

    def __str__(self) -> str:
        return self.between.join(self)


class Adhering(Pieces):
    """Pieces that are one text, with nothing between them on one line."""

    between = ""


def elements(text: str) -> Adhering:
    """Return a list such as ``1,2,3`` or ``a+b`` as a cell that may be broken behind its signs.

    Examples
    --------
    >>> [*elements("0.5,0.25")], str(elements("0.5,0.25"))
    (['0.5,', '0.25'], '0.5,0.25')
    """
    return Adhering(re.findall(r"[^,+]*[,+]|[^,+]+", text) or [text])


class Sheet(NamedTuple):
    """A table for people."""

    title: str
    columns: list[Any]
    rows: list[list[Any]]


def prose(text: str | None) -> Pieces | None:
    """Return a sentence as a cell that may be broken at its blanks, but not within a command."""
    return None if text is None else Pieces(word.strip() for word in _words(text))


def _words(text: str) -> list[str]:
    """Return words with the blanks before them; a command is one word, with what adheres to it."""
    held = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), text)
    return [word.replace(_HELD, " ") for word in _WORD.findall(held)]


def listed(texts: Iterable[str], limit: int = 8, what: str = "") -> Pieces:
    """Return texts with commas between them as a cell; of more than the limit, the number and the first.

    Examples
    --------
    >>> str(listed(["a 3", "b 5"], what="classes"))
    'a 3, b 5'
    >>> str(listed(["a 3", "b 5", "c 1", "d 2", "e 4"], limit=4, what="classes"))
    '5 classes: a 3, b 5, c 1, …'
    """
    every = list(texts)
    if len(every) <= limit:
        return Pieces([*(f"{text}," for text in every[:-1]), *every[-1:]])
    return Pieces([f"{len(every)} {what}:", *(f"{text}," for text in every[:3]), "…"])


def fits(columns: Sequence[Any], rows: Sequence[Sequence[Any]], width: int | None, measure: Measure = len) -> bool:
    """Return whether a table has room without a column below its rows."""
    return width is None or _Table(columns, rows, measure).widths(range(len(columns)), width - 1) is not None


def table_lines(
    columns: Sequence[Any], rows: Sequence[Sequence[Any]], width: int | None = None, measure: Measure = len
) -> list[str]:
    """Return a table as lines.

    Where the width does not suffice, sentences go on in the next line, then the widest columns go below (or, the first
    column, above) the rows, and at last each row is a record of one line for each column. A text that is longer than
    a whole line is left to the terminal, so that it can be copied.

    Parameters
    ----------
    columns, rows : sequence
        Cells are shown by `shown`; `Pieces` may be broken.
    width : int, optional
        Columns of the terminal. [default: as wide as the table]
    measure : callable
        text → columns of the terminal that it takes.
    """
    table = _Table(columns, rows, measure)
    every = range(len(columns))
    if width is None:
        return table.grid(every, table.natural, frozenset())
    for moved in table.moves():
        kept = [index for index in every if index not in moved]
        widths = table.widths(kept, width - 1 - 2 * (0 in moved))
        if widths is not None:
            return table.grid(kept, widths, moved, width)
    return table.records(width)


def is_number(value: Any) -> bool:
    """Return whether a cell is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_text(value: float, decimals: int = 4) -> str:
    """Return a number with four decimals, or as many; what these would make 0, one with others, or 1 has more digits.

    Examples
    --------
    >>> number_text(0.86254), number_text(-1e-17), number_text(0.0000348), number_text(0.99997)
    ('0.8625', '0.0000', '3.48e-05', '0.99997')
    """
    value = float(f"{value:.13g}") if abs(value) < 1e8 else value  # Last bits do not decide where halves go.
    if _ROUNDING < abs(value) < max(_SMALL, 0.5 / 10**decimals):
        return f"{value:.3g}"
    while abs(value) < 1 - _ROUNDING and round(abs(value), decimals) == 1:
        decimals += 1
    return f"{value:z.{decimals}f}"


def shown(value: Any) -> Pieces:
    """Return a cell in pieces: numbers as `number_text` writes them, a dash for None."""
    if isinstance(value, Pieces):
        return value
    if value is None:
        return Pieces(["–"])
    return Pieces([number_text(value) if isinstance(value, float) else str(value)])


class _Table:
    def __init__(self, columns: Sequence[Any], rows: Sequence[Sequence[Any]], measure: Measure):
        self.measure = measure
        self.heads = [c if isinstance(c, Pieces) else Pieces(str(c).split(" ")) for c in columns]
        self.rows = [[shown(value) for value in row] for row in rows]
        every = range(len(columns))
        self.numeric = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in every]
        self.natural = [max(measure(str(pieces)) for pieces in self._column(i)) for i in every]
        self.least = [self._least(i) for i in every]

    def _column(self, index: int) -> Iterator[Pieces]:
        yield self.heads[index]
        yield from (row[index] for row in self.rows)

    def _least(self, index: int) -> int:
        longest = max((self.measure(piece) for pieces in self._column(index) for piece in pieces), default=0)
        broken = any(len(row[index]) > 1 for row in self.rows)
        return max(longest, min(self.natural[index], _PROSE)) if broken else longest

    def moves(self) -> Iterator[frozenset[int]]:
        """Return which columns to move out of the rows, the least change first.

        Numbers stay where they can be compared; the first column names the row, and is moved after the others.
        """
        texts = [index for index in range(1, len(self.heads)) if not self.numeric[index]]
        ordered = sorted(texts, key=lambda index: self.natural[index], reverse=True)
        for least in (_SHORT, 0):
            worth = [index for index in ordered if self.natural[index] > least][:_MOVED]
            for first in ([], [0]):
                for count in range(min(len(worth), len(self.heads) - 2 - len(first)) + 1):
                    yield frozenset([*first, *worth[:count]])

    def widths(self, kept: Sequence[int], room: int) -> list[int] | None:
        """Return how wide some columns are in so much room, or None where they do not fit."""
        room -= len(_GAP) * (len(kept) - 1)
        least = [self.least[index] for index in kept]
        if sum(least) > room:
            return None
        widths = [max(low, min(self.natural[index], room)) for index, low in zip(kept, least, strict=True)]
        while sum(widths) > room:
            widest = max((i for i in range(len(kept)) if widths[i] > least[i]), key=lambda i: widths[i])
            widths[widest] -= 1
        return [self._taken(index, room) for index, room in zip(kept, widths, strict=True)]

    def _taken(self, index: int, room: int) -> int:
        """Return how wide a column is once its cells are broken."""
        return max(self.measure(line) for pieces in self._column(index) for line in self._broken(pieces, room))

    def grid(self, kept: Sequence[int], widths: Sequence[int], moved: frozenset[int], width: int = 0) -> list[str]:
        """Return the lines of a table, some columns of which are above or below the rows."""
        first = 0 in moved
        indent = " " * (1 + 2 * first)
        above = [index for index in sorted(moved) if first and index < kept[0]]
        below = [index for index in sorted(moved) if index not in above]
        rule = "─" * (sum(widths) + len(_GAP) * (len(widths) - 1) + 2 * first)
        lines = [f" {self.heads[index]}" for index in above[:1]]
        lines += [*self._across(self.heads, kept, widths, indent), f" {rule}"]
        for row in self.rows:
            for index in above:
                lines += self._alone(row, index, " " if index == 0 else "   ", width, named=index > 0)
            lines += self._across(row, kept, widths, indent)
            for index in below:
                lines += self._alone(row, index, "   ", width)
        return lines

    def _across(self, cells: Sequence[Pieces], kept: Sequence[int], widths: Sequence[int], indent: str) -> list[str]:
        broken = [self._broken(cells[index], room) for index, room in zip(kept, widths, strict=True)]
        lines = []
        for number in range(max(map(len, broken))):
            line = [part[number] if number < len(part) else "" for part in broken]
            padded = [
                self._padded(text, room, self.numeric[i]) for text, room, i in zip(line, widths, kept, strict=True)
            ]
            lines.append((indent + _GAP.join(padded)).rstrip())
        return lines

    def _alone(self, row: Sequence[Pieces], index: int, indent: str, width: int, named: bool = True) -> list[str]:
        """Return a cell on lines of its own, empty where there is nothing to say."""
        if str(row[index]) in ("", "–"):
            return [] if named else [f"{indent}–"]
        name = f"{self.heads[index]}: " if named else ""
        return self._after(indent + name, row[index], width, " " * (len(indent) + 2))

    def records(self, width: int) -> list[str]:
        """Return every row as a record, one line for each column."""
        lines: list[str] = []
        labels = max((self.measure(str(head)) for head in self.heads), default=0)
        for row in self.rows:
            lines += [""] if lines else []
            for head, cell in zip(self.heads, row, strict=True):
                if str(head):
                    label = f" {self._padded(str(head), min(labels, width // 3), False)}{_GAP}"
                    lines += self._after(label, cell, width, "   ")
                else:
                    lines += self._after(" ", cell, width, "   ")
        return lines or [f" {self.heads[0]}"]

    def _after(self, start: str, cell: Pieces, width: int, indent: str) -> list[str]:
        """Return a cell behind its name, or below it where that needs less of the terminal."""
        room = width - self.measure(start)
        longest = max(map(self.measure, cell), default=0)
        if longest <= room:
            first, *rest = self._broken(cell, room)
            return [(start + first).rstrip(), *(" " * self.measure(start) + line for line in rest)]
        indent = indent if longest <= width - len(indent) else ""
        return [
            *[start.rstrip()] * bool(start.strip()),
            *(indent + line for line in self._broken(cell, width - len(indent))),
        ]

    def _broken(self, cell: Pieces, room: int) -> list[str]:
        lines: list[str] = []
        for piece in cell:
            if lines and self.measure(lines[-1] + cell.between + piece) <= room:
                lines[-1] += cell.between + piece
            else:
                lines.append(piece)
        return lines or [""]

    def _padded(self, text: str, room: int, right: bool) -> str:
        blanks = " " * (room - self.measure(text))
        return blanks + text if right else text + blanks


def wrapped(text: str, width: int | None, measure: Measure = len) -> list[str]:
    """Return a text as lines that are broken at blanks, but not within a command that is to be copied."""
    lines: list[str] = []
    for line in text.split("\n"):
        if width is None or measure(line) <= width:
            lines.append(line)
            continue
        made = ""
        for word in _words(line):
            if made and measure(made + word) > width:
                lines.append(made)
                made = word.lstrip(" ")
            else:
                made += word
        lines.append(made)
    return lines


def natural(names: Iterable[str]) -> list[str]:
    """Return names as people count, 2 before 10, where they stand in the order of text, which nobody has chosen."""
    listed = list(names)
    if listed != sorted(listed):
        return listed
    try:
        return sorted(listed, key=float)
    except ValueError:
        return sorted(listed, key=lambda name: [int(p) if n % 2 else p for n, p in enumerate(_DIGITS.split(name))])


def natural_items(named: Mapping[str, Held]) -> list[tuple[str, Held]]:
    """Return the items of a mapping in that order of its names."""
    return [(name, named[name]) for name in natural(named)]


def natural_confusion(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a confusion matrix with its classes in that order."""
    names = list(confusion["classes"])
    order = [names.index(name) for name in natural(names)]
    counts = [[confusion["counts"][true][predicted] for predicted in order] for true in order]
    return {**confusion, "classes": [names[place] for place in order], "counts": counts}
