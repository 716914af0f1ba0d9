"""The curated models: every row is run on shapes alone, and compared with what its library says."""

import re
import subprocess
import sys
from functools import cache

import pytest
import torch

from histokit.backbones import register_backbones
from histokit.backbones.paper_backbones import PaperBackbone
from histokit.backbones.rows import FILE, rows
from histokit.backbones.timm_networks import TimmBackbone
from histokit.backbones.torchvision_networks import TorchvisionBackbone
from histokit.plugin.backbone import BackboneRequest
from histokit.plugin.pooling import pool

CLASSIC = {name: row for name, row in rows().items() if row.library == "timm" and "." in row.model}
FOUNDATION = {name: row for name, row in rows().items() if (row.source.repository or "timm/").split("/")[0] != "timm"}

#: Number of cut points and features in total, by Mormont et al. (2018).
TOTALS = {"resnet50": (17, 15_168), "densenet201": (9, 7_744), "inception_resnet_v2": (16, 17_088)}
#: The networks of that paper, whose last layers have 9,600 features together.
MERGED = ("mobilenet_v1", "densenet201", "inception_resnet_v2", "resnet50", "inception_v3", "vgg19", "vgg16")
#: By the models' cards: blocks, millions of parameters, prefix tokens.
SIZES = {
    "uni": (24, 303, 1),
    "uni2-h": (24, 681, 9),
    "virchow": (32, 631, 1),
    "virchow2": (32, 631, 5),
    "h-optimus-0": (40, 1135, 5),
    "h-optimus-1": (40, 1135, 5),
    "h0-mini": (12, 86, 5),
    "prov-gigapath": (40, 1135, 1),
    "kaiko-s16": (12, 22, 1),
    "kaiko-s8": (12, 22, 1),
    "kaiko-b16": (12, 86, 1),
    "kaiko-b8": (12, 86, 1),
    "kaiko-l14": (24, 304, 5),
    "lunit-s8": (12, 22, 1),
}


def backbone(name, weights="random", **options):
    row = rows()[name]
    cls = {"timm": TimmBackbone, "torchvision": TorchvisionBackbone, "histokit": PaperBackbone}[row.library]
    return cls(BackboneRequest(name, name, options, weights), row)


@cache
def outlined(name):
    """Build a curated network without memory for weights, and pool every cut point of a forward pass."""
    found = backbone(name)
    with torch.device("meta"):
        network = found._create().eval()
    widths = {}
    for layer in found.layers:

        def hook(_module, _inputs, output, layer=layer):
            widths[layer.name] = tuple(pool(output, layer, found.prefix_tokens(network)).shape)

        network.get_submodule(layer.module).register_forward_hook(hook)
    size = found.preprocess.size
    with torch.no_grad():
        network(torch.empty(2, 3, size, size, device="meta"))
    return found, network, widths


@pytest.mark.parametrize("name", rows())
def test_cut_points_are_reached_in_order_and_as_wide_as_said(name):
    found, _network, widths = outlined(name)
    assert list(widths) == [layer.name for layer in found.layers]
    assert all(shape[0] == 2 for shape in widths.values())
    assert list(widths.values())[-1][1] == rows()[name].info["features"]
    assert found.licence
    assert found.layer("last") == found.layers[-1]


@pytest.mark.parametrize("name", TOTALS)
def test_the_cut_points_of_the_paper(name):
    _found, _network, widths = outlined(name)
    assert (len(widths), sum(shape[1] for shape in widths.values())) == TOTALS[name]


def test_the_merged_networks_of_the_paper():
    assert sum(outlined(name)[2][outlined(name)[0].layers[-1].name][1] for name in MERGED) == 9_600


@pytest.mark.parametrize("name", SIZES)
def test_foundation_models_have_the_published_size(name):
    blocks, millions, prefix = SIZES[name]
    found, network, _widths = outlined(name)
    assert len(network.blocks) == blocks
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == millions
    assert found.prefix_tokens(network) == prefix


def test_every_foundation_model_is_compared():
    assert set(SIZES) == set(FOUNDATION)


@pytest.mark.parametrize("name", CLASSIC)
def test_preprocessing_and_source_are_those_of_timm(name):
    row = CLASSIC[name]
    asked = TimmBackbone(BackboneRequest(f"timm:{row.model}", row.model))
    assert row.preprocess == asked.preprocess
    assert row.source.repository == asked.source.repository


@pytest.mark.parametrize("name", [name for name, row in rows().items() if row.library == "torchvision"])
def test_preprocessing_and_source_are_those_of_torchvision(name):
    row = rows()[name]
    asked = TorchvisionBackbone(BackboneRequest(f"torchvision:{row.model}", row.model))
    assert row.preprocess == asked.preprocess
    assert row.source == asked.source
    assert row.layers
    assert list(row.layers) == [layer for layer in asked.layers if layer in row.layers], "in the order of depth"


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "inception_resnet_v2"])
def test_networks_give_one_output_while_they_are_trained(name):
    _found, network, _widths = outlined(name)
    network.train()
    assert tuple(network(torch.empty(2, 3, 299, 299, device="meta")).shape) == (2, 1000)
    network.eval()


def test_auxiliary_classifiers_by_a_builder_option():
    with torch.device("meta"):
        network = backbone("googlenet", aux_logits="true")._create().train()
    given = network(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(output.shape) for output in given] == [(2, 1000)] * 3


def test_inception_resnet_v2_also_takes_224():
    found = backbone("inception_resnet_v2")
    assert found.preprocess.size == 299
    assert found.preprocess.override({"size": "224"}).size == 224


def test_h_optimus_is_normalised_by_its_own_statistics():
    assert backbone("h-optimus-0").preprocess.mean == (0.707223, 0.578729, 0.703617)
    assert backbone("lunit-s8").preprocess.std == (0.21716536, 0.26081574, 0.20723464)


def test_options_reach_the_builder():
    with torch.device("meta"):
        plain, same = backbone("mobilenet_v1")._create(), backbone("mobilenet_v1", pad_type="same")._create()
    assert type(plain.conv_stem).__name__ != type(same.conv_stem).__name__


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "densenet201"', 'name = "resnet50"', "curated.toml has two tables of 'resnet50'"),
        ("operations = 4.09", "operation = 4.09", "the table of 'resnet50' in curated.toml has the unknown operation"),
        ("features = 2048\n", "", "the table of 'resnet50' in curated.toml lacks features"),
        ('library = "timm"', 'library = "tim"', "has library='tim', which is none of timm, torchvision, histokit"),
    ],
)
def test_a_table_that_is_not_whole_is_named(before, after, said, tmp_path, monkeypatch):
    text = FILE.read_text(encoding="utf-8")
    assert before in text
    (tmp_path / FILE.name).write_text(text.replace(before, after, 1), encoding="utf-8")
    monkeypatch.setitem(rows.__wrapped__.__globals__, "FILE", tmp_path / FILE.name)
    with pytest.raises(ValueError, match=re.escape(said)):
        rows.__wrapped__()


def test_every_row_is_registered_and_neither_library_imported():
    told = {}
    register_backbones(lambda name, *_rest, about=None: told.setdefault(name, about))
    assert {*rows(), "texture", "timm:", "torchvision:"} == set(told)
    assert told["uni"] == {**told["uni"], "licence": "CC-BY-NC-ND-4.0, gated", "gated": True}
    assert all(told[name]["about"] and told[name]["licence"] for name in rows())
    code = (
        "import sys\n"
        "from histokit.plugin.manager import registry\n"
        "found = registry().backbone('resnet50')\n"
        "assert len(found.layers) == 17 and found.preprocess.size == 224 and found.licence\n"
        "assert registry().backbone('texture').layers\n"
        "assert not {'torch', 'timm', 'torchvision', 'skimage'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
