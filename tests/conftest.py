"""Tiny real artefacts shared by the tests: images of a few pixels, a two-layer network with a fixed seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histokit.features import FeatureStore, open_store
from histokit.plugin import Backbone, Layer, Preprocess, hookimpl
from histokit.plugin.testing import added_plugin

PATIENTS = ("p1", "p2", "p3", "p4")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return open_store(tmp_path / "store")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twenty-four 16 × 16 images of two classes, dark and bright, from four patients."""
    root = tmp_path / "images"
    generator = np.random.default_rng(0)
    for patient in PATIENTS:
        for label, level in (("dark", 60), ("bright", 180)):
            folder = root / patient / label
            folder.mkdir(parents=True)
            for index in range(3):
                pixels = generator.normal(level, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


class TinyBackbone(Backbone):
    """Two convolutions with a fixed seed; the in-place ReLU overwrites the first one's output."""

    def build(self) -> Any:
        import torch
        from torch import nn

        with torch.random.fork_rng():
            torch.manual_seed(int(self.weights.partition(":")[2] or 0))
            first = nn.Conv2d(3, 4, 3, stride=2)
            return nn.Sequential(first, nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True))


class TinyPlugin:
    """Registers the backbone ``tiny``."""

    #: How often the network was built, for tests of what is cached.
    built = 0

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        """Announce it."""
        register("tiny", self.load)

    def load(self, request: Any) -> Backbone:
        """Return it without building."""
        weights = "random:0" if request.weights in ("pretrained", "random") else request.weights
        plugin = self

        class Counted(TinyBackbone):
            def build(self) -> Any:
                plugin.built += 1
                return super().build()

        layers = [Layer("0", "0"), Layer("1", "1"), Layer("3", "3")]
        return Counted(request.name, layers, Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3), weights)


@pytest.fixture
def tiny() -> Iterator[TinyPlugin]:
    """The backbone ``tiny``, installed."""
    plugin = TinyPlugin()
    with added_plugin(plugin, "tinyplugin"):
        yield plugin


@pytest.fixture
def real_data() -> Path:
    """The folder of real images and weights."""
    folder = os.environ.get("HISTOKIT_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HISTOKIT_REAL_DATA names no folder of real images and weights")
    return Path(folder)
