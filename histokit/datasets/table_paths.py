"""Paths of images as tables write them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from histokit.datasets.walk import on_disk

#: Where a path may be written otherwise.
_ROUNDABOUT = re.compile(r"(^|/)\.\.?(/|$)|//")


def written_path(root: Path, text: str | None) -> tuple[str | None, str | None]:
    """Return a path with slashes, and as it is on disk, none where it is not there.

    Tables that were written on Windows have backslashes, which may be letters of a name elsewhere.
    """
    if not text:
        return text, None
    found = on_disk(root, text)
    if found is None and "\\" in text:
        text = text.replace("\\", "/")
        found = on_disk(root, text)
    return text, found


def plain_path(path: str) -> str:
    """Return a path without ``.``, ``..`` and empty parts, which is the same for all ways to write it."""
    return posixpath.normpath(path) if _ROUNDABOUT.search(path) else path
