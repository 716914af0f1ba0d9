"""Runs the command line, here or in a process of its own, and keeps what it printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from histokit import cli


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as exactly one JSON document."""
        return json.loads(self.out)


class CommandLine:
    """Calls ``histokit`` in this process.

    Parameters
    ----------
    capture : pytest.CaptureFixture
    """

    def __init__(self, capture: pytest.CaptureFixture[str]):
        self.capture = capture

    def __call__(self, *arguments: object) -> Result:
        """Run a command, whatever its exit code."""
        self.capture.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        printed = self.capture.readouterr()
        return Result(code, printed.out, printed.err)

    def ok(self, *arguments: object) -> Result:
        """Run a command that must succeed."""
        result = self(*arguments)
        assert result.code == 0, result.err
        return result

    def fails(self, *arguments: object, code: int) -> Result:
        """Run a command that must fail with a message for a user, in both forms of output."""
        result = self(*arguments)
        assert (result.code, result.out) == (code, ""), result
        assert "Traceback" not in result.err
        *_, last = re.finditer(r"^error: (.*)\n(.*)\n\Z", result.err, re.MULTILINE)
        machine = self(*arguments, "--json")
        assert machine.code == code
        error = machine.document["error"]
        assert {"code", "message", "next"} <= set(error)
        assert error["code"] == code
        assert last.groups() == (error["message"], error["next"])
        return result


def run_process(
    *arguments: object, environment: Mapping[str, str] | None = None, code: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m histokit``, or some Python code, in a process of its own."""
    start = ["-c", code] if code else ["-m", "histokit"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HISTOKIT_")}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
