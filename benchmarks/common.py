"""What all benchmarks share: contenders taken in turns, their timings, tables and the machine they ran on."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: A checkout in which nothing is installed will do, also for the processes that contenders run in.
sys.path.append(str(Path(__file__).parent.parent))

RESULTS = Path(__file__).parent / "results"

#: A contender whose first round takes longer is not asked again.
LONG_SECONDS = 60.0

#: How busy the machine was with other things when the benchmark began.
_LOAD = os.getloadavg()[0]

_LIBRARIES = ("histokit", "torch", "torchvision", "timm", "lancedb", "pylance", "numpy", "scikit-learn")
_NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "asimdbf16")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_facts() -> tuple[str, bool]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return facts.get("model name") or platform.processor() or "unknown", any(f in flags for f in _NATIVE_BFLOAT16)


def native_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 by instructions of its own."""
    return _cpu_facts()[1]


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions, date."""
    versions: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = None
    return {
        "cpu": _cpu_facts()[0],
        "cores": cores(),
        "threads": cores(),
        "native_bfloat16": native_bfloat16(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_before": round(_LOAD, 2),
    }


@dataclass
class Stopwatch:
    """The seconds of a ``with`` block."""

    seconds: float = 0.0
    started: float = 0.0

    def __enter__(self) -> Stopwatch:
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started


@dataclass
class Contender:
    """Something to be timed, in a process of its own.

    Parameters
    ----------
    name : str
    prepare : callable
        A module's function; called once in the new process with `options`, untimed. It returns what is called in
        every round: a function without arguments that gives its seconds, and facts worth keeping, as JSON. What
        it does before and after those seconds is not timed.
    options : dict
    items : int
        How many images, rows or the like a round works on.
    note : str
        For the table.
    """

    name: str
    prepare: Callable[..., Callable[[], tuple[float, dict[str, Any]]]]
    options: dict[str, Any]
    items: int = 1
    note: str = ""


@dataclass
class Timing:
    """The rounds of a contender."""

    name: str
    items: int
    note: str = ""
    seconds: list[float] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Items in a second, at the median."""
        return self.items / self.median

    @property
    def remark(self) -> str:
        """The note, and how many rounds there were."""
        rounds = "one round (over 60 s)" if len(self.seconds) == 1 and self.median > LONG_SECONDS else ""
        return "; ".join(text for text in (rounds, self.note) if text)

    def to_json(self) -> dict[str, Any]:
        """Return all rounds as JSON-serialisable data."""
        return {**asdict(self), "median_seconds": self.median, "rate": self.rate}


def ratio_of_rounds(one: Timing, other: Timing) -> float:
    """Return how many times `one` is as fast as `other`: the median over rounds, each compared with its neighbour."""
    rates = [one.items / seconds for seconds in one.seconds]
    others = [other.items / seconds for seconds in other.seconds]
    if min(len(rates), len(others)) == 1:
        return statistics.median(rates) / statistics.median(others)
    return statistics.median(a / b for a, b in zip(rates, others, strict=False))


def set_threads(count: int) -> None:
    """Let this process, and those it starts, compute with so many threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def _serve(pipe: Any, prepare: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        work = prepare(**options)
        pipe.send(None)
        while pipe.recv():
            pipe.send(work())
    except EOFError:
        return
    except BaseException:
        pipe.send(RuntimeError(traceback.format_exc()))


class _Child:
    """A process that prepared a contender and waits for its turns."""

    def __init__(self, contender: Contender):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, contender.prepare, contender.options)
        # Not a daemon: those may have no loader workers of their own.
        self._process = context.Process(target=_serve, args=arguments)
        self._process.start()
        theirs.close()
        self._receive(contender.name)

    def _receive(self, name: str) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{name}: its process died") from None
        if isinstance(answer, BaseException):
            raise RuntimeError(f"{name}: {answer}")
        return answer

    def round(self, name: str) -> tuple[float, dict[str, Any]]:
        self._pipe.send(True)
        seconds, facts = self._receive(name)
        return seconds, facts

    def close(self) -> None:
        with suppress(OSError):
            self._pipe.send(False)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()


def take_turns(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None] | None = None) -> list[Timing]:
    """Time contenders in turns, A B C A B C …, each in its own process that is started and warm before.

    A contender whose first round took more than `LONG_SECONDS` has no second one.
    """
    set_threads(cores())
    say = say or progress
    timings = [Timing(contender.name, contender.items, contender.note) for contender in contenders]
    children: list[_Child] = []
    try:
        for contender in contenders:
            say(f"prepare  {contender.name}")
            children.append(_Child(contender))
        for number in range(rounds):
            for child, timing in zip(children, timings, strict=True):
                if number and timing.seconds[0] > LONG_SECONDS:
                    continue
                seconds, facts = child.round(timing.name)
                timing.seconds.append(seconds)
                timing.facts.append(facts)
                say(f"round {number + 1} of {rounds}  {timing.name}  {seconds:.2f} s")
    finally:
        for child in children:
            child.close()
    return timings


def once(function: Callable[..., dict[str, Any]], **options: Any) -> dict[str, Any]:
    """Call a module's function in a new process, untimed."""
    timing = take_turns([Contender(function.__name__, _called_once, {"function": function, "options": options})], 1)
    return timing[0].facts[0]


def _called_once(function: Callable[..., dict[str, Any]], options: Mapping[str, Any]) -> Callable[[], Any]:
    return lambda: (0.0, function(**options))


@dataclass
class Table:
    """A table for people: numbers are formatted already."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table for a page."""
        lines = [f"**{self.title}**", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|" + "|".join(["---"] + ["--:"] * (len(self.columns) - 1)) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)


def show(tables: Sequence[Table]) -> None:
    """Print tables."""
    from rich.console import Console
    from rich.table import Table as Drawn

    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables:
        drawn = Drawn(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            drawn.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
        for note in table.notes:
            console.print(f"  {note}", markup=False, highlight=False)


def publish(
    name: str,
    options: Mapping[str, Any],
    tables: Sequence[Table],
    timings: Mapping[str, Sequence[Timing]],
    file: str | Path | None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Print the tables, and write them with every single timing as JSON where a file is named."""
    show(tables)
    keep(name, options, tables, timings, file, facts)


def keep(
    name: str,
    options: Mapping[str, Any],
    tables: Sequence[Table],
    timings: Mapping[str, Sequence[Timing]],
    file: str | Path | None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the tables with every single timing as JSON where a file is named."""
    if file is None:
        return
    document = {
        "benchmark": name,
        "machine": machine(),
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
        "tables": [asdict(table) for table in tables],
        "timings": {group: [timing.to_json() for timing in members] for group, members in timings.items()},
        "facts": dict(facts or {}),
    }
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def arguments(description: str, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each contender (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all timings there")
    return parser


def progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="histokit-benchmark-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
