"""Cut points of a network that no library knows."""

import pytest
import torch
from torch import nn

from histokit.backbones.cuts import Step, layer_of, outline, spread, trunk_cuts


class Block(nn.Sequential):
    def __init__(self, inside, outside):
        super().__init__(nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.trunk = nn.Sequential(Block(4, 8), nn.MaxPool2d(2), Block(8, 16), Block(16, 32))
        self.norm = nn.BatchNorm2d(32)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        return self.fc(self.pool(self.norm(self.trunk(self.stem(x)))).flatten(1))


def test_blocks_of_the_trunk_and_the_pooled_map():
    network, steps = outline(Net, 16)
    assert trunk_cuts(network, steps) == ["trunk.0", "trunk.2", "trunk.3", "norm"]
    assert next(network.parameters()).is_meta


def test_a_network_that_needs_values_to_be_built():
    class Reading(Net):
        def __init__(self):
            super().__init__()
            self.width = int(torch.ones(3).sum().item())

    network, steps = outline(Reading, 16)
    assert trunk_cuts(network, steps)[-1] == "norm"


def test_many_blocks_alike_are_cut_at_quarters():
    steps = [Step(f"blocks.{i}", (2, 197, 8), i) for i in range(12)]
    names = [step.module for step in steps]
    assert spread(names, steps) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert spread(names[:8], steps) == names[:8]


@pytest.mark.parametrize(
    ("shape", "width", "pooling", "last"),
    [
        ((2, 64, 7, 7), 64, "avg", False),
        ((2, 7, 7, 64), 64, "avg", True),
        ((2, 7, 7, 64), None, "avg", True),
        ((2, 64, 7, 7), None, "avg", False),
        ((2, 197, 64), None, "cls", False),
        ((2, 64), None, "none", False),
    ],
)
def test_pooling_follows_from_the_shape(shape, width, pooling, last):
    layer = layer_of(Step("m", shape, 0), width, "cls")
    assert (layer.pool, layer.channels_last) == (pooling, last)
