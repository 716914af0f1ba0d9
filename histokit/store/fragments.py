"""The fragments of a Lance table: their files, and which are worth merging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: A fragment of so many bytes is read as fast as a larger one, and is left as it is unless there are so many of all.
_LARGE_BYTES, _MANY = 2 << 20, 512

#: So many small ones are merged as a table of runs is written to: each run adds one, and each read opens them all.
MANY_SMALL = 128

#: Of whatever bytes, one of so many rows is left as it is while it holds so many times the rows of all smaller ones.
_LARGE_ROWS, _LARGE_TIMES = 16_384, 16


def data_files(table: Any) -> list[Any]:
    """Return the data files of a table."""
    return [file for fragment in table.get_fragments() for file in fragment.data_files()]


def large_fragments(table: Any) -> list[int]:
    """Return the fragments that are large enough for their merging not to pay for writing them anew."""
    fragments = sorted(table.get_fragments(), key=lambda fragment: fragment.physical_rows, reverse=True)
    whole = [fragment for fragment in fragments if not fragment.num_deletions]
    settled = [fragment.fragment_id for fragment in whole if _bytes(fragment) >= _LARGE_BYTES]
    return sorted({*_far_larger(fragments), *(settled if len(fragments) <= _MANY else ())})


def all_but_small(table: Any) -> list[int] | None:
    """Return the fragments to leave as they are where so many take longer to open than to read that they are merged."""
    small = {each.fragment_id: _bytes(each) < _LARGE_BYTES for each in table.get_fragments()}
    return [number for number in small if not small[number]] if sum(small.values()) > MANY_SMALL else None


def _far_larger(fragments: Sequence[Any]) -> list[int]:
    """Return those, the largest first, that hold many times the rows of all that come after them."""
    left = sum(fragment.physical_rows for fragment in fragments)
    large = []
    for fragment in fragments:
        left -= fragment.physical_rows
        if fragment.physical_rows < max(_LARGE_ROWS, _LARGE_TIMES * left) or fragment.num_deletions:
            break
        large.append(fragment.fragment_id)
    return large


def _bytes(fragment: Any) -> int:
    return sum(file.file_size_bytes or 0 for file in fragment.data_files())
