"""How weights begin: the numbers of the authors' files, layer by layer."""

import math

import pytest
import torch
from torch import nn

from histokit.backbones.paper_networks import gendernet
from histokit.backbones.rows import rows
from histokit.errors import UsageError
from histokit.networks.initialisation import RULES, initialise
from histokit.plugin.manager import registry


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weighted(network):
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


#: Standard deviation of the weights, and the bias, as they stand in the files.
FILES = {
    "gendernet": ("gendernet", [(0.01, 0), (0.01, 1), (0.01, 0), (0.005, 1), (0.005, 1), (0.01, 0)]),
    "caffe-alexnet": (
        "caffe_alexnet",
        [(0.01, 0), (0.01, 0.1), (0.01, 0), (0.01, 0.1), (0.01, 0.1), (0.005, 0.1), (0.005, 0.1), (0.01, 0)],
    ),
    "caffenet": (
        "torchvision:alexnet",
        [(0.01, 0), (0.01, 1), (0.01, 0), (0.01, 1), (0.01, 1), (0.005, 1), (0.005, 1), (0.01, 0)],
    ),
}


@pytest.mark.parametrize("rule", FILES)
def test_gaussian_weights_and_biases_of_the_files(rule):
    name, expected = FILES[rule]
    network = registry().backbone(name, "random").build()
    initialise(network, rule, generator())
    layers = weighted(network)
    for layer, (std, bias) in zip(layers, expected, strict=True):
        values = layer.weight.detach().flatten()
        assert float(values.std()) == pytest.approx(std, rel=0.05)
        # Six deviations of the mean of so many; more of them than a uniform distribution has lie beyond two.
        assert abs(float(values.mean())) < 6 * std / math.sqrt(len(values))
        assert float((values.abs() > 2 * std).float().mean()) == pytest.approx(0.0455, abs=0.02)
        assert layer.bias.tolist() == pytest.approx([bias] * len(layer.bias))


@pytest.mark.parametrize(
    ("rule", "conv", "grouped", "fc"),
    [
        # 3 x 3 x 4 and 3 x 3 x 2 inputs, 50; by Glorot and Bengio with 72, 72 and 10 outputs.
        ("xavier", math.sqrt(3 / 36), math.sqrt(3 / 18), math.sqrt(3 / 50)),
        ("keras", math.sqrt(6 / 108), math.sqrt(6 / 90), math.sqrt(6 / 60)),
    ],
)
def test_uniform_weights(rule, conv, grouped, fc):
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(4, 8, 3, bias=False),
        nn.Linear(50, 10), nn.LayerNorm(10),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7)
        network[1].running_mean.fill_(7)
    initialise(network, rule, generator())
    limits = {0: conv, 2: grouped, 3: conv, 4: fc}
    for place, limit in limits.items():
        values = network[place].weight.detach().flatten()
        assert float(values.abs().max()) <= limit
        assert float(values.abs().max()) > 0.9 * limit
        assert float(values.var()) == pytest.approx(limit**2 / 3, rel=0.3)
        assert float(values.min()) < 0 < float(values.max())
    assert all(float(network[place].bias.detach().abs().max()) == 0 for place in (0, 2, 4))
    assert network[1].weight.tolist() == [1] * 8
    assert network[1].running_mean.tolist() == [0] * 8
    assert network[5].weight.tolist() == [1] * 10


def test_a_seed_decides():
    def made(rule, seed):
        network = gendernet(num_classes=3)
        initialise(network, rule, generator(seed))
        return network.state_dict()

    for rule in ("gendernet", "xavier", "keras"):
        first, again, other = made(rule, 1), made(rule, 1), made(rule, 2)
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_a_classifier_alone_begins_as_the_last_layer():
    classifier = nn.Linear(5000, 4)
    initialise(classifier, "gendernet", generator())
    assert float(classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert classifier.bias.tolist() == [0] * 4


def test_a_network_without_its_last_layer_begins_as_the_whole_one():
    whole, base = gendernet(num_classes=3), gendernet(num_classes=3)
    base.fc8 = nn.Identity()
    for network in (whole, base):
        initialise(network, "gendernet", generator())
    state = whole.state_dict()
    assert base.state_dict().keys() == state.keys() - {"fc8.weight", "fc8.bias"}
    assert all(torch.equal(value, state[key]) for key, value in base.state_dict().items())


def test_what_a_library_builds_is_left():
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    initialise(network, "library", generator())
    assert torch.equal(network.weight, before)


def test_rules_that_do_not_go():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(UsageError, match="a network with 6 layers of weights; this one has 2") as caught:
        initialise(network, "gendernet", generator())
    assert "xavier" in caught.value.next
    with pytest.raises(UsageError, match="no initialisation 'xaver'") as caught:
        initialise(network, "xaver", generator())
    assert "'xavier'" in caught.value.next


def test_the_rules_of_the_papers_networks():
    told = {name: row.info["initialisation"] for name, row in rows().items() if "initialisation" in row.info}
    assert set(told.values()) <= RULES.keys()
    assert told == {
        "alexnet": "caffe-alexnet",
        "caffe_alexnet": "caffe-alexnet",
        "caffenet": "caffenet",
        "gendernet": "gendernet",
        "googlenet": "xavier",
        "joyce_cnn": "keras",
        "vgg16": "xavier",
        "vgg16_features": "xavier",
        "vgg19": "xavier",
    }
