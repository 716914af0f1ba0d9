"""Files that are numbered parts of one, such as ``train-00000-of-00002.parquet``: whether these are all there are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from histokit.errors import counted

_SHARD = re.compile(r"(?P<stem>.*-)(?P<number>[0-9]+)-of-(?P<count>[0-9]+)(?![0-9])")
_EXAMPLES = 3


class _Series(NamedTuple):
    folder: str
    stem: str
    digits: int
    total: int
    suffix: str


def missing_shards(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each series of shards of which its folder holds fewer or others.

    Parameters
    ----------
    root : Path
    paths : iterable of str
        Of files, relative to the root.
    """
    for series in dict.fromkeys(each for path in paths if (each := _series_of(path))):
        folder, stem, digits, count, suffix = series
        found = filter(None, map(_SHARD.match, os.listdir(root / folder)))
        there = {int(m["number"]) for m in found if (m["stem"], int(m["count"])) == (stem, count)}
        missing = count - len(there.intersection(range(count)))
        beyond = sorted(number for number in there if number >= count)
        end = f"-of-{count:0{digits}d}{suffix}"
        if missing:
            absent = islice((number for number in range(count) if number not in there), _EXAMPLES)
            files = counted(missing, "file is", "files are")
            yield f"{files} missing of the {count:,} that {stem}*{end} should be: {_named(series, absent, missing)}"
        if beyond:
            files = counted(len(beyond), "file is", "files are")
            names = _named(series, beyond[:_EXAMPLES], len(beyond))
            yield f"{files} beyond the {count:,} that {stem}*{end} should be, counted from 0: {names}"


def _named(series: _Series, numbers: Iterable[int], count: int) -> str:
    folder, stem, digits, total, suffix = series
    end = f"-of-{total:0{digits}d}{suffix}"
    names = ", ".join(repr(f"{folder}/{stem}{number:0{digits}d}{end}".lstrip("/")) for number in numbers)
    return names if count <= _EXAMPLES else f"for example {names}"


def _series_of(path: str) -> _Series | None:
    folder, _, name = path.rpartition("/")
    found = _SHARD.match(name)
    if found is None:
        return None
    return _Series(folder, found["stem"], len(found["number"]), int(found["count"]), os.path.splitext(name)[1])
