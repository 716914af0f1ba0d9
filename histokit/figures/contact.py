"""Contact sheets: thumbnails with captions, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from histokit.figures.lettering import drawable, folded, letters_of, line_height, pieces, shortened_names
from histokit.figures.numbers import COLOURS
from histokit.figures.sheet import as_file, new_sheet

#: What a thumbnail is: the one that a line is about, one that is right or wrong, or neither.
Mark = Literal["lead", "right", "wrong", ""]

#: How it is framed: colour, line style and width; and the sign before its caption, which needs no colour.
_FRAMES: dict[str, tuple[str, Any, float]] = {
    "lead": ("black", "-", 2.0),
    "right": (COLOURS[2], "-", 2.0),
    "wrong": (COLOURS[0], (0, (3, 1.5)), 2.0),
    "": ("grey", "-", 0.6),
}
_SIGNS = {"right": "✓ ", "wrong": "✗ "}

#: In inches: seven thumbnails are as wide as a page.
_SIDE, _GAP, _MARGIN = 0.91, 0.09, 0.08
_PER_LINE = 7
_TEXT, _TITLE = 7.0, 9.0
_NAME_LINES, _REASON_LINES, _SQUARE_LINES = 2, 4, 7
#: Between the parts of a label.
_TO = " → "
#: Letters in the width of a thumbnail.
_LETTERS = 15


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A small picture with a caption.

    Parameters
    ----------
    pixels : (side, side, 3) uint8 array, optional
        None where there is nothing to be seen: a grey square says so, or why.
    label : str
        What the caption begins with; the sign of the mark stands before it. Parts, as in ``true → predicted``, are cut
        each on its own, so that of long ones neither is lost.
    name : str
        Such as an id; of a long one the end is shown.
    facts : str
        The last line.
    mark : str
        ``lead``, ``right``, ``wrong`` or empty.
    reason : str
        Why it cannot be seen or used: in the square, or below the caption where there is a picture.
    """

    pixels: NDArray[np.uint8] | None
    label: str = ""
    name: str = ""
    facts: str = ""
    mark: Mark = ""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Thumbnails in rows.

    Parameters
    ----------
    title : str
    rows : sequence of sequences of Thumbnail
        Where the first of a row is its ``lead``, it stands alone in the first column, and those that have no room
        beside it go on below, in the columns of the others.
    legend : str
        A line below all: what frames and signs mean.
    """

    title: str
    rows: Sequence[Sequence[Thumbnail]]
    legend: str = ""


def draw_contact(contact: ContactSheet) -> Any:
    """Draw thumbnails with their captions.

    Parameters
    ----------
    contact : ContactSheet

    Returns
    -------
    matplotlib.figure.Figure
        One pair of axes, in inches from the upper left corner.
    """
    lines = [line for row in contact.rows for line in _lines(row)]
    captions = [[_caption(each) for _, each in line] for line in lines]
    columns = max((place for line in lines for place, _ in line), default=0) + 1
    wide = 2 * _MARGIN + columns * (_SIDE + _GAP) - _GAP
    title = folded(drawable(contact.title), max(wide, 2.5) - 2 * _MARGIN, _TITLE)
    legend = folded(drawable(contact.legend), max(wide, 2.5) - 2 * _MARGIN, _TEXT)
    tops, top = [], 2 * _MARGIN + (title.count("\n") + 1.3) * line_height(_TITLE)
    for texts in captions:
        tops.append(top)
        top += _SIDE + 2 * _GAP + max(text.count("\n") + 1 for text in texts) * line_height(_TEXT)
    high = top + (legend.count("\n") + 1) * line_height(_TEXT) * bool(legend) + _MARGIN
    sheet = new_sheet(max(wide, 2.5), high)
    # Every place is known in inches: there is nothing to lay out.
    sheet.set_layout_engine("none")
    axis = sheet.add_axes((0, 0, 1, 1))
    for line, texts, place in zip(lines, captions, tops, strict=True):
        for (column, each), text in zip(line, texts, strict=True):
            _draw(axis, each, text, _MARGIN + column * (_SIDE + _GAP), place)
    axis.text(_MARGIN, _MARGIN, title, fontsize=_TITLE, va="top", gid="title")
    axis.text(_MARGIN, top, legend, fontsize=_TEXT, va="top", gid="legend")
    axis.set_xlim(0, max(wide, 2.5))
    axis.set_ylim(high, 0)
    axis.set_aspect("auto")
    axis.set_axis_off()
    return sheet


def _lines(row: Sequence[Thumbnail]) -> list[list[tuple[int, Thumbnail]]]:
    """Return a row in lines that have room on a page: the column of each thumbnail, and itself."""
    first = list(row[:1]) if row and row[0].mark == "lead" else []
    others, room = list(row[len(first) :]), _PER_LINE - len(first)
    pieces = [others[start : start + room] for start in range(0, len(others), room)] or [[]]
    lines = [[(len(first) + place, each) for place, each in enumerate(piece)] for piece in pieces]
    return [[*((0, each) for each in first), *lines[0]], *lines[1:]]


def _caption(each: Thumbnail) -> str:
    texts = _labelled(drawable(_SIGNS.get(each.mark, "")), drawable(each.label))
    texts += _wrapped(drawable(each.name), _NAME_LINES, tail=True)
    texts += _wrapped(drawable(each.facts), _NAME_LINES)
    texts += _wrapped(drawable(each.reason), _REASON_LINES) if each.pixels is not None else []
    return "\n".join(text for text in texts if text)


def _labelled(sign: str, text: str) -> list[str]:
    if len(_broken(sign + text)) <= _NAME_LINES:
        return _broken(sign + text)
    # Of long names that begin alike, what differs is left.
    first, *others = shortened_names(text.split(_TO), _NAME_LINES * _LETTERS - len(_TO))
    return [
        line
        for part in (sign + first, *(f"{_TO.strip()} {other}" for other in others))
        for line in _wrapped(part, _NAME_LINES)
    ]


def _wrapped(text: str, most: int, *, tail: bool = False) -> list[str]:
    """Return a text in lines of the width of a thumbnail, no more than some; of a longer one its end, or beginning."""
    for lines in (_broken(text), pieces(text, _LETTERS)):
        if len(lines) <= most:
            return [line.strip() for line in lines]
    room, letters = most * _LETTERS - 1, pieces(text, 1)
    kept = letters[-room:] if tail else letters[:room]
    # Letters that are drawn as escapes need more room.
    while len(lines := pieces("".join(["…", *kept] if tail else [*kept, "…"]), _LETTERS)) > most:
        kept = kept[1:] if tail else kept[:-1]
    return [line.strip() for line in lines]


def _broken(text: str) -> list[str]:
    """Return a text in lines of the width of a thumbnail, broken at blanks, and inside long words."""
    lines = [""]
    for word in text.split():
        parts = [f" {word}"] if letters_of(word) <= _LETTERS else pieces(f" {word}", 1)
        for part in parts:
            if lines[-1] and letters_of(lines[-1] + part) > _LETTERS:
                lines.append("")
            lines[-1] = (lines[-1] + part).lstrip()
    return lines


def _draw(axis: Any, each: Thumbnail, caption: str, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    if each.pixels is None:
        axis.add_patch(Rectangle((left, top), _SIDE, _SIDE, facecolor="#eeeeee", linewidth=0))
        why = "\n".join(_wrapped(drawable(each.reason or "no image"), _SQUARE_LINES))
        axis.text(left + _SIDE / 2, top + _SIDE / 2, why, fontsize=_TEXT, ha="center", va="center", linespacing=1.1)
    else:
        axis.imshow(each.pixels, extent=(left, left + _SIDE, top + _SIDE, top), aspect="auto")
    colour, style, width = _FRAMES[each.mark]
    frame = Rectangle((left, top), _SIDE, _SIDE, fill=False, edgecolor=colour, linestyle=style, linewidth=width)
    frame.set_zorder(3)
    axis.add_patch(frame)
    axis.text(left, top + _SIDE + 0.04, caption, fontsize=_TEXT, va="top", linespacing=1.1)


contact_figure = as_file(draw_contact)
