"""The pages of the documentation, in the order in which they go on from each other."""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def listed(page: Path) -> list[Path]:
    """The pages of a page's list of all, each with those of its table behind it."""
    parts = re.findall(r"^- \*\*.+\*\*: (\[.*)$|^\| (\[[^\]]*\]\([^)]*\))", page.read_text(), flags=re.MULTILINE)
    links = re.findall(r"\]\(([^)]*)\)", " ".join(part or row for part, row in parts))
    below = [listed(DOCS / link) if link == "papers.md" else [DOCS / link] for link in links]
    return [page, *itertools.chain(*below)]


#: The front page, and all others.
PAGES = [ROOT / "README.md", *listed(DOCS / "index.md")]


def blocks(language: str, *pages: Path) -> list[str]:
    """What stands between fences of a language, on all pages or on these."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [block for page in pages or PAGES for block in pattern.findall(page.read_text())]


def between(begin: str, end: str) -> str:
    """What stands between two marks, which only one page has."""
    (found,) = (text.split(begin)[1].split(end)[0] for page in PAGES if begin in (text := page.read_text()))
    return found


def environment(folder: Path) -> dict[str, str]:
    """What commands of the pages are run with: the weights of a folder, and no network."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HISTOKIT_")}
    return {**kept, "PATH": path, "HISTOKIT_WEIGHTS": str(folder / "weights"), "HF_HUB_OFFLINE": "1"}
