"""Networks of torchvision: all of its classification models have sensible cut points."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121, get_model, get_model_weights

from histokit.backbones.torchvision_networks import model_names
from histokit.errors import PluginError, UsageError
from histokit.plugin.manager import registry
from histokit.plugin.pooling import pool

INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")

#: One small network of every family; giants of a family have the same modules.
FAMILIES = {
    "alexnet": ["features.2", "features.5", "features.12"],
    "convnext_tiny": [f"features.{i}" for i in range(8)],
    "densenet121": [
        *(f"features.{kind}{i}" for i in (1, 2, 3) for kind in ("denseblock", "transition")),
        "features.denseblock4",
        "features.relu5",
    ],
    "efficientnet_b0": [f"features.{i}" for i in range(9)],
    "googlenet": [
        "conv1",
        "conv2",
        "conv3",
        *(f"inception{x}" for x in INCEPTIONS),
    ],
    "maxvit_t": ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "mnasnet0_5": [*(f"layers.{i}" for i in range(8, 14)), "layers.16"],
    "mobilenet_v2": [f"features.{i}" for i in range(19)],
    "mobilenet_v3_small": [f"features.{i}" for i in range(13)],
    "regnet_x_400mf": ["stem", *(f"trunk_output.block{i}" for i in (1, 2, 3, 4))],
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "shufflenet_v2_x0_5": ["conv1", "stage2", "stage3", "stage4", "conv5"],
    "squeezenet1_1": [f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)],
    "swin_t": [*(f"features.{i}" for i in range(8)), "permute"],
    "vgg11": [f"features.{i}" for i in (2, 5, 10, 15, 20)],
    "vit_b_32": [*(f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 11)), "encoder.ln"],
}


def backbone(name, weights="random"):
    return registry().backbone(f"torchvision:{name}", weights)


def pooled(network, layers, batch):
    found = {}
    for layer in layers:
        network.get_submodule(layer.module).register_forward_hook(
            lambda _m, _i, output, layer=layer: found.__setitem__(layer.name, pool(output, layer))
        )
    with torch.inference_mode():
        network(batch)
    return found


def random_batch(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FAMILIES)
def test_cut_points(name):
    assert [layer.name for layer in backbone(name).layers] == FAMILIES[name]


def test_every_family_is_covered():
    stems = {name.split("_")[0].rstrip("0123456789") for name in FAMILIES}
    others = {"inception", "resnext", "wide"}
    assert {name.split("_")[0].rstrip("0123456789") for name in model_names()} - others == stems


def test_a_transformer_takes_its_class_token():
    assert {layer.pool for layer in backbone("vit_b_32").layers} == {"cls"}


@pytest.mark.parametrize(
    ("name", "side"),
    [("vit_b_16.IMAGENET1K_SWAG_E2E_V1", 384), ("vit_b_16,image_size=64", 64), ("vit_b_16", 224)],
)
def test_a_transformer_is_built_for_the_size_of_its_images(name, side):
    """Torchvision publishes some for 384 pixels, and builds them so where it loads them itself."""
    found = backbone(name)
    assert found.layers[-1].module == "encoder.ln"
    assert found.preprocess.size == side
    assert found.build().encoder.pos_embedding.shape[1] == (side // 16) ** 2 + 1


def test_a_transformer_that_was_trained_is_built_for_the_size_that_it_was_trained_for():
    """Its weights may have been a file of another tag, by whose name alone they were of another size."""
    again = registry().backbone("torchvision:vit_b_32", "random", None, size=64)
    assert again.build().encoder.pos_embedding.shape[1] == 2 * 2 + 1


@pytest.mark.parametrize("size", ["x", "0"])
def test_a_size_that_is_none_is_told(size):
    with pytest.raises(UsageError, match=f"asks for image_size={size}"):
        _ = backbone(f"vit_b_16,image_size={size}").layers


def test_swin_maps_have_their_channels_last():
    assert [layer.channels_last for layer in backbone("swin_t").layers] == [True] * 8 + [False]


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_inception_maps_its_input_itself_and_once(name):
    found = backbone(name)
    weights = next(iter(get_model_weights(name)))
    assert found.preprocess.mean == tuple(weights.transforms().mean) == (0.485, 0.456, 0.406)
    network = found.build()
    assert network.transform_input
    # A mid-grey pixel becomes 0 in the range from -1 to 1 that the convolutions expect.
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (found.preprocess.mean, found.preprocess.std))
    grey = (torch.full((1, 3, 2, 2), 0.5) - mean) / std
    assert network._transform_input(grey).abs().max() < 1e-6


def test_inception_gives_one_output_and_loads_weights_with_auxiliary_heads(tmp_path):
    torch.manual_seed(0)
    state = get_model("googlenet", weights=None, aux_logits=True, init_weights=False).state_dict()
    torch.save(state, tmp_path / "googlenet.pth")
    found = backbone("googlenet", str(tmp_path / "googlenet.pth"))
    network = found.build()
    assert torch.equal(network.conv1.conv.weight, state["conv1.conv.weight"])
    assert len(found.notes) == 1
    assert "aux1" in found.notes[0]
    with torch.inference_mode():
        assert network(random_batch(64)).shape == (2, 1000)


def test_preprocessing_and_weights_are_the_first_published():
    found = backbone("resnet50", "random")
    assert found.source.url.endswith("resnet50-0676ba61.pth")
    assert backbone("resnet50.IMAGENET1K_V2").source.url.endswith("resnet50-11ad3fa6.pth")
    assert backbone("efficientnet_b3").preprocess.size == 300
    assert backbone("efficientnet_b3").preprocess.interpolation == "bicubic"


def test_the_preprocessing_is_that_of_the_tag_in_the_files_name(tmp_path, monkeypatch):
    # These weights are for 384 pixels; the first ones, which the name stands for, for 224.
    tags = {"IMAGENET1K_V1": 224, "IMAGENET1K_SWAG_E2E_V1": 384}
    for tag, size in tags.items():
        file = tmp_path / f"torchvision.vit_b_16.{tag}.safetensors"
        file.touch()
        assert backbone("vit_b_16", str(file)).preprocess.size == size
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(tmp_path))
    for name, tag in (("vit_b_16", "IMAGENET1K_V1"), *((f"vit_b_16.{tag}", tag) for tag in tags)):
        found = backbone(name, "pretrained")
        assert (found.weights_file().name, found.preprocess.size) == (
            f"torchvision.vit_b_16.{tag}.safetensors",
            tags[tag],
        )
    (tmp_path / "torchvision.vit_b_16.mine.safetensors").touch()
    assert backbone("vit_b_16.mine", "pretrained").undeclared == ("mean", "std")


def test_densenets_load_under_the_names_that_were_published(tmp_path):
    torch.manual_seed(0)
    state = get_model("densenet121", weights=None).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121.pth")
    network = backbone("densenet121", str(tmp_path / "densenet121.pth")).build()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_vision_transformers_load_under_the_names_that_were_published(tmp_path):
    """torchvision's own layers give them those of today; a tensor of one number each keeps the file small."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in get_model("vit_b_32", weights=None).state_dict().items()}
    state = {key: torch.tensor(float(number)).expand(shape) for number, (key, shape) in enumerate(shapes.items())}
    old = {
        re.sub(r"\.mlp\.([03])\.", lambda found: f".mlp.linear_{'03'.index(found[1]) + 1}.", k): v
        for k, v in state.items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.weight" in old
    torch.save(old, tmp_path / "vit.pth")
    network = backbone("vit_b_32", str(tmp_path / "vit.pth")).build()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_mnasnet_which_asks_for_its_version_loads_files_that_tell_none(tmp_path):
    torch.manual_seed(0)
    state = get_model("mnasnet0_5", weights=None).state_dict()
    save_file(state, tmp_path / "mnasnet.safetensors")
    network = backbone("mnasnet0_5", str(tmp_path / "mnasnet.safetensors")).build()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_an_option_that_a_class_takes_without_a_word():
    with pytest.raises(UsageError, match="no builder option 'layer_scal'") as caught:
        backbone("convnext_tiny,layer_scal=1").build()
    assert "'layer_scale'" in caught.value.next
    backbone("convnext_tiny,layer_scale=0.5").build()


@pytest.mark.parametrize(("name", "hint"), [("resnt50", "resnet50"), ("resnet50.IMAGENET1K_V3", "IMAGENET1K_V2")])
def test_unknown_names_suggest_known_ones(name, hint):
    with pytest.raises(PluginError) as caught:
        _ = backbone(name).preprocess
    assert hint in caught.value.next


@pytest.mark.parametrize("name", ["densenet121", "vgg11_bn,init_weights=false"])
def test_what_a_later_operation_overwrites_is_pooled_before(name):
    found = backbone(name)
    network, safe = found.build(), found.build()
    for module in safe.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    batch = random_batch(32)
    vectors, expected = pooled(network, found.layers, batch), pooled(safe, found.layers, batch)
    assert all(torch.equal(vectors[layer.name], expected[layer.name]) for layer in found.layers)


def test_the_last_map_of_densenets_is_the_one_that_they_pool():
    """Their last ReLU is no module in torchvision; what is before it stays a layer by its path."""
    found = backbone("densenet121")
    network, plain = found.build(), densenet121(weights=None)
    plain.load_state_dict(network.state_dict())
    plain.eval()
    batch, pooled_there = random_batch(64), []
    plain.classifier.register_forward_pre_hook(lambda _, given: pooled_there.append(given[0]))
    with torch.inference_mode():
        expected = plain(batch)
        assert torch.equal(network(batch), expected)
    before = found.layer("features.norm5")
    vectors = pooled(network, [found.layer("last"), before], batch)
    torch.testing.assert_close(vectors["features.relu5"], pooled_there[0])
    assert vectors[before.name].min() < 0
