"""Batches form after resizing, across sizes, and always have the same number of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_plugin import TinyPlugin

from histokit import extract, ingest
from histokit.features import FeatureStore
from histokit.networks.cut_network import CutNetwork


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all batches that go through a network."""
    seen: list[tuple[int, ...]] = []
    forward = CutNetwork.forward

    def counted(self: CutNetwork, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(tuple(batch.shape))
        return forward(self, batch)

    monkeypatch.setattr(CutNetwork, "forward", counted)
    return seen


def test_images_of_all_sizes_share_batches(
    store: FeatureStore, images: Path, tiny: TinyPlugin, passes: list[tuple[int, ...]]
) -> None:
    generator = np.random.default_rng(1)
    for index in range(20):
        pixels = generator.integers(0, 255, (9 + index, 30 - index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / "p1" / "dark" / f"odd{index}.png")
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(store, "cells", "tiny", batch_size=8)
    assert passes == [(8, 3, 16, 16)] * 6  # 24 + 20 images, the last batch padded
    store.features("cells", "tiny/all")


def test_the_pass_that_is_padded_changes_no_vector(
    store: FeatureStore, images: Path, tiny: TinyPlugin, tmp_path: Path
) -> None:
    ingest(store, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(store, "cells", "tiny", batch_size=16)
    other = FeatureStore(tmp_path / "other")
    keep = sorted(images.rglob("*.png"))[::3]
    for path in images.rglob("*.png"):
        if path not in keep:
            path.unlink()
    ingest(other, "folder", images, name="cells", options={"pattern": "{patient}/{label}/*.png", "group": "patient"})
    extract(other, "cells", "tiny", batch_size=16)
    few, all_ = other.features("cells", "tiny/all"), store.features("cells", "tiny/all")
    rows = [list(all_.sample_ids).index(sample) for sample in few.sample_ids]
    assert np.array_equal(few.X, all_.X[rows])
