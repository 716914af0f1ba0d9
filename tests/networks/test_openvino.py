"""OpenVINO gives the vectors of torch, into tables of its own, where it is installed and can run what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import histokit
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.networks import requests
from histokit.networks.cut_network import CutNetwork
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.manager import registry
from tests.extras import needs

CPU = torch.device("cpu")


class Two(Backbone):
    """Two convolutions, of which one is normalised, and an overwriting activation between them."""

    def build(self) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            norm = nn.BatchNorm2d(4)
            norm.running_mean.normal_(0, 0.3)
            return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3)).eval()


def ingest(store: FeatureStore, images: Path) -> None:
    histokit.ingest(store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png"})


def assert_alike(found: Any, expected: Any) -> None:
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.9999


def assert_same_vectors(backbone: Backbone, layers: list[Layer], side: int) -> None:
    network = CutNetwork(backbone, layers, CPU, "float32")
    network.compile((4, 3, side, side), "openvino")
    for rows in (4, 2, 4):
        batch = torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(rows))
        expected = CutNetwork(backbone, layers, CPU, "float32")(batch)
        found = network(batch)
        assert found.keys() == expected.keys()
        for name, vectors in found.items():
            assert_alike(vectors, expected[name])


@needs("openvino")
def test_every_layer_has_the_vectors_of_torch() -> None:
    layers = [Layer("0", "0"), Layer("2", "2"), Layer("2:max", "2", "max"), Layer("3", "3")]
    assert_same_vectors(Two("two", layers, Preprocess(size=12)), layers, 12)


@needs("openvino")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:mobilenetv2_100", "torchvision:squeezenet1_1", "timm:vit_tiny_patch16_224"])
def test_real_networks_have_the_vectors_of_torch(name: str) -> None:
    backbone = registry().backbone(name, "random")
    assert_same_vectors(backbone, list(backbone.layers), 224)


@needs("openvino")
@pytest.mark.usefixtures("tiny")
def test_its_vectors_go_to_tables_of_their_own(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    plain = histokit.extract(store, "d", "tiny")
    found = histokit.extract(store, "d", "tiny", engine="openvino")
    assert (found.notes, [table["computed"] for table in found.tables]) == ((), [24] * 3)
    for one, other in zip(plain.tables, found.tables, strict=True):
        layer = one["address"].partition("@")[0]
        assert_alike(*(store.features("d", f"{layer}@{table['fingerprint']}").X for table in (one, other)))
    assert "engine: default → openvino" in found.tables[0]["differences"][0]
    again = histokit.extract(store, "d", "tiny", engine="openvino", device="cpu")
    assert [table["cached"] for table in again.tables] == [24] * 3


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "openvno"}, "There is no engine 'openvno'"),
        ({"engine": "openvino", "compile": True}, "does not go with --compile"),
        ({"engine": "openvino", "precision": "bfloat16"}, "does not go with --precision bfloat16"),
        ({"engine": "openvino", "device": "cuda"}, "does not go with --device cuda"),
        ({"engine": "openvino"}, "The engine openvino is not installed"),
    ],
)
def test_what_it_cannot_do_is_told(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(requests, "find_spec", lambda _: None)
    ingest(store, images)
    with pytest.raises(UsageError, match=told) as caught:
        histokit.extract(store, "d", "tiny", **options)
    assert "openvino" in caught.value.next
    assert store.feature_tables("d") == []
