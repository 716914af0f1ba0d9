"""Networks of timm: names, options, cut points, preprocessing and weights."""

import json
import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

import histokit
from histokit.errors import DataError, PluginError, StoreError, UsageError
from histokit.features import open_store
from histokit.plugin.manager import registry
from histokit.plugin.pooling import pool
from histokit.plugin.weights import offline

#: One small network of every kind, and its cut points as they stand in timm's feature_info, with the pooled map last.
CUTS = {
    "test_resnet": ["act1", "layer1", "layer2", "layer3", "layer4"],
    "mobilenetv2_050": ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6", "bn2"],
    "mobilenetv3_small_050": ["bn1", "blocks.0", "blocks.1", "blocks.3", "blocks.5"],
    "test_convnext": ["stages.0", "stages.1", "stages.2", "stages.3"],
    "test_vit": ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5", "norm"],
    "vit_tiny_patch16_224": ["blocks.2", "blocks.5", "blocks.8", "blocks.11", "norm"],
    "swin_tiny_patch4_window7_224": ["layers.0", "layers.1", "layers.2", "layers.3", "norm"],
    "densenet121": [f"features.{x}" for x in ("norm0", "denseblock1", "denseblock2", "denseblock3", "norm5")],
    "cait_xxs24_224": ["norm"],
}


def backbone(name, weights="random"):
    return registry().backbone(f"timm:{name}", weights)


@pytest.mark.parametrize("name", CUTS)
def test_cut_points(name):
    assert [layer.name for layer in backbone(name).layers] == [m for m in CUTS[name] if m]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv2_035,pad_type=same"])
def test_last_is_what_timm_itself_pools(name):
    network, (found,), expected = vectors_and_timms(name, ["last"])
    # ConvNeXt's head normalises after pooling.
    found = network.head.norm(found[:, :, None, None]).flatten(1) if name == "test_convnext" else found
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "branches"), [("crossvit_tiny_240", 2), ("efficientvim_m1", 4)])
def test_what_the_classifier_sees_of_several_branches_is_their_layers_joined(name, branches):
    _, found, expected = vectors_and_timms(name, [f"norm.{branch}" for branch in range(branches)])
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-5, atol=1e-6)
    assert backbone(name).layer("last").module == f"norm.{branches - 1}"


def vectors_and_timms(name, layers):
    """Return a network, its vectors of two random images at some layers, and what timm gives its classifier."""
    found = backbone(name)
    network, pooled = found.build(), []
    for layer in map(found.layer, layers):
        network.get_submodule(layer.module).register_forward_hook(
            lambda _m, _i, output, layer=layer: pooled.append(pool(output, layer, found.prefix_tokens(network)))
        )
    batch = torch.randn(2, 3, found.preprocess.size, found.preprocess.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(batch)
        vectors = list(pooled)
        return network, vectors, network.forward_head(network.forward_features(batch), pre_logits=True)


def test_pooling_of_a_transformer_is_the_networks_own():
    assert {layer.pool for layer in backbone("test_vit").layers} == {"cls"}
    assert {layer.pool for layer in backbone("test_vit,global_pool=avg").layers} == {"avg"}


def test_maps_with_channels_last_are_known():
    assert all(layer.channels_last for layer in backbone("swin_tiny_patch4_window7_224").layers)
    assert not any(layer.channels_last for layer in backbone("test_convnext").layers)


@pytest.mark.parametrize(("size", "version"), [(224, "1"), (384, "2")])
def test_channels_are_last_where_a_map_has_as_many_as_rows(size, version):
    # Of 384 pixels, the first of its maps is of 96 × 96 positions and 96 channels.
    backbone = registry().backbone(f"timm:swin_tiny_patch4_window7_224,img_size={size}", "random")
    assert [layer.channels_last for layer in backbone.layers] == [True] * 5
    assert backbone.layer("layers.0.blocks.1").channels_last
    assert backbone.layer("patch_embed").channels_last
    assert not backbone.layer("patch_embed.proj").channels_last
    assert backbone.version == version


def test_any_module_is_a_layer_and_pooled_by_its_shape():
    assert backbone("swin_tiny_patch4_window7_224").layer("layers.2.blocks.1").channels_last
    assert backbone("swin_tiny_patch4_window7_224").layer("layers.2.blocks.1:max").channels_last
    assert backbone("test_vit").layer("blocks.3.mlp").pool == "cls"
    assert backbone("test_vit").layer("blocks.3:cls-mean").pool == "cls-mean"
    assert backbone("test_resnet").layer("layer2.0.conv1").pool == "avg"
    assert backbone("test_resnet").layer("fc").pool == "none"
    assert registry().backbone("resnet50", "random").layer("layer3.5.act3").module == "layer3.5.act3"
    with pytest.raises(UsageError) as caught:
        backbone("test_resnet").layer("layer5")
    assert "'layer4'" in caught.value.next
    with pytest.raises(UsageError, match="Pooling 'mean'"):
        backbone("test_resnet").layer("last:mean")


@pytest.mark.parametrize(
    ("name", "module", "shape", "around"),
    [
        ("mixer_s32_224", "blocks.0.mlp_tokens", "512, 49", "blocks.0"),
        ("mixer_s32_224", "blocks.0.mlp_tokens.fc1:max", "512, 256", "blocks.0.mlp_tokens"),
        ("resmlp_12_224", "blocks.2.linear_tokens", "384, 196", "blocks.2"),
        ("gmlp_s16_224", "blocks.1.mlp_channels.gate.proj", "768, 196", "blocks.1.mlp_channels.gate"),
        ("test_vit", "blocks.0.attn.q_norm", "2, 101, 32", "blocks.0.attn"),
        ("nest_tiny", "levels.0.transformer_encoder.0", "16, 196, 96", "levels.0.transformer_encoder"),
    ],
)
def test_what_is_turned_or_of_heads_is_no_layer(name, module, shape, around):
    with pytest.raises(UsageError, match=rf"gives \(N, {shape}\), neither a map") as caught:
        backbone(name).layer(module)
    assert f"such as {around}. " in caught.value.next


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("mixer_s32_224", ["stem", "blocks.0.mlp_channels.fc1", "blocks.7.norm2"]),
        ("gmlp_s16_224", ["blocks.1.mlp_channels.gate", "blocks.1.mlp_channels.gate.norm"]),
        ("test_vit", ["blocks.0.attn.qkv", "blocks.0.mlp.fc1", "patch_embed"]),
        # Its attention is over fewer tokens than its blocks have, and its stages have tokens of their own.
        ("pvt_v2_b0", ["stages.0.blocks.0.attn.kv", "stages.2.blocks.0.mlp.fc1"]),
        ("twins_svt_small", ["blocks.0.0.mlp.fc1", "blocks.2.0"]),
        # 64 tokens at the end, and 64 channels of 64 times as many at the beginning.
        ("twins_svt_small,img_size=256", ["blocks.0.0", "blocks.0.0.mlp.fc2"]),
        ("coat_lite_tiny,img_size=256", ["patch_embed1", "serial_blocks1.0", "serial_blocks1.1.mlp"]),
        ("cait_xxs24_224", ["blocks_token_only.0.attn", "blocks.3"]),
        ("nest_tiny", ["levels.0"]),
        ("ecaresnet26t", ["layer1.0.se.conv"]),
    ],
)
def test_what_is_of_tokens_or_positions_is_a_layer(name, modules):
    assert [backbone(name).layer(module).module for module in modules] == modules


def test_preprocessing_is_the_weights_own():
    assert backbone("inception_v3.tf_in1k").preprocess.mean == (0.5, 0.5, 0.5)
    assert backbone("inception_v3.gluon_in1k").preprocess.mean == (0.485, 0.456, 0.406)
    assert backbone("resnet50.tv_in1k").preprocess.interpolation == "bilinear"
    assert backbone("resnet50.tv_in1k").preprocess.resize == "squash"
    assert backbone("test_vit").preprocess.size == 160


def test_options_are_converted_and_used():
    found = backbone("test_resnet,num_classes=7,drop_rate=0.5,aa_layer=none,zero_init_last=false")
    assert found.options == {"num_classes": 7, "drop_rate": 0.5, "aa_layer": None, "zero_init_last": False}
    assert found.build().fc.out_features == 7


def test_an_option_of_the_class_that_another_module_defines():
    # The builder is in timm.models.byoanet, and the class, which takes anything besides, in timm.models.byobnet.
    assert backbone("botnet26t_256,img_size=64").build().num_classes == 1000
    with pytest.raises(UsageError, match="no builder option 'img_sizes'"):
        backbone("botnet26t_256,img_sizes=64").build()
    # The class hands all on to Vision Transformer's, of timm.models.vision_transformer.
    name = "deit_tiny_distilled_patch16_224,depth=1"
    assert backbone(f"{name},img_size=32").build().pos_embed.shape[1] == 2 + 4
    with pytest.raises(UsageError, match="no builder option 'img_sizes'"):
        backbone(f"{name},img_sizes=32").build()


def test_an_option_that_the_builder_does_not_know():
    with pytest.raises(UsageError, match="'timm:test_resnet' has no builder option 'act_laye'") as caught:
        backbone("test_resnet,act_laye=gelu").build()
    assert "Did you mean 'act_layer'" in caught.value.next
    with pytest.raises(UsageError, match="no builder option 'zz'"), offline():
        backbone("resnet18,zz=1", "pretrained").weights_file()
    with pytest.raises(StoreError, match=r"'timm:resnet18,drop_rate=0\.5' cannot be had"), offline():
        backbone("resnet18,drop_rate=0.5", "pretrained").weights_file()
    with pytest.raises(UsageError, match="no builder option 'act_laye'"):
        _ = backbone("test_resnet,act_laye=gelu").layers
    with pytest.raises(UsageError, match="num_classes=x"):
        backbone("test_resnet,num_classes=x").build()
    with pytest.raises(UsageError, match="'features_only'"):
        backbone("test_resnet,features_only=true").build()


@pytest.mark.parametrize(
    ("name", "hint"), [("resnt50", "resnet50"), ("resnet50.tv_in1", "tv_in1k"), ("/no/such/folder", "config.json")]
)
def test_unknown_names_suggest_known_ones(name, hint):
    with pytest.raises((PluginError, StoreError)) as caught:
        _ = backbone(name).layers
    assert hint in caught.value.next


def test_the_number_of_channels_may_change(tmp_path):
    found = backbone("test_resnet,in_chans=5")
    assert len(found.preprocess.mean) == len(found.preprocess.std) == 5
    assert [layer.name for layer in found.layers] == CUTS["test_resnet"]
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "colour.safetensors")
    network = backbone("test_resnet,in_chans=5", str(tmp_path / "colour.safetensors")).build()
    assert next(network.parameters()).shape[1] == 5


def test_random_weights_follow_their_seed_and_leave_no_trace():
    before = torch.get_rng_state()
    one, again, other = (backbone("test_resnet", f"random:{seed}").build() for seed in (1, 1, 2))
    assert torch.equal(one.fc.weight, again.fc.weight)
    assert not torch.equal(one.fc.weight, other.fc.weight)
    assert torch.equal(before, torch.get_rng_state())
    assert backbone("test_resnet").weights == "random:0"
    assert backbone("test_resnet").weights_file() is None


def test_a_built_network_is_in_evaluation_mode_without_gradients():
    network = backbone("test_resnet").build()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "timm.test_resnet.mine.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_a_file_is_loaded_strictly(weights):
    found = backbone("test_resnet", str(weights))
    assert found.weights_file() == weights
    torch.manual_seed(5)
    assert torch.equal(found.build().fc.weight, timm.create_model("test_resnet").fc.weight)
    with pytest.raises(StoreError, match="does not fit 'timm:test_vit'"):
        backbone("test_vit", str(weights)).build()


def test_the_folder_of_weights_is_searched_first(weights, monkeypatch):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(weights.parent))
    assert backbone("test_resnet", "pretrained").supplied_file is None
    for name in ("test_resnet.mine", "test_resnet.mine,drop_rate=0.5"):
        assert backbone(name, "pretrained").weights_file() == weights
    torch.manual_seed(5)
    assert torch.equal(
        backbone("test_resnet.mine", "pretrained").build().fc.weight, timm.create_model("test_resnet").fc.weight
    )
    # The tag of timm's own weights, which the name alone stands for.
    weights.rename(weights.with_name("timm.test_resnet.r160_in1k.safetensors"))
    assert backbone("test_resnet", "pretrained").weights_file().name == "timm.test_resnet.r160_in1k.safetensors"


#: As they were trained: Gluon's with ImageNet's statistics, the others between -1 and 1.
MEANS = {"gluon_in1k": (0.485, 0.456, 0.406), "tf_in1k": (0.5, 0.5, 0.5), "tv_in1k": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize("tag", MEANS)
def test_the_preprocessing_is_that_of_the_tag_in_the_files_name(weights, monkeypatch, tag):
    file = weights.rename(weights.with_name(f"timm.inception_v3.{tag}.safetensors"))
    assert backbone("inception_v3", str(file)).preprocess.mean == MEANS[tag]
    assert backbone("inception_v3", str(file)).preprocess_origin == f"of timm's inception_v3.{tag}"
    # A curated network takes its own weights, or those that the file's name tells.
    assert registry().backbone("inception_v3", str(file)).preprocess.mean == MEANS[tag]
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(weights.parent))
    found = backbone(f"inception_v3.{tag}", "pretrained")
    assert (found.weights_file(), found.preprocess.mean, found.undeclared) == (file, MEANS[tag], ())


def test_only_the_default_tag_is_taken_for_a_name_without_one(weights, monkeypatch):
    assert timm.get_pretrained_cfg("inception_v3").tag == "tv_in1k"
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(weights.parent))
    for tag in MEANS:
        (weights.parent / f"timm.inception_v3.{tag}.safetensors").touch()
    assert backbone("inception_v3", "pretrained").weights_file().name == "timm.inception_v3.tv_in1k.safetensors"
    (weights.parent / "timm.inception_v3.tv_in1k.safetensors").unlink()
    found = backbone("inception_v3", "pretrained")
    assert found.supplied_file is None
    (note,) = found.weights_notes
    assert "timm.inception_v3.tf_in1k.safetensors (tag 'tf_in1k'), not taken" in note


def test_a_file_of_other_weights_than_asked_for_is_refused(weights):
    file = weights.rename(weights.with_name("timm.inception_v3.tf_in1k.safetensors"))
    with pytest.raises(UsageError, match=r"'tf_in1k' by its name.* asks for 'gluon_in1k'") as caught:
        _ = backbone("inception_v3.gluon_in1k", str(file)).preprocess
    assert "timm:inception_v3.tf_in1k" in caught.value.next


def test_a_tag_that_timm_does_not_know_leaves_mean_and_std_open(weights, monkeypatch):
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(weights.parent))
    assert backbone("test_resnet.mine", "pretrained").undeclared == ("mean", "std")
    weights.with_suffix(".json").write_text('{"mean": [0.1, 0.2, 0.3]}')
    assert backbone("test_resnet.mine", "pretrained").undeclared == ("std",)
    weights.with_suffix(".json").write_text('{"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}')
    found = backbone("test_resnet.mine", "pretrained")
    assert (found.undeclared, found.preprocess.mean) == ((), (0.1, 0.2, 0.3))
    assert found.preprocess_origin == f"of {weights.with_suffix('.json')}"


def test_statistics_of_another_number_of_channels_than_the_network_takes(weights):
    weights.with_suffix(".json").write_text('{"mean": [0.5], "std": [0.5]}')
    with pytest.raises(DataError, match=r"mine\.json: mean and std are of 1 channels; 'timm:test_resnet' takes 3"):
        _ = backbone("test_resnet", str(weights)).preprocess


def test_json_beside_the_file_sets_preprocessing(weights):
    weights.with_suffix(".json").write_text('{"mean": [0.1, 0.2, 0.3], "size": 64}')
    found = backbone("test_resnet", str(weights)).preprocess
    assert (found.mean, found.size, found.interpolation) == ((0.1, 0.2, 0.3), 64, "bilinear")


def test_position_embeddings_of_another_size_are_resampled_by_timm(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    found = backbone("test_vit,img_size=64", str(tmp_path / "vit.safetensors"))
    assert found.preprocess.size == 64
    assert found.build().pos_embed.shape[1] == 16 + 1


@pytest.fixture
def model_folder(tmp_path):
    from timm.models import save_for_hf

    torch.manual_seed(6)
    folder = tmp_path / "my-model"
    network = timm.create_model("test_resnet", num_classes=4)
    save_for_hf(network, folder, safe_serialization=True)
    document = json.loads((folder / "config.json").read_text())
    document["pretrained_cfg"].update(mean=[0.6, 0.6, 0.6], input_size=[3, 96, 96])
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def test_a_folder_with_configuration_and_weights(model_folder):
    torch.manual_seed(6)
    expected = timm.create_model("test_resnet", num_classes=4)
    found = registry().backbone(f"timm:{model_folder}")
    assert found.weights_file() == model_folder / "model.safetensors"
    assert torch.equal(found.build().fc.weight, expected.fc.weight)
    assert [layer.name for layer in found.layers] == CUTS["test_resnet"]
    assert registry().backbone(f"timm:{model_folder}", "random").weights_file() is None


def test_a_last_map_of_one_position_is_a_layer(model_folder):
    document = json.loads((model_folder / "config.json").read_text())
    document["pretrained_cfg"]["input_size"] = [3, 32, 32]
    (model_folder / "config.json").write_text(json.dumps(document))
    found = registry().backbone(f"timm:{model_folder}")
    assert found.preprocess.size == 32
    assert [layer.name for layer in found.layers] == CUTS["test_resnet"]
    assert found.layer("last").module == "layer4"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model_args": {"act_laye": "gelu"}}, UsageError, r"no builder option 'act_laye' in .*config\.json"),
        ({"model_args": [1]}, DataError, r"config\.json: model_args is \[1\], not a JSON object"),
        ({"num_classes": "four"}, DataError, r'config\.json: num_classes is "four", not a whole number'),
        ({"model_args": {"num_classes": "four"}}, UsageError, r"num_classes=four, .* in .*config\.json"),
        ({"pretrained_cfg": 5}, DataError, r"config\.json: pretrained_cfg is 5"),
        ({"pretrained_cfg": {"mean": 0.5}}, DataError, r"config\.json: mean is 0\.5"),
    ],
)
def test_a_configuration_of_another_shape_is_named_with_file_and_field(model_folder, change, error, message):
    document = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(error, match=message):
        _ = registry().backbone(f"timm:{model_folder}").layers


def test_a_folder_as_weights_sets_preprocessing(model_folder):
    found = backbone("test_resnet,num_classes=4", str(model_folder))
    assert (found.preprocess.mean, found.preprocess.size) == ((0.6, 0.6, 0.6), 96)
    assert found.weights_file() == model_folder / "model.safetensors"
    assert found.build().fc.out_features == 4


def test_a_configuration_is_of_the_main_file_beside_it(model_folder):
    found = backbone("test_resnet", str(model_folder / "model.safetensors"))
    assert (found.preprocess.mean, found.preprocess.size) == ((0.6, 0.6, 0.6), 96)
    assert found.preprocess_origin == f"of {model_folder / 'config.json'}"
    other = (model_folder / "model.safetensors").rename(model_folder / "other.safetensors")
    assert backbone("test_resnet", str(other)).preprocess.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "trained", "arguments"),
    [
        ("timm:test_resnet", "timm", {"act_layer": "silu", "output_stride": 8}),
        ("timm:test_resnet,drop_rate=0.1", "timm", {"act_layer": "silu"}),
        ("torchvision:mobilenet_v2", "torchvision", {"width_mult": 0.25}),
    ],
)
def test_a_network_is_built_as_the_file_beside_its_weights_says(tmp_path, name, trained, arguments):
    model, file = name.partition(":")[2].partition(",")[0], tmp_path / "net.safetensors"
    builders = {"timm": timm.create_model, "torchvision": torchvision.models.get_model}
    expected = builders[trained](model, **arguments).eval()
    save_file(expected.state_dict(), file)
    document = {"architecture": model, "model_args": arguments, "global_pool": "avg"}
    file.with_suffix(".json").write_text(json.dumps(document))
    found = registry().backbone(name, str(file))
    assert found.file_arguments == arguments
    (note,) = found.weights_notes
    assert f"built with {next(iter(arguments))}=" in note
    assert str(file.with_suffix(".json")) in note
    batch = torch.randn(2, 3, 64, 64)
    assert torch.allclose(found.build()(batch), expected(batch), atol=1e-5)


def test_an_option_in_the_name_goes_before_the_file(weights):
    weights.with_suffix(".json").write_text('{"model_args": {"act_layer": "silu"}, "global_pool": "avg"}')
    found = backbone("test_resnet,act_layer=gelu", str(weights))
    assert found.file_arguments == {}
    assert {"GELU"} == {type(m).__name__ for m in found.build().modules()} & {"GELU", "SiLU", "ReLU"}


def test_a_network_of_a_fixed_input_is_built_for_the_size_in_the_file(tmp_path):
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", img_size=64, global_pool="avg").state_dict(), file)
    document = {"architecture": "test_vit", "global_pool": "avg", "pretrained_cfg": {"input_size": [3, 64, 64]}}
    file.with_suffix(".json").write_text(json.dumps(document))
    found = backbone("test_vit", str(file))
    assert (found.preprocess.size, found.layers[-1].pool) == (64, "avg")
    assert found.build()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ({"architecture": "test_vit"}, UsageError, r"of 'test_vit', and 'timm:test_resnet' is another network"),
        ({"architecture": 5}, DataError, r"architecture is 5, not the name of a network"),
        ({"num_features": 99}, DataError, r"num_features is 99; 'timm:test_resnet' has 96"),
        ({"num_features": "many"}, DataError, r'num_features is "many", not a whole number'),
        ({"model_args": [1]}, DataError, r"model_args is \[1\], not a JSON object"),
        ({"model_args": {"act_laye": "silu"}}, UsageError, r"no builder option 'act_laye' in .*mine\.json"),
        ({"model_args": {"pretrained": True}}, UsageError, r"'pretrained' is no builder option"),
        ({"model_args": {"channels": [8, 8, 8, 8]}}, StoreError, r"does not fit"),
    ],
)
def test_what_a_file_says_of_the_network_is_never_passed_over(weights, document, error, message):
    weights.with_suffix(".json").write_text(json.dumps(document))
    with pytest.raises(error, match=message) as caught:
        backbone("test_resnet", str(weights)).build()
    assert caught.value.next


def test_a_hub_model_takes_its_configuration_from_a_folder(model_folder):
    found = registry().backbone("timm:hf-hub:someone/something", str(model_folder))
    assert [layer.name for layer in found.layers] == CUTS["test_resnet"]
    assert found.build().fc.out_features == 4


def test_a_configuration_that_is_not_timms(model_folder):
    (model_folder / "config.json").write_text('{"architectures": ["ViTModel"]}')
    with pytest.raises(StoreError, match="names no architecture"):
        _ = registry().backbone(f"timm:{model_folder}").layers


def test_all_models_can_be_listed():
    names = list(registry().backbones["timm:"][0].names())
    assert "resnet50" in names
    assert len(names) > 1000


def ingested_pixels(folder, height, width):
    """Two images of noise, which are the dataset ``d`` of the store ``s``."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    histokit.ingest(folder / "s", "folder", folder, name="d", options={"pattern": "{number}.png"})
    return pixels


def test_a_module_before_the_class_token_is_averaged_over_all_patches(tmp_path):
    """The first of its tokens is the upper left corner of the image, and no class token."""
    name = "timm:vit_tiny_patch16_224,img_size=64"
    pixels = ingested_pixels(tmp_path, 64, 64)
    found = histokit.extract(tmp_path / "s", "d", name, layers=["patch_embed", "patch_embed:max"], weights="random:0")
    assert found.addresses == (f"{name}/patch_embed", f"{name}/patch_embed:max")
    network = registry().backbone(name, "random:0").build()
    values = torch.from_numpy((pixels.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5).float()
    with torch.no_grad():
        patches = network.patch_embed(values)
    assert patches.shape[1] == 16
    store = open_store(tmp_path / "s")
    for address, expected in zip(found.addresses, (patches.mean(1), patches.amax(1)), strict=True):
        np.testing.assert_allclose(store.features("d", address).X, expected, rtol=1e-3, atol=1e-4)


def test_patches_of_images_that_are_not_square_are_told_from_the_class_token_by_their_ratio(tmp_path):
    """16 tokens are 4 rows of a square image, and 3 × 5 patches behind a class token where it has 48 × 80 pixels."""
    name = "timm:vit_tiny_patch16_224,img_size=64,dynamic_img_size=true"
    pixels = ingested_pixels(tmp_path, 48, 80)
    layers = ["last", "last:avg", "patch_embed"]
    as_they_are = {"resize": "none"}
    found = histokit.extract(tmp_path / "s", "d", name, layers=layers, weights="random:0", preprocess=as_they_are)
    network = registry().backbone(name, "random:0").build()
    values = torch.from_numpy((pixels.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5).float()
    with torch.no_grad():
        tokens = network.forward_features(values)
        patches = network.patch_embed(values).flatten(1, 2)
    assert tokens.shape[1] == 16
    store = open_store(tmp_path / "s")
    for address, expected in zip(found.addresses, (tokens[:, 0], tokens[:, 1:].mean(1), patches.mean(1)), strict=True):
        np.testing.assert_allclose(store.features("d", address).X, expected, rtol=1e-3, atol=1e-4)


UNUSED = {"level3.project.0.weight": torch.ones(64, 64, 1, 1), "level3.project.1.weight": torch.ones(64)}


@pytest.mark.parametrize(
    ("name", "options", "lacks", "besides"),
    [
        ("inception_v3.tv_in1k", {"aux_logits": True}, "none", {}),
        ("dla46x_c", {}, "none", UNUSED),
        ("convnextv2_atto.fcmae", {}, "head.", {}),
        ("vit_base_patch16_siglip_gap_224", {"global_pool": "map"}, "none", {}),
    ],
)
def test_published_weights_that_timm_does_not_load_strictly_are_loaded(tmp_path, name, options, lacks, besides):
    """What they have besides, or lack, is what timm says of them in its sources; the rest is taken as it is."""
    small = {"depth": 1, "embed_dim": 32, "num_heads": 2, "img_size": 32} if name.startswith("vit") else {}
    torch.manual_seed(0)
    whole = timm.create_model(name, **options, **small).eval().half()
    state = {key: value for key, value in whole.state_dict().items() if not key.startswith(lacks)} | besides
    save_file(state, tmp_path / "published.safetensors")
    joined = ",".join([name, *(f"{key}={value}" for key, value in small.items())])
    found = backbone(joined, str(tmp_path / "published.safetensors"))
    network = found.build()
    own = network.state_dict()
    beyond = {key for key in state if key not in own}
    assert beyond == {key for key in state if key.startswith((*besides, "AuxLogits.", "attn_pool."))}
    assert all(torch.equal(value, state[key].float()) for key, value in own.items() if value.is_floating_point())
    assert len(found.notes) == 1


SMALL_VIT = "depth=1,embed_dim=32,num_heads=2,img_size=32"


@pytest.mark.parametrize(
    ("name", "pattern", "published"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2"),
        ("crossvit_tiny_240", "^(pos_embed|cls_token)_", r"\1."),
        (f"deit3_small_patch16_224,{SMALL_VIT}", r"ls(\d)\.gamma", r"gamma_\1"),
    ],
)
def test_names_that_published_weights_have_and_timm_changes(tmp_path, name, pattern, published):
    """Those of torchvision's DenseNets (a function of one argument), and of the authors of CrossViT and DeiT III."""
    torch.manual_seed(0)
    expected = {key: value.half() for key, value in backbone(name).build().state_dict().items()}
    state = {re.sub(pattern, published, key): value.clone() for key, value in expected.items()}
    assert set(state) != set(expected)
    save_file(state, tmp_path / "published.safetensors")
    found = backbone(name, str(tmp_path / "published.safetensors")).build().state_dict()
    assert all(torch.equal(found[key], value.to(found[key].dtype)) for key, value in expected.items())
