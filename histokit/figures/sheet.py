"""Empty figures, and figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from histokit.errors import UsageError
from histokit.files import check_output, save_figure

#: Files of the same figure are the same, byte for byte.
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


class Document(Protocol):
    """What a step found: it is drawn from its plain data."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""


def new_sheet(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(sheet)
    return sheet


def save_sheet(sheet: Any, path: str | Path) -> Path:
    """Write a figure, the same bytes for the same figure.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    from matplotlib import rc_context

    check_output(path)
    try:
        with rc_context({"svg.hashsalt": "histokit"}):
            save_figure(sheet, path, dpi=120, metadata=_UNDATED.get(Path(path).suffix.lower()))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The figure {path} cannot be written: {error}.",
            next="Choose a path ending in .png, .svg or .pdf, in a folder that exists.",
        ) from error
    return Path(path)
