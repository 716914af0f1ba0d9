"""The list of all pages on a page, lines such as ``- **Data in**: [Splits](splits.md), …``, is the site's contents."""

from __future__ import annotations

import re
from typing import Any

_PART = re.compile(r"^- \*\*(.+)\*\*: (\[.*\))$", re.MULTILINE)


def _tree(links: list[str], *options: str) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", *options, "", *links, "```", ""])


def add_contents(_: Any, name: str, source: list[str]) -> None:
    """Let the first page's list, and the table of papers, be what stands at the side as well."""
    if name == "index":
        for caption, links in _PART.findall(source[0]):
            source[0] += _tree(re.findall(r"\]\(([^)]*)\.md\)", links), f":caption: {caption}")
    if name == "papers":
        source[0] += _tree(re.findall(r"^\| \[[^\]]*\]\((.*?)\.md\)", source[0], re.MULTILINE))


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True}
