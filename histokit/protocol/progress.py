"""Progress of a known number of equal pieces, each of many small steps; durations in words."""

from __future__ import annotations

from collections.abc import Callable

#: In how many parts a step is told that may take minutes.
PARTS = 100


class Progress:
    """Count steps within pieces, so that a piece that needed fewer steps than foreseen still ends on its mark.

    Parameters
    ----------
    report : callable, optional
        ``report(done, total, detail)``.
    pieces, steps : int
        The number of pieces, and of steps in each.
    detail : str
    parts : int
        In how many parts a step is told: 1 where each is done in no time.
    """

    def __init__(
        self, report: Callable[..., None] | None, pieces: int, steps: int, detail: str = "", *, parts: int = 1
    ):
        self.call, self.pieces, self.steps, self.detail, self.parts = report, pieces, steps, detail, parts
        self.piece, self.done = 0, 0.0

    def step(self, share: float = 1.0) -> None:
        """Count a step, or a share of one."""
        self.done = min(self.done + share, float(self.steps))
        self._report()

    def finish_piece(self) -> None:
        """End a piece."""
        self.piece, self.done = self.piece + 1, 0.0
        self._report()

    def _report(self) -> None:
        if self.call is not None:
            done = self.piece * self.steps * self.parts + round(self.done * self.parts)
            self.call(done, self.pieces * self.steps * self.parts, self.detail)


def nested(report: Callable[..., None] | None, number: int, count: int) -> Callable[..., None]:
    """Return what tells the progress of one of several equal pieces of work as that of all.

    Parameters
    ----------
    report : callable, optional
        ``report(done, total, detail)``.
    number, count : int
        Which piece it is, from 0, and how many there are.
    """

    def tell(done: int, total: int, detail: str = "") -> None:
        if report is not None:
            report(number * total + done, count * total, detail)

    return tell


def duration(seconds: float) -> str:
    """Return seconds in words: ``40 s``, ``12 min``, ``3 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
