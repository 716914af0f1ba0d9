"""Real pretrained weights, real images: the same features as plain PyTorch gives."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from histokit.errors import StoreError
from histokit.plugin.manager import registry
from histokit.plugin.pooling import pool

REAL = os.environ.get("HISTOKIT_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL, reason="HISTOKIT_REAL_DATA names no folder with real data"),
]
WEIGHTS = Path(REAL or "/", "weights")
SAME = "timm:mobilenetv2_100,pad_type=same"
FILES = {
    SAME: "timm.mobilenetv2_100.in1k-tf.safetensors",
    "timm:mobilenetv1_100,pad_type=same": "timm.mobilenetv1_100.in1k-tf-nohead.safetensors",
    "squeezenet1_1": "torchvision.squeezenet1_1.in1k.safetensors",
    "torchvision:squeezenet1_1": "torchvision.squeezenet1_1.in1k.safetensors",
}
TAGGED = {
    "timm:mobilenetv2_100.in1k-tf,pad_type=same": SAME,
    "timm:mobilenetv1_100.in1k-tf-nohead,pad_type=same": "timm:mobilenetv1_100,pad_type=same",
    "torchvision:squeezenet1_1.in1k": "torchvision:squeezenet1_1",
}


@pytest.fixture(scope="module")
def batch():
    paths = sorted(Path(REAL, "data", "idc_breast_patches").rglob("*.png"))[::400]
    images = [Image.open(p).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC) for p in paths]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("name", [*FILES, *TAGGED])
def test_files_are_loaded_strictly_by_name_and_by_folder(name, monkeypatch):
    file = WEIGHTS / FILES[TAGGED.get(name, name)]
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(WEIGHTS))
    found = registry().backbone(name, "pretrained" if name in TAGGED else str(file))
    assert found.weights_file() == file
    state = load_file(file)
    network = found.build()
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in state.items())
    assert [note for note in found.notes if "classifier.weight" not in note] == []


@pytest.mark.parametrize("name", [*FILES, "mobilenet_v1"])
def test_weights_of_another_tag_are_not_taken(name, monkeypatch):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(WEIGHTS))
    assert registry().backbone(name).supplied_file is None


@pytest.mark.parametrize("name", TAGGED)
def test_tags_that_no_library_knows_leave_the_preprocessing_open(name, monkeypatch):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(WEIGHTS))
    assert registry().backbone(name).undeclared == ("mean", "std")


def test_weights_of_one_network_do_not_fit_another():
    with pytest.raises(StoreError, match="does not fit 'squeezenet1_1'"):
        registry().backbone("squeezenet1_1", str(WEIGHTS / FILES[SAME])).build()


def pooled(backbone, batch):
    network = backbone.build()
    found = {}
    for layer in backbone.layers:
        network.get_submodule(layer.module).register_forward_hook(
            lambda _m, _i, output, layer=layer: found.__setitem__(layer.name, pool(output, layer))
        )
    with torch.inference_mode():
        network(batch)
    return found


def test_mobilenet_gives_the_features_of_plain_timm(batch):
    plain = timm.create_model("mobilenetv2_100", pad_type="same")
    plain.load_state_dict(load_file(WEIGHTS / FILES[SAME]))
    plain.eval()
    with torch.inference_mode():
        expected = plain.forward_features(batch * 2 - 1).mean((2, 3))
    found = pooled(registry().backbone(SAME, str(WEIGHTS / FILES[SAME])), batch * 2 - 1)
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6", "bn2"]
    torch.testing.assert_close(found["bn2"], expected, rtol=1e-5, atol=1e-6)


def test_squeezenet_gives_the_features_of_plain_torchvision(batch):
    plain = torchvision.models.squeezenet1_1()
    plain.load_state_dict(load_file(WEIGHTS / FILES["squeezenet1_1"]))
    plain.eval()
    with torch.inference_mode():
        expected = plain.features(batch).mean((2, 3))
    found = pooled(registry().backbone("squeezenet1_1", str(WEIGHTS / FILES["squeezenet1_1"])), batch)
    assert sum(v.shape[1] for v in found.values()) == 2560
    torch.testing.assert_close(found["features.12"], expected, rtol=1e-5, atol=1e-6)
