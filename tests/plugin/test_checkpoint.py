"""Reading weights and putting them into networks."""

import argparse
import io
import pickle
import re
import warnings
import zipfile
from collections import defaultdict
from pathlib import PurePath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from histokit.errors import DataError, StoreError
from histokit.plugin.checkpoint import load_state, load_states, read_state, read_states


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
        lambda s: {"epoch": 3, "state_dict": s, "best": torch.tensor(71.2)},
        lambda s: {"net": s},
        lambda s: {"anything": {"weights": s}},
        lambda s: {"state_dict": s, "args": argparse.Namespace(lr=0.1), "best": np.float64(71.2), "at": PurePath("x")},
        lambda s: {"state_dict": s, "state_dict_ema": {k: v + 1 for k, v in s.items()}},
        lambda s: {"ema": {k: v + 1 for k, v in s.items()}, "model": defaultdict(list, s)},
        lambda s: (s, 3),
        lambda s: [{"epoch": 3}, {"state_dict": s}, {"state": {0: {"exp_avg": torch.zeros(1)}}}],
        lambda s: {"model": s, "ema": [torch.zeros(1)], "history": [0.1, 0.2]},
    ],
)
def test_wrapped_checkpoints_are_unwrapped(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "net.pth")
    read = read_state(tmp_path / "net.pth")
    assert read.keys() == state.keys()
    assert torch.equal(read["conv.weight"], state["conv.weight"])


@pytest.mark.parametrize(
    "options", [{"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 2}]
)
@pytest.mark.parametrize("name", ["net.pth", "net.bin", "best.pth.tar", "last.ckpt", "net.safetensors", "net"])
def test_what_a_file_is_does_not_depend_on_its_name(tmp_path, state, name, options):
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / name, **options)
    assert torch.equal(read_state(tmp_path / name)["conv.weight"], state["conv.weight"])
    save_file(state, tmp_path / name)
    assert torch.equal(read_state(tmp_path / name)["conv.weight"], state["conv.weight"])


def test_safetensors_are_read(tmp_path, state):
    save_file(state, tmp_path / "net.safetensors")
    assert torch.equal(read_state(tmp_path / "net.safetensors")["fc.bias"], state["fc.bias"])


def test_pickled_code_is_not_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "net.pth").write_bytes(pickle.dumps({"state_dict": Harmful()}))
    with pytest.raises(DataError, match=r"a Python pickle that torch\.save did not write"):
        read_state(tmp_path / "net.pth")
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"model": Net()}, tmp_path / "whole.pth", **options)
        with pytest.raises(DataError, match="Python objects besides tensors"):
            read_state(tmp_path / "whole.pth")
        torch.save({"state_dict": {"w": torch.ones(1)}, "harm": Harmful()}, tmp_path / "net.pth", **options)
        assert read_state(tmp_path / "net.pth") == {"w": torch.ones(1)}
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["net.pth", "net.bin", "net.safetensors"])
def test_a_file_cut_short(tmp_path, state, name):
    whole = tmp_path / f"whole{name}"
    if name.endswith("safetensors"):
        save_file(state, whole)
    else:
        torch.save(state, whole)
    for kept in (200, 900):
        (tmp_path / name).write_bytes(whole.read_bytes()[:kept])
        with pytest.raises(DataError, match="net") as caught:
            read_state(tmp_path / name)
        assert "cut short" in caught.value.next


def test_a_file_without_weights(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(DataError, match="holds no weights"):
        read_state(tmp_path / "net.pth")


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            # Of a fixed date: the name of a test is made of these bytes.
            archive.writestr(zipfile.ZipInfo(name), b"x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "an HTML page"),
        (b"version https://hawser.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
        (b"version http://git-media.io/v/2\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
        (b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\r\nversion https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s1--0.pth\n", "a pointer of git-annex"),
        ("<!DOCTYPE html>".encode("utf-16"), "an HTML page"),
        (b"\xef\xbb\xbfNot found", "a text that begins with 'Not found'"),
        ("Seite nicht gefunden – schade".encode(), "a text that begins with 'Seite nicht gefunden – schade'"),
        (b"<html>", "an HTML page"),
        (b'{"weight_map": {}}', "a JSON text"),
        (b"Entry not found", "a text that begins with 'Entry not found'"),
        (b"", "empty"),
        (bytes(5000), "full of zeros"),
        (b"\x89HDF\r\n\x1a\n....", "an HDF5 file"),
        (b"\x93NUMPY....", "a NumPy array"),
        (b"\x1f\x8b....", "a gzip archive"),
        (zipped("a.txt", "b.txt"), r"a zip archive of a\.txt, b\.txt"),
        (zipped("a.npy"), "an archive of NumPy arrays"),
        (zipped("m/data.pkl", "m/constants.pkl", "m/code/x.py"), "a TorchScript archive"),
        (b"\x08\x07\x12\x07pytorch\x1a\x03", "an ONNX model"),
        (bytes(range(200, 256)) + bytes.fromhex("57fb808b247547db"), "part of a TensorFlow checkpoint"),
        (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        (bytes(range(200, 256)), "of no known format"),
        (len(b"{}" * 50).to_bytes(8, "little") + b"{}", "the beginning of a safetensors file"),
    ],
)
def test_a_file_of_something_else_is_called_what_it_is(tmp_path, content, what):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(DataError, match=rf"net\.pth is {what}") as caught:
        read_state(tmp_path / "net.pth")
    assert caught.value.next


def test_torchscript_as_torch_writes_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Net().eval(), torch.zeros(1, 3, 8, 8)), tmp_path / "net.pt")
    with pytest.raises(DataError, match="TorchScript") as caught:
        read_state(tmp_path / "net.pt")
    assert "torch.jit.load" in caught.value.next


def test_part_of_a_tensorflow_checkpoint_by_its_name(tmp_path):
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(bytes(range(200, 256)))
    with pytest.raises(DataError, match="TensorFlow checkpoint"):
        read_state(tmp_path / "model.ckpt.data-00000-of-00001")


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "module.", "backbone.", "module.backbone.", "model.", "_orig_mod.", "encoder.", "net.", "visual.trunk."),
        *("module.encoder_q.", "student.backbone.", "teacher.backbone.", "module.base_encoder.", "_orig_mod.module."),
    ],
)
def test_prefixes_are_stripped(tmp_path, state, prefix):
    network = Net()
    assert fill(network, {prefix + k: v for k, v in state.items()}, tmp_path) == []
    assert torch.equal(network.conv.weight, state["conv.weight"])


def test_what_compiling_puts_in_the_middle_is_taken_out(tmp_path, state):
    torch.save({k.replace("conv.", "conv._orig_mod."): v for k, v in state.items()}, tmp_path / "net.pth")
    assert read_state(tmp_path / "net.pth").keys() == state.keys()


def doubled(state, first, second):
    return {**{first + k: v for k, v in state.items()}, **{second + k: v + 1 for k, v in state.items()}}


@pytest.mark.parametrize(
    ("taken", "other"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("module.base_encoder.", "module.momentum_encoder."),
        ("online_encoder.net.", "target_encoder.net."),
        ("teacher.backbone.", "student.backbone."),
        ("model.", "ema_model."),
        ("", "model_ema."),
        ("trunk.", "trunk_ema."),
        ("trunk.", "trunk_k."),
        ("trunk_k.", "trunk_ema."),
    ],
)
def test_of_several_copies_one_is_taken_by_order_and_the_other_said(tmp_path, state, taken, other):
    both = doubled(state, taken, other)
    for given in (both, dict(reversed(both.items()))):
        network = Net()
        notes = fill(network, given, tmp_path)
        assert torch.equal(network.conv.weight, state["conv.weight"])
        (said,) = [note for note in notes if "weights of the network at" in note]
        assert said.endswith(f"at {taken[:-1] or 'the top'}, taken, and at {other[:-1]}")


def test_copies_under_keys_are_said_too(tmp_path, state):
    torch.save({"state_dict_ema": {k: v + 1 for k, v in state.items()}, "state_dict": state}, tmp_path / "net.pth")
    network = Net()
    (said,) = load_states(network, read_states(tmp_path / "net.pth"), name="net", origin=tmp_path / "net.pth")
    assert said == "net.pth has weights of the network at state_dict, taken, and at state_dict_ema"
    assert torch.equal(network.conv.weight, state["conv.weight"])


@pytest.mark.parametrize(
    ("one", "other"),
    [("last", "best"), ("pretrained", "finetuned"), ("initial_state", "final_state"), ("ema_a", "ema_b")],
)
@pytest.mark.parametrize("wrap", [lambda found: found, lambda found: {"model": found}, lambda found: {"a": {**found}}])
def test_between_copies_that_no_order_tells_apart_nobody_guesses(tmp_path, state, one, other, wrap):
    path, changed = tmp_path / "net.pth", {key: value + 1 for key, value in state.items()}
    for found in ({one: state, other: changed}, {other: changed, one: state}):
        torch.save(wrap(found), path)
        for act in (lambda: read_state(path), lambda: load_states(Net(), read_states(path), name="n", origin=path)):
            with pytest.raises(DataError, match=r"holds 2 sets of weights .*none goes before") as caught:
                act()
            assert {one, other} <= set(re.findall(r"\w+", caught.value.message))
    # The advice works as it stands.
    advice = caught.value.next.partition("Python: ")[2].replace("'one.pth'", repr(str(tmp_path / "one.pth")))
    exec(advice, {"torch": torch})
    assert torch.equal(read_state(tmp_path / "one.pth")["conv.weight"], changed["conv.weight"])


def test_of_several_in_a_list_the_advice_names_one(tmp_path, state):
    path = tmp_path / "net.pth"
    torch.save([state, {key: value + 1 for key, value in state.items()}], path)
    with pytest.raises(DataError, match=r"holds 2 sets of weights .*: 0, 1\.") as caught:
        read_state(path)
    advice = caught.value.next.partition("Python: ")[2].replace("'one.pth'", repr(str(tmp_path / "one.pth")))
    exec(advice, {"torch": torch})
    assert torch.equal(read_state(tmp_path / "one.pth")["conv.weight"], state["conv.weight"])


def test_prefixes_that_no_order_tells_apart_are_named_too(tmp_path, state):
    with pytest.raises(DataError, match=r"2 sets of weights of the network.*: trunk1, trunk2\.") as caught:
        fill(Net(), doubled(state, "trunk1.", "trunk2."), tmp_path)
    assert "k.startswith('trunk1.')" in caught.value.next


def test_copies_that_are_equal_are_one(tmp_path, state):
    torch.save({"best": state, "last": dict(state)}, tmp_path / "net.pth")
    network = Net()
    load_states(network, read_states(tmp_path / "net.pth"), name="net", origin=tmp_path / "net.pth")
    assert torch.equal(network.conv.weight, state["conv.weight"])
    assert read_state(tmp_path / "net.pth").keys() == state.keys()


def test_what_fits_is_taken_where_what_comes_first_does_not(tmp_path, state):
    torch.save({"state_dict": {"other.weight": torch.zeros(1)}, "ema": state}, tmp_path / "net.pth")
    network = Net()
    assert load_states(network, read_states(tmp_path / "net.pth"), name="net", origin=tmp_path / "net.pth") == []
    assert torch.equal(network.conv.weight, state["conv.weight"])


@pytest.mark.parametrize(
    ("prefix", "beside"),
    [
        ("module.encoder_q.", {"module.queue": torch.zeros(2), "module.queue_ptr": torch.zeros(1)}),
        ("backbone.", {"projector.0.weight": torch.zeros(2)}),
        ("", {"projection_head.0.weight": torch.zeros(2), "prototypes.weight": torch.zeros(2)}),
        ("", {"decoder_blocks.0.weight": torch.zeros(2), "mask_token": torch.zeros(2)}),
        ("module.", {"module.fc.0.weight": torch.zeros(2), "n_averaged": torch.tensor(3)}),
        ("", {"conv.total_ops": torch.zeros(1)}),
    ],
)
def test_other_parts_are_left_out_and_said(tmp_path, state, prefix, beside):
    network = Net()
    (note,) = fill(network, {**{prefix + k: v for k, v in state.items()}, **beside}, tmp_path)
    assert torch.equal(network.conv.weight, state["conv.weight"])
    assert "left out" in note
    assert all(key in note or key.rsplit(".", 2)[0] in note for key in beside)


def test_a_head_beside_the_network_is_its_head(tmp_path, state):
    network = Net()
    given = {k if k.startswith("fc") else f"backbone.{k}": v for k, v in state.items()}
    assert fill(network, given, tmp_path) == []
    assert torch.equal(network.fc.weight, state["fc.weight"])


def test_a_prefix_does_not_hide_what_is_missing(tmp_path, state):
    given = {f"module.encoder_q.{k}": v for k, v in state.items()}
    del given["module.encoder_q.bn.weight"]
    with pytest.raises(StoreError, match=r"1 missing: bn\.weight\."):
        fill(Net(), given, tmp_path)
    given |= {"module.encoder_q.bn.weight": torch.ones(4), "module.encoder_q.conv2.weight": torch.ones(1)}
    with pytest.raises(StoreError, match=r"1 superfluous: conv2\.weight"):
        fill(Net(), given, tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_of_a_training_that_failed_are_refused(tmp_path, state, number, dtype):
    broken = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    broken["conv.weight"][0, 0, 0, 0] = number
    with pytest.raises(DataError, match=r"net\.pth holds weights that are NaN or infinite: conv\.weight\."):
        fill(Net(), broken, tmp_path)
    # Large ones are none, and a head that is left out is not looked at.
    large = {**state, "conv.weight": torch.full_like(state["conv.weight"], 3e38), "fc.weight": torch.full((9,), number)}
    assert len(fill(Net(), large, tmp_path)) == 1


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


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda t: (t * 10).to(torch.int8), "is int8"),
        (lambda t: t.to(torch.int32), "is int32"),
        (lambda t: t > 0, "is bool"),
        (lambda t: t.to(torch.complex64), "is complex64"),
        (lambda t: t.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda t: torch.empty_like(t, device="meta"), "is empty"),
        (lambda t: t.to_sparse(), "is sparse"),
    ],
)
def test_tensors_that_hold_no_floating_point_numbers_are_refused(tmp_path, state, made, said):
    strange = {key: made(value) if value.dim() > 1 else value for key, value in state.items()}
    with pytest.raises(StoreError, match=f"of another kind of numbers: .* {said}"):
        load_states(Net(), {(): strange}, name="net", origin=tmp_path / "x.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_of_floating_point_numbers_are_taken(tmp_path, state, dtype):
    network = Net()
    given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    load_states(network, {(): given}, name="net", origin=tmp_path / "x.pth")
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert torch.allclose(network.fc.weight, state["fc.weight"], atol=1e-2)
