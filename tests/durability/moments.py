"""Moments at which a process is about to write to the store or a checkpoint, or has just written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITES = ("create", "overwrite", "append", "add_on", "replace", "delete", "drop", "add_column")

#: Seconds that a process waits for others, which may themselves wait for the lock that it holds.
_PATIENCE = 0.3


def at_moments(order: dict[str, Any]) -> None:
    """Do something before each write to a table of this process, and between it and the note of it.

    Parameters
    ----------
    order : dict
        ``kill``: the number of the moment at which the process is killed. Or ``meet``, a folder, and ``parties``, the
        number of processes that wait there for each other. ``count`` is the path of a file that gets a byte for each.
    """
    from histokit.finetune.checkpoint import Checkpoint
    from histokit.store.commits import Commits
    from histokit.store.database import Database

    act = _Moments(order)
    for owner, name in [*((Database, name) for name in _WRITES), (Commits, "note"), (Checkpoint, "save")]:
        setattr(owner, name, _preceded(getattr(owner, name), act))


def _preceded(method: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        act()
        return method(*arguments, **options)

    return call


class _Moments:
    def __init__(self, order: dict[str, Any]):
        self.order, self.passed = order, 0
        self.count = os.open(order["count"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self) -> None:
        self.passed += 1
        os.write(self.count, b".")
        if self.passed == self.order.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "meet" in self.order:
            self._meet(Path(self.order["meet"]))

    def _meet(self, folder: Path) -> None:
        (folder / f"{self.passed}.{os.getpid()}").touch()
        until = time.monotonic() + _PATIENCE
        while len([*folder.glob(f"{self.passed}.*")]) < self.order["parties"] and time.monotonic() < until:
            time.sleep(0.002)
