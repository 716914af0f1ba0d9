"""What a trained network says of images equals its layers done one after the other by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_plugin import TinyPlugin
from torch.nn import functional

import histokit
from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.networks.failures import BatchTooLargeError
from histokit.networks.trainable import TrainableNetwork
from histokit.plugin import Preprocess, Sample
from histokit.reading.ingested_files import IngestedFiles, open_files
from histokit.reading.reader import rebuild_sample
from tests.trained_runs import a_network, network_scores

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def opened(store: FeatureStore, images: Path) -> tuple[IngestedFiles, list[Sample]]:
    record = histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    return open_files(store, record), [rebuild_sample(row) for row in store.samples("d").to_pylist()]


def by_hand(network: TrainableNetwork, path: Path) -> NDArray[np.float64]:
    pixels = torch.tensor(np.asarray(Image.open(path)).astype(np.float32)).permute(2, 0, 1)[None]
    first, _, second, _ = network.base.children()
    batch = (pixels / 255 - 0.5) / 0.25
    for convolution, stride in ((first, 2), (second, 1)):
        batch = functional.relu(functional.conv2d(batch, convolution.weight, convolution.bias, stride))
    hidden, *_, output = (layer for layer in network.head if hasattr(layer, "weight"))
    vector = functional.relu(batch.mean((2, 3)) @ hidden.weight.T + hidden.bias)
    found: NDArray[np.float64] = (vector @ output.weight.T + output.bias).double().softmax(1).detach().numpy()[0]
    return found


def test_scores_are_the_layers_by_hand(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network()
    files, samples = opened(store, images)
    network.base[0].eval()
    seen: list[tuple[int, int]] = []
    found = network_scores(
        network, described, files, samples, 5, progress=lambda done, total: seen.append((done, total))
    )
    expected = np.stack([by_hand(network, images / sample.image[0]) for sample in samples])
    assert np.ptp(expected[:, 0]) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert seen[-1] == (24, 24)
    assert network.training
    assert network.head.training
    assert not network.base[0].training


def test_batches_do_not_matter(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network()
    files, samples = opened(store, images)
    whole = network_scores(network, described, files, samples, 8)
    np.testing.assert_allclose(
        network_scores(network, described, files, samples[::-1], 8), whole[::-1], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        network_scores(network, described, files, samples, 8, workers=1), whole, rtol=0, atol=1e-6
    )


def test_numbers_are_given_as_they_are(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network(outputs=1, classes=(), hidden=())
    files, samples = opened(store, images)
    found = network_scores(network, described, files, samples[:3])
    assert found.shape == (3, 1)
    assert not np.allclose(found, 1)


def test_what_cannot_be_read_is_told(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network()
    files, samples = opened(store, images)
    whole = network_scores(network, described, files, samples, 8)
    (images / samples[3].image[0]).write_bytes(b"no image")
    Image.new("RGB", (16, 16), "red").save(images / samples[5].image[0])
    failed: dict[int, str] = {}
    found = network_scores(network, described, files, samples, 8, failed=failed.__setitem__)
    assert sorted(failed) == [3, 5]
    assert "changed since" in failed[5]
    assert np.isnan(found[[3, 5]]).all()
    rest = [i for i in range(24) if i not in failed]
    np.testing.assert_allclose(found[rest], whole[rest], rtol=0, atol=1e-6)


def test_short_memory_halves_batches(
    store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, described = a_network()
    files, samples = opened(store, images)
    whole = network_scores(network, described, files, samples, 4)
    forward = TrainableNetwork.forward

    def short(self: TrainableNetwork, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 4:
            raise RuntimeError("out of memory")
        return forward(self, batch)

    monkeypatch.setattr(TrainableNetwork, "forward", short)
    notes: list[str] = []
    found = network_scores(network, described, files, samples, 16, notes=notes)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)
    assert notes == [
        "the device cpu has too little memory for 16 inputs of 3 × 16 × 16: it went on with 4; --batch-size 4 fits"
    ]
    monkeypatch.setattr(TrainableNetwork, "forward", lambda *_: torch.zeros(1) / _raise())
    with pytest.raises(BatchTooLargeError):
        network_scores(network, described, files, samples, 16)


def _raise() -> int:
    raise RuntimeError("out of memory")


def test_other_channels_are_refused(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network(channels=("DNA", "ER", "RNA"))
    files, samples = opened(store, images)
    with pytest.raises(StoreError, match="channels DNA, ER, RNA; the images have R, G, B"):
        network_scores(network, described, files, samples)


def test_images_are_brought_to_the_size(store: FeatureStore, images: Path, tiny: TinyPlugin) -> None:
    network, described = a_network(preprocess=Preprocess(size=12, mean=(0.5,) * 3, std=(0.25,) * 3))
    files, samples = opened(store, images)
    at_16 = network_scores(a_network()[0], a_network()[1], files, samples)
    assert not np.allclose(network_scores(network, described, files, samples), at_16, atol=1e-4)
