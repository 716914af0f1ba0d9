"""Names in figures: in letters that the font has, at a size that has room."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import takewhile

from histokit.errors import counted

#: Words are broken only where they are longer than a line and than so many inches.
_WORD = 2.0
#: Width and height of a letter as shares of the font's size, on average; points in an inch.
_WIDE, _HIGH = 0.6, 1.25
_POINTS = 72
#: Letters as wide as the font's size, between which a line may end: Chinese, Japanese, Korean.
_FULL = "\u1100-\u115f\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U00020000-\U0003fffd"
#: A letter as `drawable` writes it, which may be an escape.
_LETTER = re.compile(r"\\(?:\$|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})|.", re.DOTALL)
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


def in_legend(text: str) -> str:
    """Return a `drawable` text as the name of something in a legend, from which matplotlib leaves out ``_name``."""
    return f" {text}" if text.startswith("_") else text


def pieces(text: str, letters: int) -> list[str]:
    """Return a `drawable` text in pieces of so many letters at most, or of one letter that is drawn as an escape."""
    found = [""]
    for letter in _LETTER.findall(text):
        if found[-1] and letters_of(found[-1] + letter) > letters:
            found.append("")
        found[-1] += letter
    return found


def folded(text: str, inches: float, size: float) -> str:
    """Return a `drawable` text in lines of about so many inches.

    They are broken at blanks and behind ``+/,-_``, and inside long words, but not inside escapes.
    """
    lines = [""]
    letters = int(max(inches, _WORD) / inches_of(" ", size))
    for word in re.findall(rf"[{_FULL}][ +/,_-]*|[^ +/,_{_FULL}-]+[ +/,_-]*|[ +/,_-]+", text):
        for piece in [word] if len(word.rstrip(" +/,_-")) <= letters else pieces(word, letters):
            if lines[-1] and inches_of(lines[-1] + piece.rstrip(), size) > inches:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def shortened_name(name: str, letters: int) -> str:
    """Return a `drawable` name of so many letters at most; of a longer one its middle is left out."""
    if letters_of(name) <= letters:
        return name
    half = (letters - 1) // 2
    end = ""
    for letter in reversed(_LETTER.findall(name)):
        if letters_of(letter + end) > half:
            break
        end = letter + end
    return f"{pieces(name, half)[0]}…{end}"


def shortened_names(names: Sequence[str], letters: int) -> list[str]:
    """Return names as `shortened_name` does; of those that are the same then, what all of them have is left out.

    Their beginning stays, a third of the letters. Where this does not tell them apart, they stay the same.

    Examples
    --------
    >>> shortened_names(["adenocarcinoma of grade 1, right side", "adenocarcinoma of grade 2, right side"], 20)
    ['adenoc…1, right side', 'adenoc…2, right side']
    """
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(shortened_name(name, letters), []).append(name)
    found = {}
    for short, those in alike.items():
        begin = pieces(those[0], letters // 3)[0]
        common = takewhile(lambda same: len(set(same)) == 1, zip(*map(_LETTER.findall, those), strict=False))
        whole = "".join(letter for letter, *_ in common)
        words = whole.rfind(" ") + 1
        start = words if words > len(begin) else len(whole.rstrip("0123456789"))
        for name in those:
            rest = shortened_name(name[start:], letters - len(begin) - 1)
            found[name] = f"{begin}…{rest}" if len(those) > 1 and start > len(begin) else short
    return [found[name] for name in names]


def of_groups(groups: int | None) -> str:
    """Return of how many groups some samples are, to stand behind their number; nothing where there are none."""
    return f" of {counted(groups, 'group', 'groups')}" if groups else ""


def inches_of(text: str, size: float) -> float:
    """Return about how wide a text in a font of so many points is."""
    return letters_of(text) * _WIDE * size / _POINTS


def letters_of(text: str) -> float:
    """Return about how wide a text is, in letters of average width."""
    return len(text) + len(re.findall(f"[{_FULL}]", text)) * (1 / _WIDE - 1)


def line_height(size: float) -> float:
    """Return how high a line in a font of so many points is, in inches."""
    return _HIGH * size / _POINTS


def longest(texts: Sequence[str], size: float) -> float:
    """Return about how wide the longest of some texts is, in inches."""
    return max((inches_of(text, size) for text in texts), default=0.0)
