"""Path patterns with named fields, such as ``{patient}/{label}/*.png``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from histokit.errors import UsageError

_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<star>\*+)|(?P<text>[^{}*]+)|(?P<stray>[{}])")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]+")


@dataclass(frozen=True)
class PathPattern:
    """A pattern for paths relative to a folder.

    ``{name}`` takes a whole part of the path or a piece of one, as much of it as it can; a name that
    comes twice must take the same text both times. ``*`` stands for any text within a part, and a
    part ``**`` for any depth. A suffix such as ``.png`` at the end also takes ``.PNG``.

    Parameters
    ----------
    text : str

    Raises
    ------
    UsageError
        If the pattern cannot be understood.
    """

    text: str

    def __post_init__(self) -> None:
        # As paths are that it is held against.
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))
        if not self.text or self.text.startswith("/") or any(p in ("", ".", "..") for p in self.parts):
            raise UsageError(
                f"The pattern {self.text!r} is not a path relative to the root.",
                next="Write it like '{patient}/{label}/*.png', with no empty part, '.' or '..'.",
            )
        for part in self.parts:
            for token in _TOKEN.finditer(part):
                self._refuse(part, token)

    def _refuse(self, part: str, token: re.Match[str]) -> None:
        if token["stray"]:
            raise UsageError(
                f"The pattern {self.text!r} has a {token['stray']!r} without its other half.",
                next="Write each field as {name}.",
            )
        if token["field"] is not None and not _FIELD_NAME.fullmatch(token["field"]):
            raise UsageError(
                f"The pattern {self.text!r} has a field named {token['field']!r}.",
                next="Name fields with the letters a to z, digits and _, such as {slide}; * takes text without a name.",
            )
        if token["star"] and len(token["star"]) > 1 and part != "**":
            raise UsageError(
                f"The pattern {self.text!r} has {token['star']!r} inside the part {part!r}.",
                next="Write ** as a part of its own, between slashes; * within a part.",
            )

    @property
    def parts(self) -> list[str]:
        """The parts between slashes."""
        return self.text.split("/")

    @cached_property
    def fields(self) -> list[str]:
        """The names of the fields, in order, each once."""
        return list(dict.fromkeys(t["field"] for t in _TOKEN.finditer(self.text) if t["field"]))

    @property
    def names_suffix(self) -> bool:
        """Whether the pattern ends in a suffix such as ``.png``."""
        return _trailing_suffix(self.parts[-1]) != ""

    def match(self, path: str) -> dict[str, str] | None:
        """Return the text that each field takes of a path, or none where the path does not match."""
        found = self._greedy.fullmatch(path)
        return found.groupdict() if found else None

    def ambiguous_fields(self, path: str) -> list[str]:
        """Return the fields that could take other text of a matching path as well."""
        if not self._divides:
            return []
        found, other = self._greedy.fullmatch(path), self._lazy.fullmatch(path)
        if found is None or other is None:
            return []
        return [name for name in self.fields if found[name] != other[name]]

    def failing_part(self, path: str) -> str:
        """Say, for people, which part of the pattern a path fails at."""
        for count in range(1, len(self.parts) + 1):
            last = count == len(self.parts)
            prefix = _regex(self.parts[:count], "") + ("(?:/.*)?" if last else "/.*")
            if not re.fullmatch(prefix, path):
                return f"{path!r} does not fit part {count}, {self.parts[count - 1]!r}"
        return f"{path!r} goes deeper than the {len(self.parts)} parts of the pattern"

    def suffix_hint(self, paths: Iterable[str], taken: Collection[str]) -> str:
        """Say, after paths that do not match, which pattern takes some of them, where the suffix alone keeps them out.

        `taken` are the suffixes that are taken without being named.
        """
        suffix = _trailing_suffix(self.parts[-1])
        if suffix.lower() not in taken:
            return ""
        other = PathPattern(self.text.removesuffix(suffix) + ".*")
        return f"; {other.text!r} takes every suffix" if any(other.match(path) for path in paths) else ""

    @cached_property
    def _divides(self) -> bool:
        """Whether something can be taken by one part of the pattern or by another: not where slashes say all."""
        variable = [sum(token["text"] is None for token in _TOKEN.finditer(part)) for part in self.parts]
        return max(variable) > 1 or self.parts.count("**") > 1

    @cached_property
    def _greedy(self) -> re.Pattern[str]:
        return re.compile(_regex(self.parts, ""))

    @cached_property
    def _lazy(self) -> re.Pattern[str]:
        return re.compile(_regex(self.parts, "?"))


def _regex(parts: list[str], lazy: str) -> str:
    seen: set[str] = set()
    pieces = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            pieces.append("(?:[^/]+/)*[^/]+" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_part_regex(part, lazy, seen) + ("" if last else "/"))
    return "".join(pieces)


def _part_regex(part: str, lazy: str, seen: set[str]) -> str:
    suffix = _trailing_suffix(part)
    stem = part[: len(part) - len(suffix)]
    ending = f"(?i:{re.escape(suffix)})" if suffix else ""
    return "".join(_token_regexes(_TOKEN.finditer(stem), lazy, seen)) + ending


def _token_regexes(tokens: Iterable[re.Match[str]], lazy: str, seen: set[str]) -> Iterable[str]:
    for token in tokens:
        name = token["field"]
        if name is None:
            yield f"[^/]*{lazy}" if token["star"] else re.escape(token["text"])
        elif name in seen:
            yield f"(?P={name})"
        else:
            seen.add(name)
            yield f"(?P<{name}>[^/]+{lazy})"


def _trailing_suffix(part: str) -> str:
    text = re.split(r"[}*]", part)[-1]
    found = re.search(_SUFFIX.pattern + "$", text)
    return found.group() if found else ""
