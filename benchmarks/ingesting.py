"""Ingesting many small files: against one process that only reads and hashes them, and against as many as cores."""

from __future__ import annotations

import hashlib
import io
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Contender,
    Stopwatch,
    Table,
    Timing,
    arguments,
    cores,
    publish,
    ratio_of_rounds,
    scratch,
    take_turns,
)
from PIL import Image

Work = Callable[[], tuple[float, dict[str, Any]]]

#: Suffix and bytes of the files, and which share of their number there is.
FILES = {"12 kB": (".jpg", 12_000, 1.0), "100 kB": (".jpg", 100_000, 0.25), "TIFF 150 kB": (".tif", 150_000, 0.25)}
WANTED = 0.7

ONE = "reading and hashing, one process"
ALL = "reading and hashing, a process a core"
NEW, AGAIN = "ingest", "ingest again"

_CHUNK = 256
_FOLDERS = 32


def write_files(folder: Path, suffix: str, size: int, count: int) -> None:
    """Write files that differ; nothing decodes them, but the tags of a TIFF file are looked at."""
    side = round((size / 3) ** 0.5)
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "TIFF")
    content = file.getvalue()[:size]
    for number in range(count):
        place = folder / f"p{number % _FOLDERS}" / "ab"[number % 2]
        if number < 2 * _FOLDERS:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:07d}{suffix}").write_bytes(content + number.to_bytes(8, "little"))


def _paths(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.*"))


def _hash(paths: Sequence[str]) -> int:
    total = 0
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        total += len(content) * len(hashlib.blake2b(content, digest_size=16).digest())
    return total


def one_process(folder: Path) -> Work:
    """Read and hash all files here; nothing is kept."""
    paths = _paths(folder)

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            total = _hash(paths)
        return watch.seconds, {"total": total}

    return work


def all_processes(folder: Path) -> Work:
    """Read and hash all files in as many processes as there are cores, that have started already."""
    paths = _paths(folder)
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]

    def work() -> tuple[float, dict[str, Any]]:
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            list(pool.map(_hash, [paths[:1]] * cores()))
            with Stopwatch() as watch:
                total = sum(pool.map(_hash, chunks))
        return watch.seconds, {"total": total}

    return work


def ingesting(folder: Path, suffix: str, stores: Path, again: bool) -> Work:
    """``histokit ingest`` into a fresh store, the start of its processes included, or into one that knows all files."""
    import histokit

    numbers: Iterator[int] = iter(range(1_000_000))
    options = {"pattern": f"{{patient}}/{{label}}/*{suffix}", "group": "patient"}

    def ingest(path: Path) -> tuple[float, dict[str, Any]]:
        store = histokit.open_store(path)
        before = _seconds()
        with Stopwatch() as watch:
            count = histokit.ingest(store, "folder", folder, name="d", options=options).count
        here, others = (after - start for after, start in zip(_seconds(), before, strict=True))
        return watch.seconds, {"files": count, "cpu_here": here, "cpu_of_others": others}

    def work() -> tuple[float, dict[str, Any]]:
        path = stores / ("known" if again else str(next(numbers)))
        result = ingest(path)
        if not again:
            shutil.rmtree(path, ignore_errors=True)
        return result

    ingest(stores / "known")
    return work


def _seconds() -> tuple[float, ...]:
    """Return what this process and those that it ended have taken of a processor."""
    usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return tuple(each.ru_utime + each.ru_stime for each in usage)


def _row(name: str, timing: Timing, one: Timing) -> list[str]:
    spent = [[fact[key] for fact in timing.facts if key in fact] for key in ("cpu_here", "cpu_of_others")]
    micro = [f"{np.median(each) / timing.items * 1e6:.0f}" if each else "" for each in spent]
    ratio = ratio_of_rounds(timing, one)
    return [
        f"{name}, {timing.name}",
        f"{timing.rate:.0f}",
        f"{ratio:.2f}",
        f"{ratio / cores():.2f}",
        *micro,
        timing.remark,
    ]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--files", type=int, default=40_000, help="of the smallest size (default: %(default)s)")
    parser.add_argument("--only", choices=FILES, action="append", help="all where not given")
    options = parser.parse_args()
    rows, timings = [], {}
    for name in options.only or FILES:
        suffix, size, share = FILES[name]
        with scratch() as folder:
            count, files = max(1, round(options.files * share)), folder / "files"
            write_files(files, suffix, size, count)
            bare, own = {"folder": files}, {"folder": files, "suffix": suffix}
            contenders = [
                Contender(ONE, one_process, bare, count),
                Contender(ALL, all_processes, bare, count),
                Contender(NEW, ingesting, {**own, "stores": folder / NEW, "again": False}, count, f"wanted {WANTED}"),
                Contender(AGAIN, ingesting, {**own, "stores": folder / AGAIN, "again": True}, count, "nothing changed"),
            ]
            timings[name] = take_turns(contenders, options.rounds)
            rows += [_row(f"{name} × {count}", timing, timings[name][0]) for timing in timings[name]]
    columns = ["contender", "files/s", "to one process", "to cores × that", "µs here", "µs of others", "remarks"]
    note = "µs of a processor for each file, in ingest's own process and in those that it starts."
    table = Table(f"{cores()} cores", columns, rows, [note])
    publish("ingesting", vars(options), [table], timings, options.json)


if __name__ == "__main__":
    main()
