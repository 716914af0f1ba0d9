"""Reading weights and putting them into networks."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from histokit.errors import StoreError
from histokit.plugin.checkpoint import load_state, read_state


class Net(nn.Module):
    def __init__(self, classes: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


@pytest.fixture
def state():
    torch.manual_seed(1)
    return Net().state_dict()


def fill(network, state, tmp_path):
    return load_state(network, state, name="net", origin=tmp_path / "net.pth", heads=["fc"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"lr": 0.1}},
        lambda s: {"student": {"conv.weight": torch.zeros(1)}, "teacher": s},
        lambda s: {"model": {"state_dict": s}},
    ],
)
def test_wrapped_checkpoints_are_unwrapped(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "net.pth")
    read = read_state(tmp_path / "net.pth")
    assert read.keys() == state.keys()
    assert torch.equal(read["conv.weight"], state["conv.weight"])


def test_safetensors_are_read(tmp_path, state):
    save_file(state, tmp_path / "net.safetensors")
    assert torch.equal(read_state(tmp_path / "net.safetensors")["fc.bias"], state["fc.bias"])


def test_pickled_code_is_not_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "net.pth").write_bytes(pickle.dumps({"state_dict": Harmful()}))
    with pytest.raises(StoreError):
        read_state(tmp_path / "net.pth")
    torch.save({"model": Net()}, tmp_path / "whole.pth")
    with pytest.raises(StoreError, match="Python objects besides tensors"):
        read_state(tmp_path / "whole.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["net.pth", "net.bin", "net.safetensors"])
def test_a_file_cut_short(tmp_path, state, name):
    whole = tmp_path / f"whole{name}"
    if name.endswith("safetensors"):
        save_file(state, whole)
    else:
        torch.save(state, whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:200])
    with pytest.raises(StoreError, match="net"):
        read_state(tmp_path / name)


def test_a_file_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(StoreError, match="holds no weights"):
        read_state(tmp_path / "net.pth")


def test_an_unknown_format(tmp_path):
    with pytest.raises(StoreError, match="no known format"):
        read_state(tmp_path / "net.h5")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_prefixes_are_stripped(tmp_path, state, prefix):
    network = Net()
    assert fill(network, {prefix + k: v for k, v in state.items()}, tmp_path) == []
    assert torch.equal(network.conv.weight, state["conv.weight"])


def test_halves_are_widened(tmp_path, state):
    network = Net()
    fill(network, {k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path)
    assert network.conv.weight.dtype == torch.float32
    assert torch.equal(network.conv.weight, state["conv.weight"].half().float())


def test_a_missing_head_is_an_identity_and_said(tmp_path, state):
    network = Net()
    notes = fill(network, {k: v for k, v in state.items() if not k.startswith("fc")}, tmp_path)
    assert isinstance(network.fc, nn.Identity)
    assert notes == ["net.pth has no fc.weight, fc.bias: the network is used without that classifier head"]
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_a_head_for_other_classes_is_left_out(tmp_path, state):
    network = Net(classes=5)
    (note,) = fill(network, state, tmp_path)
    assert "of this shape" in note
    assert isinstance(network.fc, nn.Identity)


def test_a_superfluous_head_is_left_out_and_said(tmp_path, state):
    (note,) = fill(Net(), {**state, "dino_head.mlp.weight": torch.zeros(2)}, tmp_path)
    assert "dino_head.mlp.weight" in note


def test_counters_of_batches_may_be_missing(tmp_path, state):
    assert fill(Net(), {k: v for k, v in state.items() if "num_batches" not in k}, tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv.bias"), "1 missing: conv.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 superfluous: extra"),
        (lambda s: s.update({"conv.bias": torch.zeros(7)}), r"1 of another shape: conv.bias is \(7,\), not \(4,\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, state, change, message):
    network = Net()
    before = network.bn.bias.clone(), network.conv.weight.clone()
    change(state)
    with pytest.raises(StoreError, match=message):
        fill(network, state, tmp_path)
    assert torch.equal(network.conv.weight, before[1])
    assert isinstance(network.fc, nn.Linear)


def test_many_keys_are_counted(tmp_path):
    with pytest.raises(StoreError, match="and 2 more"):
        fill(Net(), {"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}, tmp_path)
