"""Caffe's weights of networks that the libraries have: the same network, images prepared as Caffe does it."""

import numpy as np
import pytest
import torch
from caffe_writer import caffemodel
from torch import nn
from torchvision.models import get_model

from histokit.backbones.caffe_names import LAYERS, translated
from histokit.backbones.timm_weights import filters
from histokit.errors import StoreError
from histokit.plugin.manager import registry

#: As in deploy.prototxt of each: squeeze and expand of Fire modules 2 to 9.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def squeezenet_shapes():
    """The weights of SqueezeNet 1.1 in the order of its file."""
    found, before = {"conv1": (64, 3, 3, 3)}, 64
    for number, (squeeze, expand) in enumerate(FIRES, 2):
        found[f"fire{number}/squeeze1x1"] = (squeeze, before, 1, 1)
        found[f"fire{number}/expand1x1"] = (expand, squeeze, 1, 1)
        found[f"fire{number}/expand3x3"] = (expand, squeeze, 3, 3)
        before = 2 * expand
    return {**found, "conv10": (1000, 512, 1, 1)}


def vgg_shapes(blocks):
    """The weights of a network of Simonyan and Zisserman."""
    found, before = {}, 3
    for block, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512, 512), strict=True), 1):
        for number in range(1, count + 1):
            found[f"conv{block}_{number}"] = (width, before, 3, 3)
            before = width
    return {**found, "fc6": (4096, 25_088), "fc7": (4096, 4096), "fc8": (1000, 4096)}


def numbers(shapes):
    generator = np.random.default_rng(5)
    found = {}
    for layer, shape in shapes.items():
        found[f"{layer}.weight"] = generator.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        found[f"{layer}.bias"] = generator.normal(size=shape[0]).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    state = numbers(squeezenet_shapes())
    file = tmp_path_factory.mktemp("caffe") / "squeezenet_v1.1.caffemodel"
    file.write_bytes(caffemodel(state, list(squeezenet_shapes()), 2, "SqueezeNet"))
    return file, state


@pytest.mark.parametrize("name", ["squeezenet1_1", "torchvision:squeezenet1_1"])
def test_squeezenet_gives_what_caffe_computes(squeezenet, name):
    file, state = squeezenet
    found = registry().backbone(name, str(file))
    network = found.build()
    assert not found.notes
    # Fire module 4 is the third of them, behind the second pooling.
    assert torch.equal(network.features[6].expand3x3.weight, torch.from_numpy(state["fire4/expand3x3.weight"]))
    assert torch.equal(network.features[12].squeeze.bias, torch.from_numpy(state["fire9/squeeze1x1.bias"]))
    prepared = found.preprocess
    assert (prepared.size, prepared.std) == (224, (1 / 255,) * 3)
    assert "Caffe" in found.preprocess_origin
    assert not found.undeclared
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (prepared.mean, prepared.std))
    first, bias = (torch.from_numpy(state[f"conv1.{kind}"]) for kind in ("weight", "bias"))
    in_caffe = 255 * pixels.flip(1) - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    with torch.inference_mode():
        expected = nn.functional.conv2d(in_caffe, first.flip(1), bias, stride=2)
        computed = network.features[0]((pixels - mean) / std)
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-3)


def test_preprocessing_beside_caffes_weights_decides(squeezenet, tmp_path):
    file = tmp_path / "net.caffemodel"
    file.write_bytes(squeezenet[0].read_bytes())
    (tmp_path / "net.json").write_text('{"mean": [0.5, 0.4, 0.3]}')
    found = registry().backbone("squeezenet1_1", str(file))
    assert found.preprocess.mean == (0.5, 0.4, 0.3)
    assert found.preprocess.std == (1 / 255,) * 3
    assert "net.json" in found.preprocess_origin
    assert registry().backbone("squeezenet1_1", "random").preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("name", "blocks"), [("vgg16", (2, 2, 3, 3, 3)), ("vgg19", (2, 2, 4, 4, 4))])
def test_names_and_shapes_of_vgg(name, blocks):
    with torch.device("meta"):
        state = {
            f"{layer}.{kind}": torch.empty(shape if kind == "weight" else shape[:1])
            for layer, shape in vgg_shapes(blocks).items()
            for kind in ("weight", "bias")
        }
        networks = (get_model(name, weights=None), registry().backbone(name, "random")._create())
    found = translated(state, LAYERS[name])
    expected = {key: value.shape for key, value in networks[0].state_dict().items()}
    assert list(found) == list(expected), "in the order of depth"
    assert {key: value.shape for key, value in found.items()} == expected
    (adapt,) = filters(networks[1])
    adapted = {key: value.shape for key, value in adapt(networks[1], found).items()}
    assert adapted == {key: value.shape for key, value in networks[1].state_dict().items()}


def test_every_version_of_squeezenet():
    for name in ("squeezenet1_0", "squeezenet1_1"):
        with torch.device("meta"):
            keys = get_model(name, weights=None).state_dict()
        assert list(dict.fromkeys(key.rpartition(".")[0] for key in keys)) == list(LAYERS[name].values())


def test_a_classifier_by_another_name_is_left_out():
    state = {"fc7.weight": 1, "fc8.weight": 2, "fc8_flickr.weight": 3, "fc8-2.weight": 4, "fc80.weight": 5}
    found = translated(state, {"fc7": "classifier.3", "fc8": "classifier.6"})
    assert found == {"classifier.3.weight": 1, "classifier.6.weight": 2, "fc80.weight": 5}


@pytest.mark.parametrize(
    ("name", "reason"), [("googlenet", "batch normalisation"), ("alexnet", "caffe_alexnet"), ("timm:resnet18", "")]
)
def test_networks_that_caffes_weights_do_not_fit(tmp_path, name, reason):
    file = tmp_path / "net.caffemodel"
    state = numbers({"conv1/7x7_s2": (64, 3, 7, 7), "conv2/3x3_reduce": (64, 64, 1, 1)})
    file.write_bytes(caffemodel(state, ["conv1/7x7_s2", "conv2/3x3_reduce"], 1, "GoogleNet"))
    with pytest.raises(StoreError, match="does not fit") as caught:
        registry().backbone(name, str(file)).build()
    assert "missing: " in caught.value.message
    assert "conv1/7x7_s2.weight" in caught.value.message
    assert reason in caught.value.message


def test_a_classifier_without_numbers_is_left_out(tmp_path):
    network = get_model("alexnet", weights=None)
    state = {**network.state_dict()}
    state |= {key: torch.full_like(value, torch.nan) for key, value in state.items() if "classifier" in key}
    torch.save(state, tmp_path / "features.pth")
    found = registry().backbone("alexnet", str(tmp_path / "features.pth"))
    built = found.build()
    assert "classifier.1.weight" in found.notes[0]
    with torch.inference_mode():
        assert built(torch.rand(1, 3, 224, 224)).isfinite().all()
    assert torch.equal(built.features[0].weight, state["features.0.weight"])
