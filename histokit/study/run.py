"""Doing a study: what is missing, piece by piece, and the comparison at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

from histokit.compare.compare import Comparison, compare
from histokit.errors import BusyError, ExitCode, HistokitError, counted
from histokit.protocol.progress import duration
from histokit.steps import callable_step
from histokit.study.extractions import Extract, extract_networks
from histokit.study.pace import StudyPace
from histokit.study.plan import Plan, make_plan
from histokit.study.selections_and_runs import Train
from histokit.study.study_pieces import Piece
from histokit.study.study_reader import read_study
from histokit.study.train_networks import TrainNetwork

#: Seconds between looks at what another process does.
_PATIENCE = 2.0


@dataclass(frozen=True)
class PieceOutcome:
    """What became of a piece.

    Parameters
    ----------
    piece : Piece
    state : str
        ``cached`` where it was done before, ``done``, ``failed``, or ``left out`` because of what it needs; while a
        study is done also ``waiting`` for another process that does it.
    result : str
        In a few words.
    seconds : float
    error : HistokitError, optional
    """

    piece: Piece
    state: str
    result: str = ""
    seconds: float = 0.0
    error: HistokitError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON-serialisable data."""
        plan = self.piece.to_json()
        kept = {key: plan[key] for key in ("kind", "dataset", "what", "strategy", "classifier", "run", "selection")}
        error = None if self.error is None else self.error.to_json()
        found = {"state": self.state, "result": self.result, "notes": self.piece.notes, "error": error}
        return {**kept, **found, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class StudyResult:
    """What a study came to.

    Parameters
    ----------
    plan : Plan
    outcomes : list of PieceOutcome
        One for each piece, in order.
    seconds : float
    comparison : Comparison, optional
        Of the runs, where there are two or more.
    """

    plan: Plan
    outcomes: list[PieceOutcome]
    seconds: float
    comparison: Comparison | None = None

    @property
    def runs(self) -> list[str]:
        """The ids of the runs that are there."""
        ok = [outcome.piece for outcome in self.outcomes if outcome.state in ("cached", "done")]
        return list(dict.fromkeys(piece.id for piece in ok if isinstance(piece, Train | TrainNetwork) and piece.id))

    @property
    def failed(self) -> list[PieceOutcome]:
        """The pieces that failed, in order."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    @property
    def failures(self) -> list[str]:
        """What failed, each with what to do, and how much was left out."""
        texts = [f"{o.piece.title} failed: {o.error.message}\n{o.error.next}" for o in self.failed if o.error]
        left = sum(outcome.state == "left out" for outcome in self.outcomes)
        return texts + [f"left out because of what failed: {counted(left, 'piece', 'pieces')}"] * bool(left)

    @property
    def code(self) -> ExitCode:
        """The exit code of the first failure."""
        return next((o.error.code for o in self.failed if o.error), ExitCode.OK)

    @property
    def store(self) -> Path:
        """Where everything is."""
        return self.plan.study.store.uri

    @property
    def notes(self) -> list[str]:
        """What is to be known of the pieces that were done, each note once."""
        times = Counter(note for outcome in self.outcomes for note in dict.fromkeys(outcome.piece.notes))
        return [note if count == 1 else f"{note} ({count} pieces)" for note, count in times.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON-serialisable data."""
        return {
            "file": str(self.plan.study.file),
            "store": str(self.store),
            "pieces": [outcome.to_json() for outcome in self.outcomes],
            "failed": len(self.failed),
            "runs": self.runs,
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "seconds": round(self.seconds, 3),
        }


def run_study(
    path: str | Path,
    *,
    store: str | Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[..., None] = lambda *_: None,
) -> StudyResult:
    """Do what is missing of a study; what is done already is answered from the store.

    A piece that fails leaves out what needs it, and nothing else.

    Parameters
    ----------
    path : path
        A TOML file.
    store : path, optional
        In place of the one that the environment or the file names.
    device, batch_size, workers : optional
        As in `extract`, in place of what the file says; they change nothing but how fast it is.
    say : callable, optional
        Told of each piece as it is done.
    progress : callable, optional
        ``progress(done, total, detail)``, over the whole study.

    Returns
    -------
    StudyResult

    Raises
    ------
    UsageError, PluginError, StoreError
        If something in the file is wrong; nothing is done then.
    """
    started = time.monotonic()
    plan = make_plan(read_study(path, store, device, batch_size, workers))
    worker = _Worker(plan, say, progress)
    worker.work()
    done = StudyResult(plan, worker.outcomes, time.monotonic() - started)
    comparison = _compare(plan, done.runs, progress)
    return replace(done, comparison=comparison, seconds=time.monotonic() - started)


def _compare(plan: Plan, runs: Sequence[str], progress: Callable[..., None]) -> Comparison | None:
    """Compare all runs by the metrics of the study, else by those of the datasets."""
    if len(runs) < 2:
        return None
    count = len(plan.pieces)

    def report(done: int, total: int, detail: str = "") -> None:
        progress(count, count, f"comparing {len(runs)} runs, {done / max(1, total):.0%}")

    metrics = {data.name: data.metric for data in plan.study.datasets if data.metric}
    return compare(plan.study.store, runs, metric=metrics, progress=report, **plan.study.compare)


class _Worker:
    """Goes through the pieces of a plan.

    Parameters
    ----------
    plan : Plan
    say, progress : callable
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], progress: Callable[..., None]):
        self.pieces, self.say, self.progress = plan.pieces, say, progress
        self.outcomes: list[PieceOutcome] = []
        self._pace = StudyPace(plan.pieces)
        self._shared: dict[int, float] = {}
        #: Which piece is being done, and how far progress was told.
        self._at = self._reached = 0

    def work(self) -> None:
        """Do all pieces in order."""
        cached = sum(piece.done for piece in self.pieces)
        self.say(f"{cached} of {len(self.pieces)} pieces {'is' if cached == 1 else 'are'} done already")
        for _, group in groupby(self.pieces, _together):
            listed, self._at = list(group), len(self.outcomes)
            self._extract_together([p for p in listed if isinstance(p, Extract) and not p.done and not _lacks(p)])
            for piece in listed:
                self._at = len(self.outcomes)
                self.outcomes.append(self._do(piece))
        for number, outcome in enumerate(self.outcomes):
            self._at = number
            if outcome.state == "waiting":
                self.outcomes[number] = self._wait_for(outcome.piece)
            elif outcome.state == "left out" and not _lacks(outcome.piece):
                # What it needs was waited for.
                later = self._do(outcome.piece)
                self.outcomes[number] = self._wait_for(later.piece) if later.state == "waiting" else later

    def _wait_for(self, piece: Piece) -> PieceOutcome:
        """Do what another process was doing: it has ended, or has been ended, once it can be done."""
        self.say(f"waiting for another process that does {piece.title}")
        while (outcome := self._attempt(piece)).state == "waiting":
            time.sleep(_PATIENCE)
        self._tell(outcome)
        return outcome

    def _extract_together(self, pieces: Sequence[Extract]) -> None:
        """Read images once for several networks; where one of them fails, each is tried alone afterwards."""
        if len(pieces) < 2:
            return
        started = time.monotonic()
        title = f"extract {pieces[0].data.name} {', '.join(piece.what for piece in pieces)}"
        with suppress(HistokitError):
            # Each piece is answered from the store afterwards, and has no more to tell of how it was computed.
            pieces[0].notes = list(extract_networks(pieces, progress=self._report(title, len(pieces))).notes)
        self._shared = {id(piece): (time.monotonic() - started) / len(pieces) for piece in pieces}

    def _do(self, piece: Piece) -> PieceOutcome:
        lacking = _lacks(piece)
        if piece.done:
            return PieceOutcome(piece, "cached")
        if lacking:
            return PieceOutcome(piece, "left out", f"for lack of: {lacking.title}")
        outcome = self._attempt(piece)
        if outcome.state != "waiting":
            self._pace.took(piece, outcome.seconds)
            self._tell(outcome)
        return outcome

    def _attempt(self, piece: Piece) -> PieceOutcome:
        started = time.monotonic() - self._shared.get(id(piece), 0.0)
        try:
            result = piece.do(self._report(piece.title))
        except BusyError as error:
            return PieceOutcome(piece, "waiting", error.message)
        except HistokitError as error:
            return PieceOutcome(piece, "failed", error.message, time.monotonic() - started, error)
        piece.done = True
        return PieceOutcome(piece, "done", result, time.monotonic() - started)

    def _tell(self, outcome: PieceOutcome) -> None:
        total = str(len(self.pieces))
        number = f"{self._at + 1:{len(total)}}/{total}"
        failed = "failed: " * (outcome.state == "failed")
        self.say(f"{number}  {outcome.piece.title}: {failed}{outcome.result} ({outcome.seconds:.1f} s)")

    def _report(self, title: str, pieces: int = 1) -> Callable[..., None]:
        before, total = self._at, len(self.pieces)

        def report(done: int, of: int, detail: str = "") -> None:
            share = done / of if of else 0.0
            left = self._pace.left(self.pieces[before:], pieces, share)
            known = f"; about {duration(left)} left" if isfinite(left) else ""
            # A piece that was done together with others begins where they ended.
            self._reached = max(self._reached, before + int(share * pieces))
            self.progress(self._reached, total, f"{title}, {share:.0%}{known}")

        report(0, 1)
        return report


def _lacks(piece: Piece) -> Piece | None:
    """Return what a piece needs and is not there."""
    return next((need for need in piece.needs if not need.done), None)


def _together(piece: Piece) -> tuple[Any, ...]:
    return piece.together if isinstance(piece, Extract) else (id(piece),)


callable_step(__name__, f"{__name__}:run_study")
