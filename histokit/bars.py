"""Progress on stderr: a bar that is drawn over on a terminal, else a line every now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from histokit.protocol.progress import duration
from histokit.streams import printable, width, write

_SHOW_AFTER_SECONDS = 2.0
_LINE_EVERY_SECONDS = 10.0
_DRAW_EVERY_SECONDS = 0.1

#: Share that must be done before the time left is guessed.
_GUESS_FROM = 0.02

_LEAST_BAR, _MOST_BAR = 8, 40
_CLEARED = "\r\x1b[2K"

#: The bar that is on the screen.
shown: Bar | None = None


class Pace:
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


class Lines:
    """Progress where stderr is no terminal: a line every now and then."""

    def __init__(self, title: str, timed: bool, say: Callable[[str], None]):
        self.title, self.say = title, say
        self.printed = time.monotonic()
        self.pace = Pace(timed)

    def report(self, done: int, total: int, detail: str = "") -> None:
        """Tell how far it is."""
        rate, left = self.pace.measure(done, total)
        now = time.monotonic()
        if now - self.printed < _LINE_EVERY_SECONDS:
            return
        self.printed = now
        speed = ", ".join([f"{rate:.1f}/s"] * bool(rate) + [left] * bool(left))
        self.say(f"{self.title}: {done} of {total} {f'({speed}) ' if speed else ''}{detail}".rstrip())

    def close(self) -> None:
        """Nothing is left on the screen."""


class Bar:
    """Progress on a terminal: a bar with rate and time left."""

    def __init__(self, title: str, timed: bool, say: Callable[[str], None]):
        self.title = title
        self.started = self.drawn = time.monotonic()
        self.pace = Pace(timed)

    def report(self, done: int, total: int, detail: str = "") -> None:
        """Draw how far it is."""
        global shown
        rate, left = self.pace.measure(done, total)
        now = time.monotonic()
        if now - self.started < _SHOW_AFTER_SECONDS or (now - self.drawn < _DRAW_EVERY_SECONDS and done < total):
            return
        self.drawn, shown = now, self
        facts = [f"{done}/{total}", left, f"{rate:.1f}/s" if rate else "", printable(detail, sys.stderr)]
        room = (width(sys.stderr) or 80) - 1
        write("stderr", _CLEARED + bar_line(self.title, facts, done / total if total else 0.0, room))

    def hide(self) -> None:
        """Take the bar from the screen, so that lines may be printed; the next report draws it again."""
        global shown
        shown = None
        write("stderr", _CLEARED)

    def close(self) -> None:
        """Leave nothing on the screen."""
        if shown is self:
            self.hide()


def bar_line(title: str, facts: list[str], share: float, room: int) -> str:
    """Return title, bar and those facts that have room as they are, the first before the last."""
    told = facts[:1]
    for fact in facts[1:]:
        # No letter takes more of a terminal than it has bytes.
        if fact and len("  ".join([title, *told, fact]).encode()) + _LEAST_BAR + 2 <= room:
            told.append(fact)
    taken = len("  ".join([title, *told]))
    long = min(_MOST_BAR, room - taken - 2)
    full = round(min(max(share, 0.0), 1.0) * long)
    bar = ["━" * full + "─" * (long - full)] if long >= _LEAST_BAR else []
    parts = [title, *bar, *told] if taken <= room else told
    line = "  ".join(parts)
    return line if len(line) <= room else ""
