"""Another interpreter, which finds the same modules and plugins as this one."""

from __future__ import annotations

import json
import sys

_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"


def interpreter_of(module: str, *arguments: str) -> list[str]:
    """Return the command that calls ``main()`` of a module in a new interpreter, given arguments by `sys.argv`."""
    paths = json.dumps([path for path in sys.path if isinstance(path, str)])
    return [sys.executable, "-c", _START.format(module=module), paths, *arguments]
