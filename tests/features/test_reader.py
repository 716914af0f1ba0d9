from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from histokit.features import reader
from histokit.features.ingested import IngestedFiles
from histokit.plugin import Dataset, Sample
from histokit.plugin.images import Pixels


class Counting(Dataset):
    """Counts the images that were read."""

    def __init__(self, root: str | Path = ".") -> None:
        super().__init__(root)
        self.read_so_far = 0
        self.lock = threading.Lock()

    def samples(self) -> Iterator[Sample]:
        """Yield forty."""
        return (Sample(str(i), ()) for i in range(40))

    def read(self, sample: Sample) -> Pixels:
        """Return 300 bytes."""
        with self.lock:
            self.read_so_far += 1
        return np.full((10, 10, 3), int(sample.id), dtype=np.uint8)


@pytest.mark.parametrize(("memory", "ahead"), [(1 << 20, 16), (5 * 300, 5), (1, 2)])
def test_no_more_is_read_ahead_than_memory_is_given(monkeypatch: pytest.MonkeyPatch, memory: int, ahead: int) -> None:
    monkeypatch.setattr(reader, "READ_BYTES", memory)
    dataset = Counting()
    samples = list(dataset.samples())
    results = reader.read_samples(IngestedFiles(dataset, None), enumerate(samples), workers=2, ahead=16)
    values = []
    for consumed, result in enumerate(results):
        assert dataset.read_so_far - consumed <= ahead + 1
        assert result.pixels is not None
        values.append(int(result.pixels[0, 0, 0]))
    assert values == list(range(40))
