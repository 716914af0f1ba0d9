"""Lets tests import the benchmarks, and runs contenders without processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the path, nor numbers of threads, nor real data get out of a test or into it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in _THREADS:
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("HISTOKIT_REAL_DATA", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call a benchmark's ``main`` with options; contenders run in this process. Returns what it printed."""
    import common

    def here(contenders: Sequence[Any], rounds: int, say: Any = None) -> list[Any]:
        works = [contender.prepare(**contender.options) for contender in contenders]
        timings = [common.Timing(c.name, c.items, c.note) for c in contenders]
        for _ in range(rounds):
            for work, timing in zip(works, timings, strict=True):
                seconds, facts = work()
                timing.seconds.append(seconds)
                timing.facts.append(facts)
        return timings

    def call(module: ModuleType, *options: object) -> str:
        monkeypatch.setattr(module, "take_turns", here, raising=False)
        monkeypatch.setattr(module, "once", lambda function, **given: function(**given), raising=False)
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, options)])
        module.main()
        return capsys.readouterr().out

    return call
