"""Statistics over files that no sample has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from histokit import ingest, open_store
from histokit.ingest.ingest import ingested_as
from histokit.plugin import Dataset, Sample


class ByControls(Dataset):
    """Images of a plate, which a file of controls tells the brightness of."""

    name = "by-controls"

    def samples(self) -> Iterator[Sample]:
        yield Sample("a", ("a.png",), label="x")

    def fit(self) -> tuple[float, ...]:
        return tuple(float(line) for line in (self.root / "controls.txt").read_text().split())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "controls.txt").write_text("1 2.5")
    return tmp_path


def test_controls_that_changed_are_seen(root):
    store = open_store(root / "store")
    ingest(store, ByControls(root), name="p")
    assert ingested_as(store, "p", ByControls(root))
    (root / "controls.txt").write_text("1 3.5")
    assert not ingested_as(store, "p", ByControls(root))
