"""Cut points of a network that no library knows."""

import pytest
import timm
import torch
from torch import nn

from histokit.backbones import cuts
from histokit.backbones.cuts import Step, layer_of, outline, spread, trace, trunk_cuts


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


def outlines(monkeypatch, build, size):
    """What modules give, and which of them hand on what was given, found by numbers and by shapes alone."""
    for limit in (cuts.LIGHT, 0):
        monkeypatch.setattr(cuts, "LIGHT", limit)
        _, steps = outline(build, size)
        first = {}
        yield [(step.module, step.shape, first.setdefault(step.tensor, step.module)) for step in steps]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv2_035"])
def test_a_light_network_has_the_outline_that_its_shapes_alone_have(monkeypatch, name):
    light, heavy = outlines(monkeypatch, lambda: timm.create_model(name), 96 if "vit" not in name else 160)
    assert light == heavy
    assert len(light) > 20


def test_a_heavy_network_is_given_no_memory(monkeypatch):
    built = []

    class Heavy(Net):
        def __init__(self):
            super().__init__()
            # 40 GB, which are never there.
            self.fc = nn.Linear(32, 300_000_000)
            built.append(self.fc.weight.device.type)

    network, steps = outline(Heavy, 16)
    assert built == ["meta"]
    assert steps[-1].shape == (2, 300_000_000)
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


class Last(nn.Module):
    """Doubles channels and halves sides of a map whose channels come last."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(4 * width, 2 * width)

    def forward(self, maps):
        corners = [maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return self.linear(torch.cat(corners, dim=3))


class LastNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.Sequential(Last(4), Last(8), Last(16))

    def forward(self, images):
        return self.blocks(self.first(images.permute(0, 2, 3, 1)))


def test_a_map_of_as_many_channels_as_rows_is_as_others_of_its_class():
    network = LastNet()
    steps = trace(network, 16, device="cpu")
    for module in ("blocks.0", "blocks.0.linear"):
        step = next(step for step in steps if step.module == module)
        assert len(set(step.shape[1:])) == 1
        assert layer_of(step, None, "avg", network, steps).channels_last
        assert not layer_of(step, None, "avg").channels_last
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1))
    steps = trace(convolutions, 8, device="cpu")
    assert not layer_of(steps[0], None, "avg", convolutions, steps).channels_last
