"""Networks and mean images of Caffe: every generation of the format, and what is none."""

import numpy as np
import pytest
import torch
from caffe_writer import blob, caffemodel, field, layer, network, varint

from histokit.errors import DataError
from histokit.plugin.caffe_files import read_caffemodel, read_mean
from histokit.plugin.checkpoint import read_state
from histokit.plugin.file_kinds import is_caffe, recognise

ORDER = ("conv1", "conv2", "fc6", "fc8")
SHAPES = {"conv1": (4, 3, 2, 3), "conv2": (6, 2, 3, 3), "fc6": (5, 54), "fc8": (1, 5)}


@pytest.fixture
def state():
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in SHAPES.items():
        found[f"{name}.weight"] = generator.normal(size=shape).astype(np.float32)
        found[f"{name}.bias"] = generator.normal(size=shape[0]).astype(np.float32)
    return found


def same(read, state):
    return read.keys() == state.keys() and all(np.array_equal(read[key].numpy(), state[key]) for key in state)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("generation", [0, 1, 2])
def test_every_generation_is_read(tmp_path, state, generation, double, packed):
    file = tmp_path / "net.caffemodel"
    file.write_bytes(caffemodel(state, ORDER, generation, double=double, packed=packed))
    assert recognise(file) == "caffe"
    read = read_caffemodel(file)
    # A fully connected layer of one output keeps its two sides, which the oldest files do not tell from a bias.
    assert read["fc8.weight"].shape == (1, 5)
    assert {value.dtype for value in read.values()} == {torch.float32}
    assert same(read, state)
    assert same(read_state(file), state)


@pytest.mark.parametrize("generation", [0, 1, 2])
@pytest.mark.parametrize("name", ["", "CaffeNet", "VGG_ILSVRC_16_layers", "n" * 120])
def test_what_a_file_is_does_not_depend_on_its_name(tmp_path, state, generation, name):
    file = tmp_path / "weights"
    file.write_bytes(caffemodel(state, ORDER, generation, name))
    assert is_caffe(file)
    file.write_bytes(caffemodel(state, ORDER, generation)[len(field(1, b"CaffeNet")) :])
    assert is_caffe(file)


def test_colours_are_turned_in_the_first_convolution_alone(tmp_path):
    grey, colours = np.arange(8.0).reshape(2, 1, 2, 2), np.arange(12.0).reshape(1, 3, 2, 2)
    file = tmp_path / "net.caffemodel"
    layers = [layer("a", "conv", [blob(colours)]), layer("b", "conv", [blob(colours)])]
    file.write_bytes(network(layers))
    read = read_caffemodel(file)
    assert read["a.weight"][0, :, 0, 0].tolist() == [8, 4, 0]
    assert read["b.weight"][0, :, 0, 0].tolist() == [0, 4, 8]
    file.write_bytes(network([layer("grey", "conv", [blob(grey)]), *layers]))
    assert read_caffemodel(file)["a.weight"][0, :, 0, 0].tolist() == [0, 4, 8]


def test_all_blobs_of_a_layer_are_there_and_what_is_not_known_is_passed_over(tmp_path):
    numbers = [np.full(2, value, dtype=float) for value in (1, 2, 3)]
    # A field of each kind that no layer has.
    odd = varint(900 << 3 | 1) + bytes(8) + varint(901 << 3 | 5) + bytes(4) + field(902, 7) + field(903, b"xyz")
    own = field(1, b"norm") + field(2, b"BatchNorm") + odd + b"".join(field(7, blob(each)) for each in numbers)
    file = tmp_path / "net.caffemodel"
    file.write_bytes(field(1, b"net") + field(100, own) + odd)
    read = read_caffemodel(file)
    assert {key: value.tolist() for key, value in read.items()} == {
        "norm.weight": [1, 1],
        "norm.bias": [2, 2],
        "norm.2": [3, 3],
    }


def test_many_numbers_with_a_key_each(tmp_path):
    # More than are gathered at a time, and a run that another field breaks.
    array = np.arange(150_000, dtype=np.float32)
    whole = blob(array, packed=False)
    file = tmp_path / "net.caffemodel"
    middle = 5 * 70_001
    file.write_bytes(network([layer("fc", "fc", [whole[:middle] + field(77, 1) + whole[middle:]])]))
    assert read_caffemodel(file)["fc.weight"].reshape(-1).tolist() == array.tolist()


def test_a_file_cut_short(tmp_path, state):
    whole = caffemodel(state, ORDER, 1)
    file = tmp_path / "net.caffemodel"
    for kept in (len(whole) - 1, len(whole) // 2, 400, 60):
        file.write_bytes(whole[:kept])
        with pytest.raises(DataError, match=r"cannot be read as a network of Caffe: .*cut short") as caught:
            read_state(file)
        assert "again" in caught.value.next


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (network([layer("fc", "fc", [blob(np.zeros(4))[:-1] + varint(9)])]), "it holds 4 numbers"),
        (network([layer("conv1", "conv", [field(7, field(1, b"\x02\x03")) + blob(np.zeros(4))])]), "for the shape"),
        (network([layer("fc", "fc", [field(5, bytes(6))])]), "layer 'fc', blob 0: it ends inside a number"),
        (network([layer("fc", "fc", [])]) + field(100, b"\x0b" * 20), "damaged"),
        (network([layer("fc", "fc", [])]) + field(100, b"\xff" * 20), "damaged"),
        (network([layer("fc", "fc", [])]) + bytes(4), "damaged"),
    ],
)
def test_a_damaged_file(tmp_path, data, what):
    file = tmp_path / "net.caffemodel"
    file.write_bytes(data)
    with pytest.raises(DataError, match=what):
        read_state(file)


def test_a_network_without_weights(tmp_path):
    file = tmp_path / "net.caffemodel"
    file.write_bytes(network([layer("fc", "fc", []), layer("relu", "relu", [])]))
    with pytest.raises(DataError, match="holds no weights"):
        read_state(file)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\n\n  Hello, this is text\n", "a text"),
        (b'name: "AlexNet"\nlayer {\n', "a text that begins with 'name:"),
        (b"\n<html>" + b" " * 99, "an HTML page"),
        (field(1, field(1, b"conv/weights") + field(2, b"Const")) * 3, "of no known format"),
        (blob(np.zeros((1, 3, 2, 2)), legacy=True), "an image of Caffe"),
    ],
)
def test_what_is_no_network_of_caffe(tmp_path, data, what):
    file = tmp_path / "net.caffemodel"
    file.write_bytes(data)
    with pytest.raises(DataError, match=what):
        recognise(file)
    assert not is_caffe(file)


def test_the_state_of_a_solver(tmp_path):
    file = tmp_path / "net_iter_100.solverstate"
    file.write_bytes(field(1, 450_000) + field(2, b"net.caffemodel") + field(3, blob(np.zeros(3))))
    with pytest.raises(DataError, match="the state of Caffe's solver") as caught:
        recognise(file)
    assert ".caffemodel" in caught.value.next


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (3, 4, 5), (1, 3, 1, 1)])
def test_a_mean_image_becomes_the_means_of_red_green_and_blue(tmp_path, shape, legacy):
    blue_first = np.array([104.0, 117.0, 123.0]).reshape(3, 1, 1)
    image = np.broadcast_to(blue_first, (3, *shape[-2:])).copy()
    if shape[-1] > 1:
        image[0, 0, :2] += (7.0, -7.0)
    file = tmp_path / "mean.binaryproto"
    file.write_bytes(blob(image.reshape(shape), legacy=legacy))
    assert read_mean(file) == pytest.approx((123 / 255, 117 / 255, 104 / 255), abs=1e-6)


def test_mean_values_and_a_grey_image(tmp_path):
    file = tmp_path / "mean.binaryproto"
    file.write_bytes(blob(np.array([102.0, 51.0, 255.0])))
    assert read_mean(file) == (1.0, 0.2, 0.4)
    file.write_bytes(blob(np.full((1, 1, 8, 8), 51.0), legacy=True))
    assert read_mean(file) == (0.2,)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x08\x01\x10\x03\x2a\xff", "cut short"),
        (blob(np.full((3, 2, 2), 300.0)), "scale of 0 to 255"),
        (blob(np.full((3, 2, 2), np.nan)), "scale of 0 to 255"),
        (blob(np.zeros((2, 3, 2, 2))), "no mean image"),
        (blob(np.zeros((4, 4))), "no mean image"),
        (b"hello", "cannot be read as a mean image"),
        (b"", "it holds 0 numbers"),
    ],
)
def test_what_is_no_mean_image(tmp_path, data, what):
    file = tmp_path / "mean.binaryproto"
    file.write_bytes(data)
    with pytest.raises(DataError, match=what):
        read_mean(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_mean(tmp_path / "absent.binaryproto")
