"""Names in figures: in letters that the font has, at a size that has room."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from histokit.errors import counted

#: Words are broken only where they are longer than a line and than so many inches.
_WORD = 2.0
#: Width and height of a letter as shares of the font's size, on average; points in an inch.
_WIDE, _HIGH = 0.6, 1.25
_POINTS = 72
#: Letters as wide as the font's size, between which a line may end: Chinese, Japanese, Korean.
_FULL = "\u1100-\u115f\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U00020000-\U0003fffd"
#: Classes of letters in Unicode: Hebrew and the like, and Arabic.
_FROM_THE_RIGHT = ("R", "AL")


def drawable(text: str) -> str:
    """Return a text as matplotlib is to draw it: escapes for letters that it cannot draw, and no formulas.

    These are the letters that its font lacks, and those of scripts that run from right to left: it draws them one by
    one from left to right, in which order they are another word. Further fonts in matplotlib's setting ``font.family``
    are asked for what the first one lacks.

    Examples
    --------
    >>> drawable("grade 2")
    'grade 2'
    >>> drawable("$x$")
    '\\\\$x\\\\$'
    >>> drawable("דם")
    '\\\\u05d3\\\\u05dd'
    """
    if text.isascii() and text.isprintable():
        return text.replace("$", r"\$")
    from matplotlib import font_manager, rcParams

    fonts = [
        font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[family])))
        for family in rcParams["font.family"]
    ]
    has = [
        c.isprintable()
        and unicodedata.bidirectional(c) not in _FROM_THE_RIGHT
        and any(font.get_char_index(ord(c)) for font in fonts)
        for c in text
    ]
    letters = [c if known else c.encode("unicode_escape").decode() for c, known in zip(text, has, strict=True)]
    return "".join(letters).replace("$", r"\$")


def folded(text: str, inches: float, size: float) -> str:
    """Return a text in lines of about so many inches, broken at blanks and behind ``+/,-_``, and inside long words."""
    lines = [""]
    letters = int(max(inches, _WORD) / inches_of(" ", size))
    # An escaped $ stays whole.
    pieces = rf"[{_FULL}][ +/,_-]*|(?:\\\$|[^ +/,_{_FULL}-]){{1,{letters}}}[ +/,_-]*|[ +/,_-]+"
    for piece in re.findall(pieces, text):
        if lines[-1] and inches_of(lines[-1] + piece.rstrip(), size) > inches:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def shortened_name(name: str, letters: int) -> str:
    """Return a name of so many letters at most; of a longer one its middle is left out."""
    half = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"


def of_groups(groups: int) -> str:
    """Return of how many groups some samples are, to stand behind their number; nothing where there are none."""
    return f" of {counted(groups, 'group', 'groups')}" if groups else ""


def inches_of(text: str, size: float) -> float:
    """Return about how wide a text in a font of so many points is."""
    full = len(re.findall(f"[{_FULL}]", text))
    return (full + (len(text) - full) * _WIDE) * size / _POINTS


def line_height(size: float) -> float:
    """Return how high a line in a font of so many points is, in inches."""
    return _HIGH * size / _POINTS


def longest(texts: Sequence[str], size: float) -> float:
    """Return about how wide the longest of some texts is, in inches."""
    return max((inches_of(text, size) for text in texts), default=0.0)
