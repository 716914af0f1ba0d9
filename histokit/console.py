"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from histokit import bars, interruption
from histokit.errors import HistokitError, StoreError, counted, some
from histokit.layout import Pieces, Sheet, fits, table_lines, wrapped
from histokit.streams import is_screen, printable, width, write

if TYPE_CHECKING:
    from histokit.features import FeatureStore


#: Names and numbers in a note.
_VARIES = re.compile(r"'[^']*'|\d[\d,.]*(?:e[+-]?\d+)?")


@dataclass
class State:
    """The options that all commands share."""

    store: str | None = None
    json: bool = False
    debug: bool = False
    quiet: bool = False


state = State()
#: So many rows of a long list are printed at once.
_ROWS_AT_ONCE = 1000


def open_store() -> FeatureStore:
    """Open the store that ``--store`` or the environment names."""
    from histokit.features import feature_store

    return feature_store.open_store(state.store)


def existing_store() -> FeatureStore:
    """Open the store to look at it.

    Raises
    ------
    StoreError
        If there is none: a mistyped name is no empty store.
    """
    store = open_store()
    store.database.require()
    return store


def named(what: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a stored record with its id under its name, ``run`` or ``selection``."""
    return {what: document["id"], **{key: value for key, value in document.items() if key != "id"}}


def emit(lines: str | Sequence[str], document: Any) -> None:
    """Print a command's result on stdout: its lines, or with ``--json`` the document.

    A terminal is shown escapes in place of what would steer it; a program gets the lines as they are.
    """
    if state.json:
        print_json(document)
        return
    listed = [lines] if isinstance(lines, str) else lines
    shown = [printable(line, sys.stdout) if sys.stdout.isatty() else line for line in listed]
    _print("stdout", "".join(f"{line}\n" for line in shown))


def table(
    columns: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    document: Any,
    title: str | None = None,
    empty: str | None = None,
    narrow: Sequence[Sheet] = (),
) -> None:
    """Print a command's result on stdout as a table, or with ``--json`` the document.

    Parameters
    ----------
    columns, rows : sequence
        Of texts, numbers and None, of `prose` and `listed`.
    document : JSON-serialisable
    title : str, optional
        A line above the table.
    empty : str, optional
        What to tell people where there is no row.
    narrow : sequence of Sheet
        Tables with fewer columns for a terminal that has no room for all; the first that fits is taken, else the last.
    """
    if empty and not rows:
        note(empty)
    if state.json:
        print_json(document)
        return
    _print_table(Sheet(title or "", list(columns), [list(row) for row in rows]), "stdout", narrow)


class Listing:
    """A list of what can be read in a store, which fails in the end where something of it cannot.

    What is lost must not look like what was never there.
    """

    def __init__(self) -> None:
        self.lost: dict[str, HistokitError] = {}

    def miss(self, error: HistokitError) -> None:
        """Take note of what cannot be read; the rest is listed all the same."""
        self.lost.setdefault(error.message, error)

    def show(
        self, columns: Sequence[Any], rows: Sequence[Sequence[Any]], document: dict[str, Any], empty: str | None
    ) -> None:
        """Print the table; raise where it is not all, with ``--json`` instead of printing.

        Raises
        ------
        StoreError
        """
        if not self.lost:
            table(columns, rows, document, empty=empty)
            return
        if rows and not state.json:
            table(columns, rows, document)
        first, *others = self.lost.values()
        for error in others:
            warn(f"{error.message} {error.next}")
        lost = [error.to_json() for error in self.lost.values()]
        raise StoreError(first.message, next=first.next, details={**document, "lost": lost}) from first


def aside(columns: Sequence[Any], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table for people on stderr."""
    if not state.quiet:
        _print_table(Sheet(title or "", list(columns), [list(row) for row in rows]), "stderr")


def is_narrow(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> bool:
    """Return whether stdout is a terminal without room for all columns of a table."""
    return not fits(*_printable(columns, rows, sys.stdout), width(sys.stdout), _measure())


def _print_table(sheet: Sheet, name: str, narrow: Sequence[Sheet] = ()) -> None:
    stream, measure = getattr(sys, name), _measure()
    room = width(stream)
    forms = [(form.title, *_printable(form.columns, form.rows, stream)) for form in (sheet, *narrow)]
    title, columns, rows = next((form for form in forms if fits(*form[1:], room, measure)), forms[-1])
    lines = wrapped(printable(title, stream), room, measure) if title else []
    lines += table_lines(columns, rows, room, measure)
    absent = [str(column) for column in forms[0][1] if column not in columns]
    if absent:
        lines += wrapped(f"Not shown: {some(absent, 8)}. A wider terminal, or --json, has them.", room, measure)
    _print(name, "".join(f"{line}\n" for line in [*lines, *[""] * bool(title)]))


def _printable(columns: Sequence[Any], rows: Sequence[Sequence[Any]], stream: Any) -> tuple[list[Any], list[list[Any]]]:
    def clean(cell: Any) -> Any:
        if isinstance(cell, Pieces):
            return type(cell)(printable(piece, stream) for piece in cell)
        return printable(cell, stream) if isinstance(cell, str) else cell

    return [clean(column) for column in columns], [[clean(cell) for cell in row] for row in rows]


def _measure() -> Callable[[str], int]:
    from rich.cells import cell_len

    return lambda text: len(text) if text.isascii() else cell_len(text)


def print_json(document: Any, rows: Mapping[str, Iterable[Any]] | None = None) -> None:
    """Print a JSON document on stdout, with escapes where stdout cannot show every letter.

    Parameters
    ----------
    document : JSON-serialisable
    rows : mapping of str to iterable, optional
        What lists of the document hold, by their names, that are too long to be held: empty in the document.
    """
    interruption.state.document = True
    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower() in ("utf-8", "utf8")

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=not unicode, allow_nan=False, indent=2)

    rest = text(document)
    for name, values in (rows or {}).items():
        # Within texts there is no line break: this is the list itself.
        before, _, rest = rest.partition(empty := f'\n  "{name}": []')
        _print("stdout", before + empty[:-1])
        _print("stdout", _print_rows(values, text) + "]")
    _print("stdout", rest + "\n")


def _print_rows(values: Iterable[Any], text: Callable[[Any], str]) -> str:
    """Print the rows of a list, and return what comes before its end."""
    between = ""
    left = iter(values)
    while part := list(islice(left, _ROWS_AT_ONCE)):
        shown = [text(value).replace("\n", "\n    ") for value in part]
        _print("stdout", f"{between}\n    " + ",\n    ".join(shown))
        between = ","
    return "\n  " if between else ""


def note(text: str) -> None:
    """Print a line for people on stderr; not with ``--quiet``."""
    if not state.quiet:
        tell(text)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    tell(f"warning: {text}")


def warn_of_runs(notes: Iterable[Sequence[str]], one: str = "other run", several: str = "other runs") -> None:
    """Print what is to be known of runs, once; where runs differ in names and numbers alone, that of the first.

    `one` and `several` are the words for others, where they are no runs.
    """
    kinds: dict[str, str] = {}
    others: Counter[str] = Counter()
    for texts in notes:
        new = {text: _VARIES.sub("…", text) for text in texts if text not in kinds}
        known = set(kinds.values())
        others.update(set(new.values()) & known)
        kinds |= {text: kind for text, kind in new.items() if kind not in known}
    for text, kind in kinds.items():
        more = others.pop(kind, 0)
        warn(f"{text} (likewise, with other numbers, for {counted(more, one, several)})" if more else text)


def tell(text: str) -> None:
    """Print lines on stderr, broken between words where it is a terminal."""
    lines = [printable(line, sys.stderr) for line in text.split("\n")]
    room = width(sys.stderr)
    if room is not None and any(len(line) > room // 2 for line in lines):
        lines = wrapped("\n".join(lines), room, _measure())
    _print("stderr", "".join(f"{line}\n" for line in lines))


def _print(name: str, text: str) -> None:
    if bars.shown is not None and text:
        bars.shown.hide()
    write(name, text)


@contextmanager
def progress(title: str, timed: bool = True) -> Iterator[Callable[..., None]]:
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
    display = (bars.Bar if is_screen(sys.stderr) and not state.quiet else bars.Lines)(title, timed, note)
    try:
        yield display.report
    finally:
        display.close()
