"""A module that a network uses several times counts with its last output, as it does for features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import histokit
from histokit.classifiers.estimators import load
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.plugin import Backbone, Layer, Preprocess, hookimpl
from histokit.plugin.testing import added_plugin


class Net(nn.Module):
    """One ReLU behind each of two convolutions, and a third one that changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Threshold(0, 0)
        self.last = nn.Sequential(nn.Hardtanh(0, 0.01, inplace=True), nn.Conv2d(4, 5, 3))

    def forward(self, batch: torch.Tensor) -> Any:
        """Return a map of five channels."""
        return self.last(self.relu(self.second(self.relu(self.first(batch)))))


class TwiceBackbone(Backbone):
    """The network with a fixed seed."""

    def build(self) -> Any:
        """Return it."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Net()


class TwicePlugin:
    """Registers the backbone ``twice``."""

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        """Announce it."""
        register("twice", self.load)

    def load(self, request: Any) -> Backbone:
        """Return it without building."""
        preprocess = Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
        return TwiceBackbone("twice", [Layer("last", "last")], preprocess, "random:0")


@pytest.fixture
def data(store: FeatureStore, images: Path) -> Iterator[FeatureStore]:
    pattern = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", images, name="d", options=pattern)
    histokit.split(store, "d", name="half", test=0.5, seed=1)
    with added_plugin(TwicePlugin(), "twice"):
        yield store


def test_the_map_of_a_linear_classifier_adds_up_to_its_decision_value(data: FeatureStore) -> None:
    histokit.extract(data, "d", "twice", layers=["relu"])
    (run,) = histokit.train(data, "d", "twice/relu", "svm", split="half", grid={"C": 0.1})
    features, model = data.features("d", "twice/relu"), load(data.model(run.id))
    # The second time begins anew, once it is known how often the module is used.
    for _ in range(2):
        found = histokit.explain(data, run.id, per_class=6, target="dark")
        rows = [features.sample_ids.index(sample.id) for sample in found.samples]
        assert len(rows) == 12
        known = model["estimator"].decision_function(features.X[rows])
        np.testing.assert_allclose([sample.score for sample in found.samples], known, rtol=1e-3, atol=1e-4)


def test_what_excites_a_filter(data: FeatureStore) -> None:
    (run,) = histokit.finetune(data, "d", "twice", split="half", settings={"head.layer": "last", "stages.1.epochs": 1})
    settings = {"iterations": 1, "jitter": 0, "norm": 0, "variation": 0}
    found = histokit.explain.filter_images(data, run.id, layers=["relu"], filters=4, settings=settings, seed=2)
    net = TwiceBackbone("twice", [], Preprocess(size=16), "random:0").build()
    before = [image for image in found.images if image.when == "before"]
    assert len(before) == 4
    for image in before:
        noise = np.random.default_rng([2, image.filter]).random((3, 16, 16))
        pixels = (noise - noise.mean()) / noise.std() * 12.75 + 127.5

        def activation(pixels: torch.Tensor, number: int = image.filter) -> torch.Tensor:
            maps = net.second(net.first(((pixels / 255 - 0.5) / 0.5)[None]).relu()).relu()
            return maps[0, number].mean()

        start = torch.from_numpy(pixels).float().requires_grad_()
        (gradient,) = torch.autograd.grad(activation(start), start)
        unit = gradient / gradient.norm().clamp_min(1e-12)
        reached = start + unit / (0.05 * unit**2 + 1e-7).sqrt()
        assert image.objective == pytest.approx(-2 * activation(start).item(), rel=1e-3, abs=1e-6)
        assert image.activation == pytest.approx(activation(reached).item(), rel=1e-3, abs=1e-6)


def test_a_network_is_not_trained_on_its_first_output(data: FeatureStore) -> None:
    """Its features would be others than those of the layer of this name."""
    with pytest.raises(UsageError, match="uses the layer 'relu' 2 times"):
        histokit.finetune(data, "d", "twice", split="half", settings={"head.layer": "relu", "stages.1.epochs": 1})
