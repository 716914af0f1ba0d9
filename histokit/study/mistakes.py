"""Mistakes in a file of TOML: gathered, each with its place, and told all at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histokit.errors import HistokitError, UsageError

Place = tuple[str, ...]

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def find_lines(text: str) -> dict[Place, int]:
    """Return the line of each table and key of a TOML text, counted from 1."""
    lines: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _path(header[1])
        found = table if header else (*table, *_path(key[1])) if key else ()
        for length in range(1, len(found) + 1):
            lines.setdefault(found[:length], number)
        if header:
            lines[table] = number
    return lines


def _path(text: str) -> Place:
    """Split a dotted key, quoted parts included."""
    try:
        inner = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(inner, dict):
        ((name, inner),) = inner.items()
        path.append(name)
    return tuple(path)


def show_place(place: Place, table: bool = False) -> str:
    """Return a place as it is written in TOML: ``[datasets.idc] split``, or ``[datasets.idc]`` for a table."""
    parts = [part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in place]
    if table:
        return f"[{'.'.join(parts)}]"
    return parts[0] if len(parts) == 1 else f"[{'.'.join(parts[:-1])}] {parts[-1]}"


class Mistakes:
    """What is wrong in a file.

    Parameters
    ----------
    file : Path
    text : str
        What it holds.
    document : dict
        The same, parsed.
    """

    def __init__(self, file: Path, text: str, document: dict[str, Any]):
        self.file, self._document = file, document
        self.found: list[tuple[Place, HistokitError]] = []
        self._lines = find_lines(text)

    def add(self, place: Place, message: str, next: str) -> None:
        """Note a mistake."""
        self._note(place, UsageError(message, next=next))

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Note an error of what is done inside as a mistake at a place."""
        try:
            yield
        except HistokitError as error:
            self._note(place, error)

    def _note(self, place: Place, error: HistokitError) -> None:
        # What stands above all tables is looked at for each of them.
        if (place, error.message) not in [(known, other.message) for known, other in self.found]:
            self.found.append((place, error))

    def line(self, place: Place) -> int | None:
        """Return the line of a place, or of what it is in."""
        for length in range(len(place), 0, -1):
            if place[:length] in self._lines:
                return self._lines[place[:length]]
        return None

    def check(self) -> None:
        """Raise one error that tells all mistakes, if there are any; its kind is theirs where they share one."""
        if not self.found:
            return
        self.found.sort(key=lambda entry: self.line(entry[0]) or 0)
        kinds = {type(error) for _, error in self.found}
        kind = kinds.pop() if len(kinds) == 1 else UsageError
        details = {"mistakes": [self._to_json(place, error) for place, error in self.found]}
        if len(self.found) == 1:
            place, error = self.found[0]
            raise kind(f"{self.file}, {self._where(place)}: {error.message}", next=error.next, details=details)
        lines = [f"  {self._where(place)}: {error.message} {error.next}" for place, error in self.found]
        message = "\n".join([f"{self.file} has {len(lines)} mistakes:", *lines])
        raise kind(message, next="Mend them, then run the same command again.", details=details)

    def _where(self, place: Place) -> str:
        line = self.line(place)
        named = show_place(place, table=isinstance(self._value(place), dict))
        return ", ".join([f"line {line}"] * bool(line) + [named])

    def _value(self, place: Place) -> Any:
        inner: Any = self._document
        for part in place:
            inner = inner.get(part) if isinstance(inner, dict) else None
        return inner

    def _to_json(self, place: Place, error: HistokitError) -> dict[str, object]:
        return {"line": self.line(place), "place": list(place), **error.to_json()}
