"""Empty figures, and figures as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from histokit.errors import unwritten_output
from histokit.files import check_output, replaced

Drawn = TypeVar("Drawn")

#: Of what can be drawn; a figure without a suffix is a .png.
SUFFIXES = (".png", ".svg", ".pdf")

#: Of figures as pixels, in pixels to an inch.
_DPI = 120
#: No figure is wider or higher than so many inches, 3,000 pixels, unless one of its parts is.
MOST = 25.0
#: What a line on parts that are not drawn takes, and its size.
_TOLD, _TOLD_SIZE = 0.3, 9
#: Files of the same figure are the same, byte for byte.
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


class Flow(NamedTuple):
    """Parts of a figure in rows.

    Parameters
    ----------
    beside : int
        Parts in a row.
    heights : list of float
        Of the rows that have room, in inches.
    shown, every : int
        Parts that have room, and all of them.
    """

    beside: int
    heights: list[float]
    shown: int
    every: int

    @classmethod
    def of(cls, heights: Sequence[float], width: float, beside: int = 1) -> Flow:
        """Return parts of these heights and one width in rows of ``beside``, or of more where they have no room so."""
        count = len(heights)
        for each in range(beside, max(beside, int(MOST / width)) + 1):
            rows = [max(heights[start : start + each]) for start in range(0, count, each)]
            if sum(rows) <= MOST:
                return cls(each, rows, count, count)
        room = max(1, sum(total <= MOST for total in accumulate(rows)))
        return cls(each, rows[:room], min(count, room * each), count)

    @property
    def high(self) -> float:
        """How high the figure is, in inches."""
        return sum(self.heights) + _TOLD * (self.shown < self.every)

    def tell(self, sheet: Any, what: str) -> None:
        """Write below a figure how many of its parts are drawn, where these are not all."""
        if self.shown < self.every:
            text = f"The first {self.shown} of {self.every} {what} are drawn; a figure of fewer runs shows the others."
            sheet.supxlabel(text, fontsize=_TOLD_SIZE)


class Document(Protocol):
    """What a step found: it is drawn from its plain data."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""


class Compared(Protocol):
    """A comparison: as `Document`, and also without its paired differences, which no figure shows."""

    def to_json(self, *, pairs: bool = True) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""


def new_sheet(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches, that needs no display; notebooks show it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet: Any = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
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
        raise unwritten_output(f"The figure {path}", error, "a path in a folder that exists") from error
    return Path(path)


def sheet_bytes(sheet: Any, ending: str) -> bytes:
    """Return a figure as the bytes of a file, by one of `SUFFIXES`; the same bytes for the same figure."""
    drawn = io.BytesIO()
    with laid_out(sheet):
        write_sheet(sheet, drawn, ending)
    return drawn.getvalue()


@contextmanager
def laid_out(sheet: Any) -> Iterator[None]:
    """Lay a figure out, once for all that `write_sheet` makes of it inside."""
    from matplotlib import rc_context

    engine = sheet.get_layout_engine()
    # Where names of axes stand is known only once the axes do: after one layout they may be cut.
    for _ in range(2):
        engine.execute(sheet)
    with rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        sheet.set_layout_engine(None)
    try:
        yield
    finally:
        sheet.set_layout_engine(engine)


def write_sheet(sheet: Any, file: io.BytesIO, ending: str) -> None:
    """Write a figure that is laid out into an open file: by one of `SUFFIXES`, or as RGBA pixels where it is .rgba."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "histokit"}):
        sheet.savefig(file, format=ending[1:], dpi=_DPI, metadata=_UNDATED.get(ending.lower()))


def open_frame(axis: Any) -> None:
    """Leave the lines out that are above axes and on the right of them."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def count_letters(sheet: Any) -> int:
    """Return how many letters and digits a figure consists of, whose outlines are most of it as a .svg."""
    from matplotlib.text import Text

    return sum(len(text.get_text()) for text in sheet.findobj(Text) if text.get_visible())


def check_figure(path: str | Path | None) -> None:
    """Raise a `UsageError` where a figure could not be written, before it is drawn; nothing happens without a path."""
    if path is not None:
        check_output(path, SUFFIXES if Path(path).suffix else ())
