"""A store that commands find through the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_plugin import TinyPlugin

from tests.cli.command_line import CommandLine

PATTERN = "pattern={patient}/{label}/*.png"


@pytest.fixture(autouse=True)
def elimination(few_trees: None) -> None:
    """Whatever is eliminated by a command is so by few trees: which columns are kept is tested elsewhere."""


@pytest.fixture
def histokit(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line, on an empty store."""
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("HISTOKIT_WEIGHTS", raising=False)
    return CommandLine(capsys)


@pytest.fixture
def ingested(histokit: CommandLine, images: Path) -> CommandLine:
    """The command line, on a store with the dataset ``cells``."""
    histokit.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    return histokit


@pytest.fixture
def extracted(ingested: CommandLine, tiny: TinyPlugin) -> CommandLine:
    """The command line, on a store with the dataset ``cells`` and its features ``tiny/all``."""
    ingested.ok("extract", "cells", "--backbone", "tiny")
    return ingested
