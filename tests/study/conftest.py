"""A study of two small datasets and two tiny networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from histokit.plugin.testing import added_plugin
from tests.durability.forks import TwoNetworks
from tests.study.small_study import write_study


@pytest.fixture(autouse=True)
def elimination(few_trees: None) -> None:
    """Whatever is eliminated by a study is so by few trees: which columns are kept is tested elsewhere."""


@pytest.fixture
def two_networks() -> Iterator[None]:
    """The backbones ``tiny`` and ``small``, installed."""
    with added_plugin(TwoNetworks(), "twonetworks"):
        yield


@pytest.fixture
def file(tmp_path: Path, two_networks: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the small study, beside its images."""
    monkeypatch.delenv("HISTOKIT_STORE", raising=False)
    return write_study(tmp_path)
