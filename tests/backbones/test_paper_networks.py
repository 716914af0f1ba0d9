"""Networks that no library has: their shapes by the papers, their numbers by hand, and Caffe's files of them."""

import re

import numpy as np
import pytest
import torch
from caffe_writer import blob, caffemodel
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import histokit
from histokit.backbones.paper_networks import BUILDERS, caffe_alexnet, caffenet, gendernet, joyce_cnn
from histokit.errors import StoreError, UsageError
from histokit.networks.cut_network import CutNetwork
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_backbone

CAFFE = ("caffe_alexnet", "caffenet", "gendernet")


def shapes(network, side):
    found = {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, tuple(out.shape[1:])))
    network.eval()(torch.zeros(1, 3, side, side))
    return found


def millions(network):
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def layers(state):
    return list(dict.fromkeys(key.rpartition(".")[0] for key in state))


def write(path, state, generation=2):
    arrays = {key: value.numpy() for key, value in state.items()}
    path.write_bytes(caffemodel(arrays, layers(state), generation))
    return str(path)


def test_shapes_of_gendernet():
    found = shapes(gendernet(num_classes=3), 227)
    sides = [found[name][1] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "pool5")]
    assert sides == [56, 28, 28, 14, 14, 7]
    assert [found[name][0] for name in ("conv1", "conv2", "conv3")] == [96, 256, 384]
    assert (found["flatten"], found["fc6"], found["fc7"], found["fc8"]) == ((18_816,), (512,), (512,), (3,))
    assert millions(gendernet(num_classes=3)) == pytest.approx(11.41, abs=0.005)


@pytest.mark.parametrize("build", [caffe_alexnet, caffenet])
def test_shapes_of_alexnet(build):
    found = shapes(build(), 227)
    names = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert [found[name][1] for name in names] == [55, 27, 27, 13, 13, 13, 13, 6]
    assert [found[name][0] for name in names] == [96, 96, 256, 256, 384, 384, 256, 256]
    # As Caffe counts them; without groups it would be 62.38.
    assert millions(build()) == pytest.approx(60.965, abs=0.0005)
    order = list(found)
    assert (order.index("norm1") < order.index("pool1")) == (build is caffe_alexnet)
    assert (order.index("norm2") < order.index("pool2")) == (build is caffe_alexnet)


def test_response_normalisation_by_hand():
    # Caffe: x / (1 + alpha / size · sum of the squares of the five channels around)^beta.
    norm = gendernet().norm1
    values = torch.tensor([100.0, 200.0, 300.0, 400.0, 500.0, 600.0]).reshape(1, 6, 1, 1)
    squares = [14e4, 30e4, 55e4, 90e4, 86e4, 77e4]
    expected = [x / (1 + 1e-4 / 5 * s) ** 0.75 for x, s in zip(values.flatten().tolist(), squares, strict=True)]
    for layout in (torch.contiguous_format, torch.channels_last):
        found = norm(values.expand(2, 6, 3, 4).contiguous(memory_format=layout))
        np.testing.assert_allclose(found[1, :, 2, 1], expected, rtol=1e-5)


def reference(x, state, name):
    """Forward by functions alone, with Caffe's formulas: convolutions in groups, sizes rounded up, sums of squares."""

    def weights(layer):
        return state[f"{layer}.weight"], state[f"{layer}.bias"]

    def convolved(x, layer, **how):
        return functional.conv2d(x, *weights(layer), **how).clamp(min=0)

    def normalised(x):
        squares = functional.pad(x * x, (0, 0, 0, 0, 2, 2))
        return x / (1 + 2e-5 * sum(squares[:, i : i + x.shape[1]] for i in range(5))) ** 0.75

    def pooled(x):
        side = x.shape[-1]
        out = -(-(side - 3) // 2) + 1
        x = functional.pad(x, (0, 2 * out + 1 - side, 0, 2 * out + 1 - side), value=float("-inf"))
        return x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))

    def reduced(x):
        return pooled(normalised(x)) if name == "caffe_alexnet" else normalised(pooled(x))

    groups = 1 if name == "gendernet" else 2
    x = reduced(convolved(x, "conv1", stride=4))
    parts = zip(x.chunk(groups, 1), *(value.chunk(groups) for value in weights("conv2")), strict=True)
    halves = [functional.conv2d(part, weight, bias, padding=2) for part, weight, bias in parts]
    x = reduced(torch.cat(halves, 1).clamp(min=0))
    x = convolved(x, "conv3", padding=1)
    if name != "gendernet":
        x = convolved(x, "conv4", padding=1, groups=2)
        x = convolved(x, "conv5", padding=1, groups=2)
    x = pooled(x).flatten(1)
    for layer in ("fc6", "fc7"):
        x = (x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]).clamp(min=0)
    return x @ state["fc8.weight"].T + state["fc8.bias"]


@pytest.mark.parametrize(
    ("name", "generation"), [("caffe_alexnet", 1), ("caffenet", 2), ("gendernet", 1), ("gendernet", 2)]
)
def test_weights_of_caffe_give_what_caffe_computes(tmp_path, name, generation):
    generator = torch.Generator().manual_seed(3)
    state = BUILDERS[name]().state_dict()
    for value in state.values():
        value.normal_(0, 2 / np.sqrt(value[0].numel()), generator=generator)
    found = registry().backbone(name, write(tmp_path / "net.caffemodel", state, generation))
    network = found.build()
    assert not found.notes
    pixels = torch.rand(2, 3, 227, 227, generator=generator)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (found.preprocess.mean, found.preprocess.std))
    # In Caffe: blue first, 0 to 255, less the mean; the file holds the first weights for blue first.
    blue_first = (255 * (pixels - mean)).flip(1)
    in_file = {**state, "conv1.weight": state["conv1.weight"].flip(1)}
    with torch.inference_mode():
        computed = network((pixels - mean) / std)
        expected = reference(blue_first, in_file, name)
    torch.testing.assert_close(computed, expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", CAFFE)
def test_images_are_prepared_as_by_caffe(name):
    found = registry().backbone(name, "random").preprocess
    red, _green, blue = (255 * value for value in found.mean)
    assert found.size == 227
    assert found.std == (1 / 255,) * 3
    expected = (114.9, 78.4) if name == "gendernet" else (122.7, 104.0)
    assert (red, blue) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", ["gendernet", "joyce_cnn"])
def test_files_of_torch_and_safetensors(tmp_path, name):
    first = registry().backbone(name, "random:1").build().state_dict()
    torch.save(first, tmp_path / "net.pth")
    save_file(first, tmp_path / "net.safetensors")
    for file in ("net.pth", "net.safetensors"):
        again = registry().backbone(name, str(tmp_path / file)).build().state_dict()
        assert all(torch.equal(again[key], value) for key, value in first.items())
    other = registry().backbone(name, "random:2").build().state_dict()
    assert not torch.equal(other["conv1.weight"], first["conv1.weight"])


def test_a_classifier_for_other_classes_is_left_out(tmp_path):
    state = {**gendernet(num_classes=3).state_dict()}
    renamed = {re.sub("^fc8", "fc8_nuclei", key): value for key, value in state.items()}
    for given in (state, renamed):
        found = registry().backbone("gendernet", write(tmp_path / "net.caffemodel", given))
        network = found.build()
        assert isinstance(network.fc8, nn.Identity)
        assert "fc8" in found.notes[0]
        assert torch.equal(network.fc7.weight, state["fc7.weight"])


def test_weights_of_another_network_of_caffe(tmp_path):
    file = write(tmp_path / "net.caffemodel", gendernet().state_dict())
    with pytest.raises(StoreError, match="does not fit 'caffe_alexnet'") as caught:
        registry().backbone("caffe_alexnet", file).build()
    assert "conv4.weight" in caught.value.message
    assert "conv1.weight is (96, 3, 7, 7), not (96, 3, 11, 11)" in caught.value.message


def test_the_network_of_joyce():
    found = shapes(joyce_cnn(num_classes=7), 128)
    # (128 - 2) / 2 = 63, (63 - 2) / 2 = 30.5, (30 - 2) / 2 = 14.
    assert [found[f"pool{i}"] for i in (1, 2, 3)] == [(32, 63, 63), (64, 30, 30), (128, 14, 14)]
    assert (found["flatten"], found["dense"], found["classifier"]) == ((25_088,), (128,), (7,))
    order = [name.rstrip("1234") for name in found]
    assert order == [*["conv", "relu", "pool", "drop"] * 3, "flatten", "dense", "relu", "drop", "classifier"]
    drops = [module.p for module in joyce_cnn().modules() if isinstance(module, nn.Dropout)]
    assert drops == [0.25, 0.25, 0.25, 0.5]


def test_options_of_the_network_of_joyce():
    name = "joyce_cnn,dense=16,dropout=0.1-0.2-0.3,filters=4-6-8,img_size=32,num_classes=5,padding=same"
    found = registry().backbone(name, "random")
    assert found.preprocess.size == 32
    network = found.build()
    assert network.dense.weight.shape == (16, 8 * 4 * 4)
    assert network.classifier.weight.shape == (5, 16)
    assert [network.get_submodule(f"drop{i}").p for i in (1, 2, 3)] == [0.1, 0.2, 0.3]
    assert [layer.name for layer in found.layers] == ["pool1", "pool2", "pool3"]
    assert registry().backbone("gendernet,in_chans=5", "random").build().conv1.weight.shape == (96, 5, 7, 7)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("filters=4-6", "filters is '4-6', not one number or three joined by '-'"),
        ("padding=full", "padding is 'full'"),
        ("img_size=20", "nothing"),
        ("filter=4", "no builder option 'filter'"),
    ],
)
def test_impossible_options(options, what):
    with pytest.raises(UsageError, match=what) as caught:
        registry().backbone(f"joyce_cnn,{options}", "random").build()
    assert caught.value.next


@pytest.mark.parametrize("name", BUILDERS)
def test_the_last_layer_is_the_map_before_the_dense_ones(name):
    found = registry().backbone(name, "random")
    network = CutNetwork(found, [found.layer("last")], torch.device("cpu"), "float32")
    side, width = found.preprocess.size, found.info["features"]
    assert network(torch.zeros(1, 3, side, side))[found.layer("last").name].shape == (1, width)


def test_weights_that_are_not_published():
    with pytest.raises(StoreError, match="No pretrained weights of 'joyce_cnn' are published"):
        registry().backbone("joyce_cnn").weights_file()


def test_a_mean_image_of_caffe_is_as_good_as_its_numbers(store, images, tmp_path):
    image = np.empty((3, 4, 4))
    image[:] = np.array([51.0, 102.0, 153.0]).reshape(3, 1, 1)
    file = tmp_path / "mean.binaryproto"
    file.write_bytes(blob(image))
    histokit.ingest(store, "folder", images, name="d")
    asked = {"layers": "last", "weights": ["random"]}
    made = [
        histokit.extract(store, "d", "joyce_cnn,img_size=32", preprocess=[mean], **asked).tables[0]
        for mean in (f"mean={file}", "mean=0.6,0.4,0.2", "mean=0.2,0.4,0.6")
    ]
    assert [(table["computed"], table["cached"]) for table in made] == [(24, 0), (0, 24), (24, 0)]


def test_the_clauses_of_a_backbone():
    def load(request):
        return registry().backbone(request.name, request.weights)

    check_backbone(load, "joyce_cnn")
    check_backbone(load, "gendernet")
