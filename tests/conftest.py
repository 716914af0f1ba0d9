"""Tiny real artefacts shared by the tests: images of a few pixels, a two-layer network with a fixed seed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_plugin import TinyPlugin

from histokit.features import FeatureStore, open_store
from histokit.plugin.testing import added_plugin

PATIENTS = ("p1", "p2", "p3", "p4")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As shells leave it to what they start in the background, where no KeyboardInterrupt is Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def tiny() -> Iterator[TinyPlugin]:
    """The backbone ``tiny``, installed."""
    plugin = TinyPlugin()
    with added_plugin(plugin, "tinyplugin"):
        yield plugin


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elimination ranks columns by five trees in place of a hundred."""
    from histokit.protocol import elimination

    monkeypatch.setitem(elimination._TREES, "trees", 5)


@pytest.fixture
def real_data() -> Path:
    """The folder of real images and weights."""
    folder = os.environ.get("HISTOKIT_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HISTOKIT_REAL_DATA names no folder of real images and weights")
    return Path(folder)


@pytest.fixture
def rounding() -> Iterator[None]:
    """Let GPUs round float32 in products as well, as containers of their vendor do."""
    import torch

    from histokit.networks.devices import whole_float32

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    with whole_float32(torch.device("cuda")):
        # Some versions of torch say of these switches that they will go, once.
        pass
    products.allow_tf32 = True
    yield
    convolutions.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    products.allow_tf32 = False
