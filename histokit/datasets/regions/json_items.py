"""JSON files read piece by piece: one with a hundred thousand annotations is never held in memory."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

from histokit.errors import DataError, first_line
from histokit.files import require_file
from histokit.plugin.signatures import refuse_stand_in

_CHUNK = 1 << 20
_BLANKS = re.compile(r"[ \t\n\r]*")
_GZIP = b"\x1f\x8b"
_NEXT = "Export the annotations again, or mend the file."


class Item(NamedTuple):
    """A piece of a JSON file.

    Parameters
    ----------
    key : str
        Of the object that the file is; empty where the file is a list.
    number : int
        In the list under the key, from 1; 0 where there is no list under it.
    value : any
    """

    key: str
    number: int
    value: Any


def read_items(path: Path) -> Iterator[Item]:
    """Yield what a JSON file holds: each value of the object that it is, each element where a value is a list.

    Parameters
    ----------
    path : Path
        In UTF-8, UTF-16 or UTF-32, with or without a mark, packed by gzip or not.

    Raises
    ------
    DataError
        If it is absent, no JSON, neither an object nor a list, or ends too early.
    """
    require_file(path, "file of annotations", next="Check its path.")
    try:
        with _opened(path) as file:
            yield from _Pieces(file, path).items()
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise unreadable(path, first_line(error)) from error


def unreadable(path: Path, reason: str) -> DataError:
    """Return the error on a file of annotations that cannot be read, or raise that it is something else."""
    refuse_stand_in(path)
    return DataError(f"The file of annotations {str(path)!r} cannot be read: {reason}.", next=_NEXT)


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        opened = gzip.open if file.read(2) == _GZIP else open
    with opened(path, "rb") as file:
        start = bytes(file.read(4))
    encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else json.detect_encoding(start)
    return cast(TextIO, opened(path, "rt", encoding=encoding))


class _Pieces:
    def __init__(self, file: TextIO, path: Path):
        self._file, self._path = file, path
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder(strict=False)
        self._where = ""

    def items(self) -> Iterator[Item]:
        first = self._next()
        if first == "[":
            yield from self._list("")
        elif first == "{":
            yield from self._object()
        else:
            raise unreadable(self._path, f"it begins with {first!r}, not with {{ or [" if first else "it is empty")
        if self._next():
            raise self._wrong("something follows its end")

    def _object(self) -> Iterator[Item]:
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return
        while True:
            key = self._value()
            if not isinstance(key, str) or self._next() != ":":
                raise self._wrong(f"a key and a colon are missing after {str(key)[:40]!r}")
            self._at += 1
            if self._next() == "[":
                yield from self._list(key)
            else:
                self._where = f" in {key!r}"
                yield Item(key, 0, self._value())
            if not self._goes_on("}"):
                return

    def _list(self, key: str) -> Iterator[Item]:
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        number = 0
        while True:
            number += 1
            self._where = f" in element {number:,} of {key!r}" if key else f" in element {number:,}"
            yield Item(key, number, self._value())
            if not self._goes_on("]"):
                return

    def _goes_on(self, end: str) -> bool:
        """Whether a comma comes, not the end."""
        found = self._next()
        if found not in (",", end) or not found:
            raise self._wrong(f"{found!r} stands where a comma or {end} should" if found else "")
        self._at += 1
        return found == ","

    def _next(self) -> str:
        """Return the next letter that is no blank; empty at the end."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        if self._ended:
            return False
        rest = self._text[self._at :]
        # More each time, so that a piece of many megabytes is not begun too often.
        new = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._at, self._ended = rest + new, 0, not new
        return bool(new)

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except JSONDecodeError as error:
                early = error.pos >= len(self._text.rstrip()) or error.msg.startswith("Unterminated")
                if self._more():
                    continue
                raise self._wrong("" if early else error.msg) from error
            except RecursionError as error:
                raise self._wrong("it is nested too deeply") from error
            # A number may go on in what comes next: 1 of "1", "1." or "1e-".
            whole = not isinstance(value, int | float) or self._text[end : end + 3].strip(".eE+-")
            if whole or not self._more():
                self._at = end
                return value

    def _wrong(self, reason: str) -> DataError:
        reason = reason[:1].lower() + reason[1:] if reason else "it ends too early: a part of it is missing"
        return unreadable(self._path, reason + self._where)
