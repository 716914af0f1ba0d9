"""Pages of the checkout that lie elsewhere become part of the site, and links between them and `docs` lead there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
#: Where the copies are made, when the site is built.
COPIES = DOCS / "checkout"
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def pages() -> dict[Path, Path]:
    """Return the pages of the checkout that are copied, each with its place in `docs`."""
    found = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("benchmarks/**/README.md"))]
    found += sorted(ROOT.glob("plugins/*/README.md"))
    names = (str(page.relative_to(ROOT)).removesuffix("/README.md").replace("/", "-").lower() for page in found)
    places = {page: COPIES / f"{name.removesuffix('.md')}.md" for page, name in zip(found, names, strict=True)}
    return {**places, ROOT / "README.md": DOCS / "index.md"}


def led(text: str, page: Path, place: Path) -> str:
    """Return the text of a page with links as they are from its place in the site; what is not in it is named alone."""
    copied = pages()

    def changed(link: re.Match[str]) -> str:
        meant = Path(os.path.normpath(page.parent / link[1]))
        meant = copied.get(meant, copied.get(meant / "README.md", meant))
        if not meant.is_relative_to(DOCS):
            return f"](https://invalid/{meant.relative_to(ROOT)})"
        return f"]({os.path.relpath(meant, place.parent)}{link[2] or ''})"

    text = _LINK.sub(changed, text)
    return re.sub(r"\[([^\]]*)\]\(https://invalid/[^)]*\)", r"\1", text)


def copy_pages(_: Any) -> None:
    """Write the copies, those that changed."""
    COPIES.mkdir(exist_ok=True)
    for page, place in pages().items():
        text = f"---\norphan: true\n---\n\n{led(page.read_text(), page, place)}"
        if place.parent == COPIES and not (place.exists() and place.read_text() == text):
            place.write_text(text)


def lead(app: Any, name: str, source: list[str]) -> None:
    """Change the links of a page that is read."""
    page = Path(app.env.doc2path(name))
    if page.suffix == ".md" and page.parent != COPIES:
        source[0] = led(source[0], page, page)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", lead)
    return {"parallel_read_safe": True}
