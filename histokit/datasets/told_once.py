"""What is to be known of many files of a set, told once for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from histokit.errors import counted

#: What differs between sentences on different files: what is quoted, and numbers, one or several.
_VARYING = re.compile(r"('[^']*'|\d[\d.,]*)(, ('[^']*'|\d[\d.,]*))*")


def told_once(notes: Iterable[tuple[str, str]], one: str = "file", many: str = "files") -> Iterator[str]:
    """Yield the first sentence of each kind, and how many more files there is such a one of.

    Parameters
    ----------
    notes : iterable of (str, str)
        Path of a file, and a sentence on it; one that is told of several files in the same words comes once.
    one, many : str
        What the files are.
    """
    kinds: dict[str, dict[str, str]] = {}
    for path, note in notes:
        kind = note
        for name in (path, path.rpartition("/")[2]):
            kind = kind.replace(name, "''")
        kinds.setdefault(_VARYING.sub("#", kind), {}).setdefault(note, path)
    for sentences in kinds.values():
        (first, _), *others = sentences.items()
        if not others:
            yield first
            continue
        example = others[0][1]
        yield f"{first}; likewise of {counted(len(others), f'more {one}', f'more {many}')}, such as {example}"
