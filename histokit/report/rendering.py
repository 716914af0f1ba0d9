"""A page as one file of HTML that asks nothing of any other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from histokit.errors import unwritten_output
from histokit.files import replaced
from histokit.layout import is_number, number_text
from histokit.report.page import ReportPage, numbered

SUFFIXES = (".html", ".htm")

#: Numbers from here on are written in powers of ten.
_LARGE = 1e5
#: A number with a mark behind it, the beginning of an interval, or a bound.
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"
_MARKED = re.compile(rf"<?({_NUMBER})(?: +(?:\([12]\))?| to {_NUMBER}(?: \(.*\))?)?")


def write_page(page: ReportPage, path: str | Path) -> Path:
    """Write a page, whole or not at all.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    text = render(page)
    try:
        with replaced(Path(path)) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritten_output(path, error) from error
    return Path(path)


def render(page: ReportPage) -> str:
    """Return the text of a page."""
    page = replace(page, sections=list(numbered(page.sections)))
    room = files("histokit.report")
    style, script = (room.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    rendered: str = _template().render(page=page, style=style, script=script)
    return rendered


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("histokit.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "fact": fact, "key": sorting_key}
    return environment.get_template("page.html")


def cell(value: Any) -> str:
    """Return a value as it stands in a table, scores with four digits."""
    if isinstance(value, float) and not math.isnan(value):
        return number_text(value) if abs(value) < _LARGE else f"{value:.4g}"
    return fact(value)


def fact(value: Any) -> str:
    """Return a value as it was given."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {fact(inner)}" for name, inner in value.items()) or "–"
    if isinstance(value, list) or type(value) is tuple:
        return ", ".join(map(fact, value)) or "–"
    return str(value)


def sorting_key(value: Any) -> str:
    """Return what a table is sorted by, as text that the page reads: numbers with marks, and intervals, as numbers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if is_number(value):
        return repr(float(value))
    marked = _MARKED.fullmatch(str(value))
    return repr(float(marked[1])) if marked else str(value)
