"""Presets: their values are those that were published, each with its source; files, plugins and changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from histokit.errors import PluginError, UsageError
from histokit.finetune.optimisers import parameter_groups
from histokit.finetune.presets import load_preset, preset_names
from histokit.finetune.recipe_values import override, value_of
from histokit.networks.initialisation import RULES, initialise
from histokit.networks.trainable import build_trainable
from histokit.plugin import hookimpl
from histokit.plugin.manager import added_plugin, registry
from tests.cli.screens import on_a_terminal

BAYRAMOGLU = {
    "optimiser": "sgd", "lr": 1e-3, "momentum": 0.9, "momentum_form": "caffe", "schedule": "inv", "gamma": 1e-3,
    "power": 0.75, "epochs": 10, "head_lr": 10, "head_bias_lr": 20, "bias_lr": 2, "bias_decay": 0,
    "weight_decay": 5e-4, "train": "all",
}  # fmt: skip
KENSERT = {
    "optimiser": "sgd", "lr": 1e-4, "momentum": 0.9, "schedule": "constant", "epochs": 10, "weight_decay": 0,
    "train": "all", "augment": True,
}  # fmt: skip
KIEFFER = {"optimiser": "sgd", "lr": 1e-4, "momentum": 0.9, "epochs": 200, "augment": True}
MORMONT = {"optimiser": "adam", "betas": (0.99, 0.999), "weight_decay": 0, "schedule": "constant"}
JOYCE = {"optimiser": "adam", "lr": 1e-3, "betas": (0.9, 0.999), "epochs": 6}
BY_LOSS: dict[str, Any] = {"choose_epoch": "validation-loss"}
RAW = ("0.0,0.0,0.0", "0.00392156862745098,0.00392156862745098,0.00392156862745098")

#: Name → backbone, values of the recipe, values of each stage.
EXPECTED: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "bayramoglu2016-alexnet": ("caffe_alexnet", {"batch_size": 100, "preprocess.size": "227"}, [BAYRAMOGLU]),
    "bayramoglu2016-gendernet": ("gendernet", {"batch_size": 100, "preprocess.size": "227"}, [BAYRAMOGLU]),
    "bayramoglu2016-googlenet": ("googlenet", {"batch_size": 50, "preprocess.size": "224"}, [BAYRAMOGLU]),
    "bayramoglu2016-vgg16": ("vgg16,drop_rate=0.5", {"batch_size": 50, "preprocess.size": "224"}, [BAYRAMOGLU]),
    "kieffer2017-vgg16": (
        "vgg16_features",
        {"batch_size": 32, "head.hidden": (256,), "head.layer": "last:flatten", "preprocess.size": "224"},
        [{"train": "head"}, KIEFFER | {"train": "features.24+features.26+features.28"}],
    ),
    "kieffer2017-inception_v3": (
        "inception_v3",
        {"batch_size": 32, "head.hidden": (1024,), "head.layer": "last", "preprocess.size": "224"},
        [{"train": "head"}, KIEFFER | {"train": "Mixed_7b+Mixed_7c"}],
    ),
    "kensert2018-bbbc014": (
        "resnet50",
        {"batch_size": 8, "preprocess.size": "256", "augment.flip": "none", "augment.rotate": False},
        [KENSERT | {"lr": 1e-3, "epochs": 1, "augment": False}],
    ),
    "mormont2018": (
        "densenet201",
        {"choose_epoch": "validation", "preprocess.size": "224", "augment.crop": "random", "augment.flip": "both",
         "augment.rotate": True, "head.hidden": (), "preprocess.resize": "shortest-crop"},
        [MORMONT | {"train": "head", "lr": 1e-2, "epochs": 5}, MORMONT | {"train": "all", "lr": 1e-5, "epochs": 45}],
    ),
    "joyce2024-resnet50": (
        "resnet50", BY_LOSS | {"head.hidden": (512,), "from_scratch": False}, [JOYCE | {"train": "head"}]
    ),
    "joyce2024-cnn": (
        "joyce_cnn", BY_LOSS | {"from_scratch": True, "initialisation": "keras"}, [JOYCE | {"train": "all"}]
    ),
    "modern": ("", {}, [{"train": "all", "schedule": "cosine", "optimiser": "adamw", "head_lr": 5.0}]),
    "default": ("", {"choose_epoch": "validation"}, [{"train": "all", "head_lr": 10.0}]),
    "head-first": ("", {"choose_epoch": "validation"}, [{"train": "head"}, {"train": "all"}]),
}  # fmt: skip
for _net, _size in (("resnet50", "224"), ("inception_v3", "299"), ("inception_resnet_v2", "299")):
    _values = {"batch_size": 8, "class_weight": "balanced", "preprocess.size": _size, "augment.rotate": True,
               "augment.shading": (1, 1, 0.75, 1.25), "augment.blur": 0.5, "augment.noise": 50,
               "augment.noise_probability": 0.5, "preprocess.mean": RAW[0], "preprocess.std": RAW[1]}  # fmt: skip
    EXPECTED[f"kensert2018-{_net}"] = (_net, _values, [KENSERT])


def test_they_are_all_there() -> None:
    assert preset_names() == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_values_are_those_published(name: str) -> None:
    backbone, values, stages = EXPECTED[name]
    preset = load_preset(name)
    assert preset.backbone == backbone
    assert not backbone or backbone.split(",")[0] in registry().backbones
    assert preset.recipe.name == name
    assert {key: value_of(preset.recipe, key) for key in values} == values
    assert len(preset.recipe.stages) == len(stages)
    for stage, expected in zip(preset.recipe.stages, stages, strict=True):
        assert {key: getattr(stage, key) for key in expected} == expected


@pytest.mark.parametrize("scratch", [False, True])
@pytest.mark.parametrize("name", EXPECTED)
def test_every_value_has_its_source(name: str, scratch: bool) -> None:
    if scratch and name.startswith(("kieffer", "mormont", "joyce2024-resnet50")):
        with pytest.raises(UsageError, match="no form for random weights"):
            load_preset(name, from_scratch=True)
        return
    preset = load_preset(name, from_scratch=scratch)
    assert all(source for _, _, source in preset.rows()), preset.rows()
    keys = {key for key, _, _ in preset.rows()}
    unused = [k for k in preset.sources if not k.startswith("scratch.") and k not in keys]
    assert scratch or not unused
    assert preset.recipe.from_scratch is (scratch or name == "joyce2024-cnn")
    assert preset.recipe.initialisation in RULES


@pytest.mark.parametrize(
    ("net", "initialisation"),
    [("alexnet", "caffe-alexnet"), ("gendernet", "gendernet"), ("googlenet", "xavier"), ("vgg16", "xavier")],
)
def test_from_scratch_all_layers_learn_alike(net: str, initialisation: str) -> None:
    recipe = load_preset(f"bayramoglu2016-{net}", from_scratch=True).recipe
    assert recipe.initialisation == initialisation
    (stage,) = recipe.stages
    assert (stage.head_lr, stage.head_bias_lr, stage.bias_lr, stage.lr) == (1, 2, 2, 1e-3)


@pytest.mark.parametrize("name", ["library", "keras", "xavier", "gaussian"])
def test_every_initialisation_of_heads_is_one_of_networks(name: str) -> None:
    recipe = override(load_preset("default").recipe, {"head.initialisation": name})
    head = nn.Linear(50, 1000)
    with torch.no_grad():
        head.weight.fill_(7)
    initialise(head, recipe.head.initialisation, torch.Generator().manual_seed(0))
    # Uniform ones have a third of the square of their limit; that of torch's own is left as it is.
    variance = {"library": 0, "keras": 2 / 1050, "xavier": 1 / 50, "gaussian": 1e-4}[name]
    assert float(head.weight.detach().var()) == pytest.approx(variance, rel=0.05)


def test_from_scratch_has_stages_of_its_own() -> None:
    recipe = load_preset("default", from_scratch=True).recipe
    assert [(stage.train, stage.lr, stage.epochs) for stage in recipe.stages] == [("all", 1e-3, 30)]


def test_values_are_changed_by_their_keys() -> None:
    recipe = load_preset("mormont2018").recipe
    changed = override(
        recipe,
        {"stages.2.lr": "1e-6", "lr": "1e-4", "head.hidden": "256,128", "augment.flip": "none", "epochs": "3",
         "preprocess.size": "299", "betas": "0.9,0.999", "batch_size": "8", "augment": "no", "patience": "2"},
    )  # fmt: skip
    assert [stage.lr for stage in changed.stages] == [1e-4, 1e-6]
    assert [stage.epochs for stage in changed.stages] == [3, 3]
    assert changed.epochs == 6
    assert [stage.augment for stage in changed.stages] == [False, False]
    assert [stage.betas for stage in changed.stages] == [(0.9, 0.999)] * 2
    assert changed.head.hidden == (256, 128)
    assert (changed.augment.flip, changed.augment.rotate) == ("none", True)
    assert changed.preprocess == {**recipe.preprocess, "size": "299"}
    assert (changed.batch_size, changed.patience) == (8, 2)
    assert changed.choose_epoch == recipe.choose_epoch
    assert override(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("lrr", "1", "no value 'lrr'.*Did you mean 'lr'"),
        ("dropout", "0.5", "no value 'dropout'.*Did you mean 'head.dropout'"),
        ("head.drop", "0.5", "no value 'head.drop'.*Did you mean 'head.dropout'"),
        ("stages.2.lrr", "1", "no value 'stages.2.lrr'.*Did you mean 'stages.2.lr'"),
        ("preprocess.sise", "1", "no value 'preprocess.sise'.*Did you mean 'preprocess.size'"),
        ("stages.3.lr", "1", "'mormont2018' has 2 stages: there is no 'stages.3.lr'"),
        ("stages.0.lr", "1", "there is no 'stages.0.lr'"),
        ("from_scratch", "true", "Use --from-scratch"),
        ("lr", "fast", "'mormont2018'.*lr='fast' is not a number"),
        ("lr", "0", r"'mormont2018': stages.1.lr=0.0 is not a number above 0"),
        ("lr", "nan", "stages.1.lr=nan is not a number above 0"),
        ("lr", "inf", "stages.1.lr=inf is not"),
        ("stages.2.epochs", "0", "stages.2.epochs=0 is not a whole number of at least 1"),
        ("head.dropout", "1", "head.dropout=1.0 is not a number of at least 0 and below 1"),
        ("head.hidden", "64,0", "head.hidden=64,0 is not"),
        ("betas", "0.9", "betas=0.9 is not two numbers"),
        ("augment.flip", "vertical", "augment.flip=vertical is not one of none, horizontal, both"),
        ("schedule", "linear", "schedule=linear is not one of"),
        ("warmup_epochs", "1", "warmup_epochs=1.0 is of no use with schedule=constant"),
        ("optimiser", "adamm", "no optimiser 'adamm'"),
        ("layer_decay", "1.5", "layer_decay=1.5 is not a number above 0 and at most 1"),
        ("batch_size", "0", "batch_size=0 is not a whole number of at least 1"),
        ("stages.1.train", "", "stages.1.train= is not a text"),
    ],
)
def test_what_cannot_be_meant_is_named(key: str, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(load_preset("mormont2018").recipe, {key: text})
    assert re.search(said, f"{caught.value.message} {caught.value.next}"), caught.value


def test_values_that_do_not_go_together_are_named() -> None:
    recipe = load_preset("head-first").recipe
    with pytest.raises(UsageError, match=r"stages\.2\.warmup_epochs=10 leaves nothing of 10 epochs"):
        override(recipe, {"stages.2.warmup_epochs": "10"})
    with pytest.raises(UsageError, match=r"stages\.2\.lr_minimum=1 is above lr=0.0001"):
        override(recipe, {"stages.2.lr_minimum": "1"})
    with pytest.raises(UsageError, match=r"mixup=0.2 is of no use with loss=squared"):
        override(recipe, {"loss": "squared", "mixup": "0.2"})
    with pytest.raises(UsageError, match="momentum_form=caffe"):
        override(load_preset("bayramoglu2016-alexnet").recipe, {"optimiser": "nesterov"})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.toml", "batch_size = 4\n[[stages]]\nlr = 1\ntrain = 'head'\n[sources]\nbatch_size = 'me'"
    )
    preset = load_preset(file)
    assert (preset.name, preset.recipe.batch_size, preset.recipe.stages[0].lr) == ("mine", 4, 1.0)
    assert preset.rows() == [("batch_size", 4, "me"), ("stages.1.lr", 1.0, ""), ("stages.1.train", "head", "")]
    copied = write(tmp_path / "copied.toml", load_preset("modern").text)
    assert load_preset(copied).recipe.stages == load_preset("modern").recipe.stages


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch_size = ", "is no TOML"),
        ("bach_size = 3", "no value 'bach_size'"),
        ("batch_size = 'many'", "batch_size='many' is not a whole number"),
        ("batch_size = 2.5", "batch_size='2.5' is not a whole number"),
        ("batch_size = 2020-01-01", "batch_size=2020-01-01 is no text, number or list"),
        ("[batch_size]\na = 1", "no value 'batch_size.a'"),
        ("stages = 3", "no value 'stages'"),
        ("stages = []", "has no stage"),
        ("[[stages]]\nlr = -1", "stages.1.lr=-1.0 is not a number above 0"),
        ("sources = 3", "sources is not a table"),
        ("backbone = 3", "backbone=3 is not a text"),
        ("from_scratch = 'yes'", "from_scratch='yes' is not true or false"),
        ("choose_epoch = 'last'\npatience = 3", "patience=3 is of no use with choose_epoch=last"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_preset(write(tmp_path / "mine.toml", text))
    assert said in caught.value.message
    assert "mine" in caught.value.message or "no value" in said


def test_a_value_at_the_top_of_a_file_is_of_all_stages(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path / "mine.toml", "lr = 0.5\naugment = false\n[[stages]]\n[[stages]]\nlr = 2"))
    rows = [(key, value) for key, value, _ in preset.rows()]
    assert rows[:2] == [("stages.1.lr", 0.5), ("stages.2.lr", 2.0)]
    assert rows[2:] == [("stages.1.augment", False), ("stages.2.augment", False)]


def test_a_file_that_is_not_there_and_a_name_that_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_preset(tmp_path / "none.toml")
    with pytest.raises(PluginError, match="no preset 'modren'") as caught:
        load_preset("modren")
    assert "'modern'" in caught.value.next


class Plugin:
    """A plugin with one recipe."""

    def __init__(self, name: Any, path: Any):
        self.name, self.path = name, path

    @hookimpl
    def register_presets(self, register: Any) -> None:
        register(self.name, self.path)


def test_presets_of_plugins(tmp_path: Path) -> None:
    file = write(tmp_path / "lab.toml", "batch_size = 4")
    with added_plugin(Plugin("lab", file)):
        assert "lab" in preset_names()
        assert load_preset("lab").recipe.batch_size == 4
        file.write_text("batch_size = 0")
        with pytest.raises(PluginError, match="author of added 0"):
            load_preset("lab")
        file.unlink()
        with pytest.raises(PluginError, match="cannot be read"):
            load_preset("lab")
    with added_plugin(Plugin("modern", file)), pytest.raises(PluginError, match="registered twice"):
        load_preset("modern")
    for name, path in ((3, file), ("a/b", file), ("lab", 3), ("lab", "lab.txt")):
        with added_plugin(Plugin(name, path)) as found:
            assert [broken.module for broken in found.broken] == ["added"], (name, path)


def test_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    from histokit.cli import run

    def shown(*arguments: str) -> SimpleNamespace:
        code = run(["presets", *arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    assert all(name in shown("list").out for name in EXPECTED)
    assert {p["name"] for p in json.loads(shown("list", "--json").out)["presets"]} == EXPECTED.keys()
    table = shown("show", "mormont2018").out
    assert "stages.1.betas" in table
    assert "0.99,0.999" in table
    assert "as printed" in table
    document = json.loads(shown("show", "mormont2018", "--json").out)
    assert document["recipe"]["stages"][1]["lr"] == 1e-5
    assert document["sources"]["stages.2.lr"] == "section 4.3"
    assert shown("show", "default", "--toml").out == load_preset("default").text
    assert "histokit's default" in shown("show", "default", "--all").out
    assert "caffe-alexnet" in shown("show", "bayramoglu2016-alexnet", "--from-scratch").out
    assert shown("show", "kieffer2017-vgg16", "--from-scratch").code == 2
    assert shown("show", "default", "--toml", "--all").code == 2
    assert shown("show", "modren").code == 3


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys; from histokit.cli import run; run(['presets', 'list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        # GenderNet with three outputs: 14,208 + 614,656 + 885,120 of its convolutions, 9,634,304 + 262,656 + 1,539.
        ("bayramoglu2016-gendernet", [11_412_483]),
        # 25,088 positions to 256 to 3; then three convolutions of 512 × 512 × 9 with them.
        ("kieffer2017-vgg16", [6_423_555, 6_423_555 + 3 * 2_359_808]),
    ],
)
def test_what_is_trained_of_the_network_of_a_preset(name: str, trained: list[int]) -> None:
    preset = load_preset(name)
    recipe, backbone = preset.recipe, registry().backbone(preset.backbone, "random")
    network, _ = build_trainable(
        backbone, recipe.head.layer, hidden=recipe.head.hidden, dropout=recipe.head.dropout, outputs=3, inputs=3,
        preprocess=backbone.preprocess.override(recipe.preprocess), classes=(), channels=(), facts={},
    )  # fmt: skip
    groups = [parameter_groups(network, stage) for stage in recipe.stages]
    assert [sum(p.numel() for group in stage for p in group["params"]) for stage in groups] == trained


def test_stages_that_others_took_the_place_of_leave_no_value_and_no_source() -> None:
    stated = {key: source for key, _, source in load_preset("head-first").rows()}
    assert stated["stages.1.augment"] == "assumed: so that features are computed once"
    every = {
        key: (value, source) for key, value, source in load_preset("head-first", from_scratch=True).rows(every=True)
    }
    assert every["stages.1.augment"] == (True, "histokit's default")
    assert not any(key.startswith("stages.2.") for key in every)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_preset_is_a_table_at_eighty_columns(name: str) -> None:
    screen = on_a_terminal(80, "presets", "show", name)
    heads = [line for line in screen.lines if line.split() == ["key", "value", "source"]]
    assert len(heads) == 1, "neither records nor sources below their rows"
    assert not any(line.strip().startswith("source: ") for line in screen.lines)
    assert all(len(line) <= 80 for line in screen.lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[sources]\nlearning_rate = "section 2"\n', "[sources] tells of 'learning_rate', which no recipe has"),
        ("[scratch]\nhead.initialisation = 'abc'\n", "head.initialisation=abc is not one of"),
        ("[scratch]\nlrr = 3\n", "A recipe has no value 'lrr'"),
    ],
)
def test_what_is_not_asked_for_in_a_file_is_looked_at_too(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_preset(path)
    assert says in caught.value.message
    assert "mine" not in caught.value.next, "there is no preset of that name"
