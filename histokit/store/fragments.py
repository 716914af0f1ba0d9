"""Which fragments of a Lance table are worth merging."""

from __future__ import annotations

from typing import Any

#: A fragment of so many rows is left as it is while it holds so many times the rows of all smaller ones.
_LARGE_ROWS, _LARGE_TIMES = 16_384, 16


def large_fragments(table: Any) -> list[int]:
    """Return the fragments that hold so much more than all smaller ones that writing them anew would not pay."""
    fragments = sorted(table.get_fragments(), key=lambda fragment: fragment.physical_rows, reverse=True)
    left = sum(fragment.physical_rows for fragment in fragments)
    large = []
    for fragment in fragments:
        left -= fragment.physical_rows
        if fragment.physical_rows < max(_LARGE_ROWS, _LARGE_TIMES * left) or fragment.num_deletions:
            break
        large.append(fragment.fragment_id)
    return large
