"""Another interpreter, which finds the same modules and plugins as this one, and how it ended."""

from __future__ import annotations

import json
import signal
import sys

#: The code of a process that a signal ended → its name; those for programs' own use have none.
_SIGNALS = {-each: each.name for each in signal.Signals}

_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"


def interpreter_of(module: str, *arguments: str) -> list[str]:
    """Return the command that calls ``main()`` of a module in a new interpreter, given arguments by `sys.argv`."""
    paths = json.dumps([path for path in sys.path if isinstance(path, str)])
    return [sys.executable, "-c", _START.format(module=module), paths, *arguments]


def how_ended(code: int) -> str:
    """Return how a process ended: ``exit code 3``, ``SIGKILL``."""
    return f"exit code {code}" if code >= 0 else _SIGNALS.get(code, f"signal {-code}")
