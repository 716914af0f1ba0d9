"""Empty figures, and figures as files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from histokit.errors import UsageError
from histokit.files import check_output, replaced

Drawn = TypeVar("Drawn")

#: Of what can be drawn; a figure without a suffix is a .png.
SUFFIXES = (".png", ".svg", ".pdf")

#: Files of the same figure are the same, byte for byte.
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


class Document(Protocol):
    """What a step found: it is drawn from its plain data."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""


def new_sheet(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches, that needs no display; notebooks show it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet: Any = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(sheet)
    # By themselves they know only figures of pyplot, once that has drawn one.
    sheet._repr_png_ = partial(sheet_bytes, sheet, ".png")
    return sheet


def as_file(draw: Callable[[Drawn], Any]) -> Callable[[Drawn, str | Path], Path]:
    """Return what draws the same into a file: ``figure(document, path)``, which returns the path.

    The ending decides the format: .png, .svg or .pdf. A `UsageError` is raised where the file cannot be written.

    Parameters
    ----------
    draw : callable
        Returns the matplotlib figure of a document.
    """

    def figure(document: Drawn, path: str | Path) -> Path:
        return save_sheet(draw(document), path)

    figure.__doc__ = f"Draw into a file what `{draw.__name__}` draws; the ending decides the format. Return the path."
    return figure


def save_sheet(sheet: Any, path: str | Path) -> Path:
    """Write a figure, whole or not at all, the same bytes for the same figure.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    check_figure(path)
    ending = Path(path).suffix
    try:
        drawn = sheet_bytes(sheet, ending or ".png")
        with replaced(Path(path) if ending else Path(path).with_suffix(".png")) as part:
            part.write_bytes(drawn)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The figure {path} cannot be written: {error}.", next="Choose a path in a folder that exists."
        ) from error
    return Path(path)


def sheet_bytes(sheet: Any, ending: str) -> bytes:
    """Return a figure as the bytes of a file, by one of `SUFFIXES`; the same bytes for the same figure."""
    from matplotlib import rc_context

    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "histokit"}):
        # Where names of axes stand is known only once the axes do: after one layout they may be cut.
        sheet.get_layout_engine().execute(sheet)
        sheet.savefig(drawn, format=ending[1:], dpi=120, metadata=_UNDATED.get(ending.lower()))
    return drawn.getvalue()


def check_figure(path: str | Path | None) -> None:
    """Raise a `UsageError` where a figure could not be written, before it is drawn; nothing happens without a path."""
    if path is not None:
        check_output(path, SUFFIXES if Path(path).suffix else ())
