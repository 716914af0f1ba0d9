"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histokit.features import FeatureStore

Report = Callable[..., None]

_SHOW_AFTER_SECONDS = 2.0
_LINE_EVERY_SECONDS = 10.0


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
        _print_json(document)
        return
    for line in [lines] if isinstance(lines, str) else lines:
        print(line)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], document: Any, title: str | None = None) -> None:
    """Print a command's result on stdout as a table, or with ``--json`` the document."""
    if state.json:
        _print_json(document)
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

    made = Table(box=SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        made.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_shown(value)) for value in row))
    terminal = Console(file=file, width=None if file.isatty() else 1000)
    lines = terminal.render_lines(made, pad=False)
    if file.isatty():
        terminal.print(made)
        return
    for line in lines:
        print("".join(segment.text for segment in line).rstrip(), file=file)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2))


def note(text: str) -> None:
    """Print a line for people on stderr."""
    if not state.quiet:
        print(text, file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {text}", file=sys.stderr)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show progress on stderr of what takes over two seconds.

    Yields
    ------
    report : callable
        ``report(done, total, detail="")``.
    """
    display: _Lines | _Bar = _Bar(title) if sys.stderr.isatty() and not state.quiet else _Lines(title)
    try:
        yield display.report
    finally:
        display.close()


class _Lines:
    """Progress where stderr is no terminal: a line every now and then."""

    def __init__(self, title: str):
        self.title = title
        self.started = self.printed = time.monotonic()

    def report(self, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if state.quiet or now - self.printed < _LINE_EVERY_SECONDS:
            return
        self.printed = now
        rate = done / (now - self.started)
        left = f", {(total - done) / rate:.0f} s left" if rate else ""
        note(f"{self.title}: {done} of {total} ({rate:.1f}/s{left}) {detail}".rstrip())

    def close(self) -> None:
        """Nothing is left on the screen."""


class _Bar:
    """Progress on a terminal: a bar with rate and time left."""

    def __init__(self, title: str):
        self.title = title
        self.started = time.monotonic()
        self.bar: Any = None

    def report(self, done: int, total: int, detail: str = "") -> None:
        if self.bar is None:
            if time.monotonic() - self.started < _SHOW_AFTER_SECONDS:
                return
            self._show()
        rate = done / (time.monotonic() - self.started)
        self.bar.update(0, completed=done, total=total, rate=f"{rate:.1f}/s", detail=detail)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        tail = (TimeRemainingColumn(), TextColumn("{task.fields[detail]}"))
        self.bar = Progress(*columns, *tail, console=Console(stderr=True), transient=True)
        self.bar.add_task(self.title, total=None, rate="", detail="")
        self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
