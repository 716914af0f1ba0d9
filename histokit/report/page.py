"""What a page consists of: sections of facts, notes, tables, pictures and commands, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from histokit.layout import Sheet, is_number


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: Mapping[str, Any]
    kind: str = "facts"


@dataclass(frozen=True)
class Notes:
    """Sentences that a reader should not miss."""

    texts: Sequence[str]
    #: ``leak`` where a score is not what it seems, ``note``, or ``plain`` where all is well.
    weight: str = "note"
    kind: str = "notes"


@dataclass(frozen=True)
class DataTable:
    """A table that can be sorted by each of its columns."""

    sheet: Sheet
    kind: str = "table"

    @property
    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers, which stand to the right."""
        columns = [[row[number] for row in self.sheet.rows] for number in range(len(self.sheet.columns))]
        return [
            any(map(is_number, values)) and all(value is None or is_number(value) for value in values)
            for values in columns
        ]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: Sequence[str]
    kind: str = "commands"


@dataclass(frozen=True)
class Picture:
    """A figure.

    Parameters
    ----------
    source : str
        An address that holds the picture itself.
    width, height : int
        At which letters are of the size of the text around, in pixels of a page.
    description : str
        For those who cannot see it.
    caption : str
    """

    source: str
    width: int
    height: int
    description: str
    caption: str
    kind: str = "picture"


@dataclass(frozen=True)
class ShownSample:
    """One image among others: its address, what is said of it line by line, and whether it is predicted wrongly."""

    source: str | None
    description: str
    lines: Sequence[str]
    wrong: bool | None = None


@dataclass(frozen=True)
class Thumbnails:
    """Images beside each other."""

    title: str
    images: Sequence[ShownSample]
    kind: str = "thumbnails"


Block = Facts | Notes | DataTable | Commands | Picture | Thumbnails


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Parameters
    ----------
    title : str
    blocks : sequence of Block
    anchor : str
        What links to it end in; unique on a page.
    closed : bool
        Whether it is opened by a click; what is printed is open.
    sections : sequence of Section
        Its parts.
    """

    title: str
    blocks: Sequence[Block]
    anchor: str = ""
    closed: bool = False
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class ReportPage:
    """A page.

    Parameters
    ----------
    title, subtitle : str
    made_by : str
        Program, version and moment.
    sections : list of Section
    """

    title: str
    subtitle: str
    made_by: str
    sections: list[Section] = field(default_factory=list)


def numbered(sections: Sequence[Section], before: str = "part") -> Iterator[Section]:
    """Yield sections whose anchors, and those of their parts, are unique."""
    for number, section in enumerate(sections, 1):
        anchor = f"{before}-{number}"
        parts = tuple(numbered(section.sections, anchor))
        yield Section(section.title, section.blocks, anchor, section.closed, parts)
