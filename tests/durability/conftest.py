"""Processes for the proofs of durability."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import Forks, Fresh, Processes


@pytest.fixture(scope="session", autouse=True)
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes that start at once; what they come from is made ready while other tests of this folder run."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Processes]:
    """Processes that share nothing."""
    made = Fresh(tmp_path)
    yield made
    made.close()
