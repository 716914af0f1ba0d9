"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from histokit.protocol.progress import duration

if TYPE_CHECKING:
    from histokit.features import FeatureStore

Report = Callable[..., None]

_SHOW_AFTER_SECONDS = 2.0
_LINE_EVERY_SECONDS = 10.0

#: Share that must be done before the time left is guessed.
_GUESS_FROM = 0.02

#: A narrow terminal folds longer cells first.
_SHORT_CELL = 18
_WIDE = 1000


@dataclass
class State:
    """The options that all commands share."""

    store: str | None = None
    json: bool = False
    debug: bool = False
    quiet: bool = False


state = State()


def open_store() -> FeatureStore:
    """Open the store that ``--store`` or the environment names."""
    from histokit.features import open_store

    return open_store(state.store)


def emit(lines: str | Sequence[str], document: Any) -> None:
    """Print a command's result on stdout: its lines, or with ``--json`` the document."""
    if state.json:
        print_json(document)
        return
    for line in [lines] if isinstance(lines, str) else lines:
        print(line)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    document: Any,
    title: str | None = None,
    empty: str | None = None,
) -> None:
    """Print a command's result on stdout as a table, or with ``--json`` the document.

    Parameters
    ----------
    columns, rows : sequence
    document : JSON-serialisable
    title : str, optional
        A line above the table.
    empty : str, optional
        What to tell people where there is no row.
    """
    if empty and not rows:
        note(empty)
    if state.json:
        print_json(document)
        return
    _rich_table(columns, rows, title, sys.stdout)


def aside(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table for people on stderr."""
    if not state.quiet:
        _rich_table(columns, rows, title, sys.stderr)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None, file: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown = [[_shown(value) for value in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        longest = max(len(column), *(len(row[index]) for row in shown), 0)
        justify: Any = "right" if numeric else "left"
        made.add_column(Text(column), justify=justify, overflow="fold", no_wrap=longest <= _SHORT_CELL)
    for row in shown:
        made.add_row(*map(Text, row))
    terminal = Console(file=file, width=None if file.isatty() else _WIDE)
    lines = ["".join(segment.text for segment in line).rstrip() for line in terminal.render_lines(made, pad=False)]
    if title:
        print(title, file=file)
    print("\n".join(line for line in lines if line), file=file)
    if title:
        print(file=file)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def print_json(document: Any) -> None:
    """Print a JSON document on stdout, with escapes where stdout cannot show every letter."""
    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() in ("utf-8", "utf8")
    print(json.dumps(document, ensure_ascii=not unicode, allow_nan=False, indent=2))


def note(text: str) -> None:
    """Print a line for people on stderr."""
    if not state.quiet:
        print(text, file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {text}", file=sys.stderr)


@contextmanager
def progress(title: str, timed: bool = True) -> Iterator[Report]:
    """Show progress on stderr of what takes over two seconds.

    Parameters
    ----------
    title : str
    timed : bool
        Whether to show rate and time left, which suits many equal steps.

    Yields
    ------
    report : callable
        ``report(done, total, detail="")``.
    """
    display: _Lines | _Bar = (_Bar if sys.stderr.isatty() and not state.quiet else _Lines)(title, timed)
    try:
        yield display.report
    finally:
        display.close()


class _Pace:
    """Rate and time left, counted from the first report, so that imports and what was cached do not enter."""

    def __init__(self, timed: bool = True) -> None:
        self.timed = timed
        self.started = time.monotonic()
        self.first = self.total = -1

    def measure(self, done: int, total: int) -> tuple[float, str]:
        """Return how many a second, and the time left as text, empty while it is too early to tell."""
        if not self.timed:
            return 0.0, ""
        now = time.monotonic()
        if total != self.total or done < self.first:
            self.started, self.first, self.total = now, done, total
        passed, progressed = now - self.started, done - self.first
        rate = progressed / passed if passed else 0.0
        early = progressed < _GUESS_FROM * (total - self.first)
        return rate, "" if early or not rate else f"{duration((total - done) / rate)} left"


class _Lines:
    """Progress where stderr is no terminal: a line every now and then."""

    def __init__(self, title: str, timed: bool = True):
        self.title = title
        self.printed = time.monotonic()
        self.pace = _Pace(timed)

    def report(self, done: int, total: int, detail: str = "") -> None:
        rate, left = self.pace.measure(done, total)
        now = time.monotonic()
        if now - self.printed < _LINE_EVERY_SECONDS:
            return
        self.printed = now
        speed = ", ".join([f"{rate:.1f}/s"] * bool(rate) + [left] * bool(left))
        note(f"{self.title}: {done} of {total} {f'({speed}) ' if speed else ''}{detail}".rstrip())

    def close(self) -> None:
        """Nothing is left on the screen."""


class _Bar:
    """Progress on a terminal: a bar with rate and time left."""

    def __init__(self, title: str, timed: bool = True):
        self.title = title
        self.started = time.monotonic()
        self.pace = _Pace(timed)
        self.bar: Any = None

    def report(self, done: int, total: int, detail: str = "") -> None:
        rate, left = self.pace.measure(done, total)
        if self.bar is None:
            if time.monotonic() - self.started < _SHOW_AFTER_SECONDS:
                return
            self._show()
        self.bar.update(0, completed=done, total=total, rate=f"{rate:.1f}/s" if rate else "", left=left, detail=detail)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "left", "detail")]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *texts)
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.bar.add_task(self.title, total=None, rate="", left="", detail="")
        self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
