"""Which weights are used, and how images are prepared for them, is said wherever features are made or listed."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from histokit.errors import ExitCode
from histokit.plugin.weights import seeded

NET = "timm:test_resnet"
SMALL = ["--layers", "last", "--preprocess", "size=32"]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights with one file of a tag that timm does not know."""
    folder = tmp_path / "weights"
    folder.mkdir()
    with seeded(5):
        save_file(timm.create_model("test_resnet").state_dict(), folder / "timm.test_resnet.mine.safetensors")
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


def test_the_file_and_the_preprocessing_are_named(ingested, weights):
    file = weights / "timm.test_resnet.mine.safetensors"
    asked = ["--preprocess", "mean=0.5,0.5,0.5", "--preprocess", "std=0.25,0.25,0.25"]
    command = ["extract", "cells", "--backbone", f"{NET}.mine", *SMALL, *asked]
    line = f"{NET}.mine: weights {file}; 32 pixels, mean 0.5 0.5 0.5, std 0.25 0.25 0.25 (as asked for)"
    for more in ([], ["--dry-run"], []):
        assert line in ingested.ok(*command, *more).err.splitlines()
    for more in (["--dry-run"], []):
        document = ingested.ok(*command, *more, "--json").document
        (network,) = document["networks"]
        assert (network["weights"], network["preprocess"]["std"]) == (str(file), [0.25] * 3)
        assert document["tables"][0]["weights"] == str(file)
    assert "timm.test_resnet.mine.safetensors" in ingested.ok("list", "features").out
    (listed,) = ingested.ok("list", "features", "--json").document["features"]
    assert listed["weights"] == str(file)
    ingested.ok("extract", "cells", "--backbone", NET, *SMALL, "--weights", "random:3")
    assert "random:3" in ingested.ok("list", "features").out


def test_a_file_beside_or_the_library_tells_whose_preprocessing_it_is(ingested, weights, tmp_path):
    file = weights / "timm.test_resnet.mine.safetensors"
    command = ["extract", "cells", "--backbone", NET, *SMALL, "--weights", file]
    told = "mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (of timm's default weights, for nothing is said of this file's own)"
    assert told in ingested.ok(*command, "--dry-run").err
    file.with_suffix(".json").write_text('{"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}')
    assert f"mean 0.1 0.2 0.3, std 1 1 1 (of {file.with_suffix('.json')})" in ingested.ok(*command, "--dry-run").err


def test_how_a_network_is_built_by_the_file_beside_its_weights_is_in_the_fingerprint(ingested, weights):
    file = weights / "timm.test_resnet.mine.safetensors"
    command = ["extract", "cells", "--backbone", NET, *SMALL, "--weights", file]
    plain = ingested.ok(*command, "--json").document["tables"][0]["fingerprint"]
    file.with_suffix(".json").write_text('{"architecture": "test_resnet", "num_features": 96}')
    assert ingested.ok(*command, "--json").document["tables"][0]["fingerprint"] == plain
    file.with_suffix(".json").write_text('{"model_args": {"act_layer": "silu"}}')
    result = ingested.ok(*command)
    assert f"{NET}: built with act_layer=silu, as {file.with_suffix('.json')} says" in result.err
    listed = ingested.ok("list", "features", "--json").document["features"]
    assert len({table["fingerprint"] for table in listed}) == 2
    file.with_suffix(".json").write_text('{"architecture": "test_vit"}')
    wrong = ingested.fails(*command, code=ExitCode.USAGE)
    assert "says that the weights are of 'test_vit'" in wrong.err


@pytest.mark.parametrize(("field", "told"), [("mean", "mean=0.5,0.5,0.5"), ("std", "std=0.5,0.5,0.5")])
def test_statistics_of_a_scale_to_255_are_refused_with_those_of_ours(ingested, field, told):
    command = ["extract", "cells", "--backbone", NET, "--layers", "last", "--weights", "random"]
    wrong = ingested.fails(*command, "--preprocess", f"{field}=127.5,127.5,127.5", code=ExitCode.USAGE)
    assert "on a scale of 0 to 1: divide" in wrong.err
    assert told in wrong.err
    assert "too large" in ingested.fails(*command, "--preprocess", "size=100000000", code=ExitCode.USAGE).err


def test_weights_whose_preprocessing_nobody_tells_want_it(ingested, weights):
    command = ["extract", "cells", "--backbone", f"{NET}.mine", *SMALL]
    result = ingested.fails(*command, code=ExitCode.USAGE)
    assert "nobody tells mean and std of" in result.err
    # As they would be for timm's own weights.
    assert "--preprocess mean=0.5,0.5,0.5 --preprocess std=0.5,0.5,0.5; or write them into" in result.err
    assert '"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]' in result.err
    assert str(weights / "timm.test_resnet.mine.json") in result.err
    assert "nobody tells std of" in ingested.fails(*command, "--preprocess", "mean=0.5,0.5,0.5", code=2).err
    (weights / "timm.test_resnet.mine.json").write_text(json.dumps({"mean": [0.4] * 3, "std": [0.2] * 3}))
    assert "mean 0.4 0.4 0.4" in ingested.ok(*command).err


def test_weights_of_a_tag_that_was_not_asked_for_are_refused(ingested, weights):
    result = ingested.fails("extract", "cells", "--backbone", NET, *SMALL, code=ExitCode.STORE)
    assert f"In {weights} lies timm.test_resnet.mine.safetensors (tag 'mine'), not taken" in result.err
    assert "name the tag" not in result.err, "the library does not know this one"
    told = "--preprocess mean=0.5,0.5,0.5 --preprocess std=0.5,0.5,0.5, with the values that it was trained with"
    assert f"--weights {weights / 'timm.test_resnet.mine.safetensors'} {told}" in result.err
    assert ingested.ok("list", "features", "--json").document == {"features": []}


def test_a_tag_of_the_default_weights_is_taken_and_others_are_told_of(ingested, weights):
    default = f"timm.test_resnet.{timm.get_pretrained_cfg('test_resnet').tag}.safetensors"
    (weights / default).write_bytes((weights / "timm.test_resnet.mine.safetensors").read_bytes())
    assert f"weights {weights / default}; 32 pixels" in ingested.ok("extract", "cells", "--backbone", NET, *SMALL).err


def test_what_an_earlier_version_remembered_is_looked_up_again(ingested, weights):
    ingested.ok("extract", "cells", "--backbone", NET, *SMALL, "--weights", "random")
    # A file comes that goes first.
    with seeded(6):
        state = timm.create_model("test_resnet").state_dict()
    torch.save(state, weights / "timm.test_resnet.safetensors")
    save_file(state, weights / "timm.test_resnet.safetensors")
    assert "timm.test_resnet.safetensors;" in ingested.ok("extract", "cells", "--backbone", NET, *SMALL).err


def test_another_table_of_the_same_layer_is_warned_of(ingested, weights):
    command = ["extract", "cells", "--backbone", NET, "--layers", "last", "--weights", "random"]
    first = ingested.ok(*command, "--preprocess", "size=32", "--json").document["tables"][0]["fingerprint"]
    result = ingested.ok(*command, "--preprocess", "size=40")
    warnings = [line for line in result.err.splitlines() if line.startswith("warning:")]
    assert warnings == [f"warning: {result.out.strip()} has another table @{first}: preprocess.size: 32 → 40"]


def test_a_file_that_is_something_else_is_code_4(ingested, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    command = ["extract", "cells", "--backbone", NET, *SMALL, "--weights", tmp_path / "net.pth"]
    assert "net.pth is a pointer of Git LFS" in ingested.fails(*command, code=ExitCode.DATA).err
    assert ingested.ok("list", "features", "--json").document == {"features": []}


def test_mistakes_in_a_batch_size_and_in_builder_options_are_code_2(ingested):
    command = ["extract", "cells", "--layers", "last", "--weights", "random"]
    big = ingested.fails(*command, "--backbone", NET, "--batch-size", "100000000", code=ExitCode.USAGE)
    assert "--batch-size" in big.err
    wrong = ingested.fails(*command, "--backbone", f"{NET},act_laye=gelu", code=ExitCode.USAGE)
    assert "Did you mean 'act_layer'" in wrong.err


def test_layers_are_listed_with_the_licence_and_whose_preprocessing_it_is(histokit):
    document = histokit.ok("list", "layers", "uni", "--json").document
    assert document["licence"] == "CC-BY-NC-ND-4.0, gated"
    document = histokit.ok("list", "layers", "timm:resnet18.tv_in1k", "--json").document
    assert document["licence"] == "bsd-3-clause"
    assert document["preprocess_origin"] == "of timm's resnet18.tv_in1k"
    assert histokit.ok("list", "layers", "texture", "--json").document["licence"] is None
