"""What is asked of one backbone among several."""

import pytest

from histokit.errors import UsageError
from histokit.features import open_store
from histokit.networks import resolve
from histokit.networks.requests import preprocess_by_backbone, weights_by_backbone

NAMES = ("squeezenet1_1", "timm:mobilenetv1_100,pad_type=same")


def test_of_a_file_for_one_of_several_the_advice_says_how_to_ask_and_leaves_the_others_as_they_are():
    with pytest.raises(UsageError, match="does not say which of the 2 backbones") as caught:
        weights_by_backbone(NAMES, ["a.safetensors"])
    advice = caught.value.next
    assert "--weights BACKBONE=a.safetensors" in advice
    assert "--preprocess BACKBONE/KEY=VALUE" in advice
    assert advice.endswith(f"BACKBONE is {NAMES[0]} or {NAMES[1]}.")
    weights = weights_by_backbone(NAMES, [f"{NAMES[1]}=a.safetensors"])
    assert weights == {NAMES[0]: "pretrained", NAMES[1]: "a.safetensors"}
    found = preprocess_by_backbone(NAMES, [f"{NAMES[1]}/mean=0.5,0.5,0.5"])
    assert found == {NAMES[0]: {}, NAMES[1]: {"mean": "0.5,0.5,0.5"}}


def test_what_former_code_remembered_of_the_layers_of_a_network_is_found_out_anew(tmp_path, monkeypatch):
    """It took the first patch for a class token, and rows of a map for its channels."""
    store, name = open_store(tmp_path), "timm:vit_tiny_patch16_224,img_size=64"
    with monkeypatch.context() as former:
        former.setattr(resolve, "_MEMORY", 5)
        resolve.resolve_backbone(store, name, "random:0", {}, ["patch_embed"])
        key = resolve._key(store, name, "random:0")
        known = store.remembered(key)
        known["found"]["patch_embed"]["pool"] = "cls"
        store.remember(key, known)
    (layer,) = resolve.resolve_backbone(store, name, "random:0", {}, ["patch_embed"]).chosen
    assert layer.pool == "avg"
