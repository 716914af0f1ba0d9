"""Contenders that other processes can import."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def writer(letter: str, file: str, seconds: float) -> Callable[[], tuple[float, dict[str, Any]]]:
    """Write a letter to a file in each round, and claim that it took so many seconds."""

    def work() -> tuple[float, dict[str, Any]]:
        with Path(file).open("a") as opened:
            opened.write(letter)
        return seconds, {"process": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}

    return work


def broken() -> Any:
    """Fail while preparing."""
    raise ValueError("no such network")
