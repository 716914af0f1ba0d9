"""What a message says to type works when it is typed: it holds the weights, the preprocessing and the precision."""

import re
import shlex

import pytest
import timm
from safetensors.torch import save_file

from histokit.errors import ExitCode
from histokit.plugin.weights import seeded
from histokit.store.repeat_commands import make_again
from histokit.store.vectors import FeatureTable

NET = "timm:test_resnet"
ASKED = ["--preprocess", "size=32", "--preprocess", "mean=0.5,0.25,0.5", "--store-dtype", "float16"]
FAST = ["--classifier", "knn", "--grid", "k=1", "--split", "cv"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my weights.safetensors"
    with seeded(5):
        save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture
def filled(ingested, images, file):
    """Features of ``cells`` with weights and preprocessing of their own, and ``more``, a dataset without."""
    ingested.ok("extract", "cells", "--backbone", NET, "--layers", "last", "--weights", file, *ASKED)
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    ingested.ok("ingest", "folder", images, "--name", "more", *options)
    return ingested


def specs(command_line):
    listed = command_line.ok("list", "features", "--json").document["features"]
    return [{k: v for k, v in table["spec"].items() if k not in ("layer", "module")} for table in listed]


def typed(result):
    """The command that a message ends with."""
    found = re.search(r"histokit (extract .*?)(\.|; .*)?\n", result.err)
    assert found, result.err
    return shlex.split(found[1])


@pytest.mark.parametrize(
    ("dataset", "address"), [("more", f"{NET}/last"), ("cells", f"{NET}/layer2"), ("cells", f"{NET}/all")]
)
def test_the_extraction_that_is_missing_can_be_pasted(filled, dataset, address):
    command = ["train", dataset, "--features", address, *FAST]
    hint = typed(filled.fails(*command, code=ExitCode.STORE))
    assert [word for word in hint if word in ("--weights", "--preprocess", "--precision", "--store-dtype")] == [
        "--weights",
        "--preprocess",
        "--preprocess",
        "--store-dtype",
    ]
    filled.ok(*hint)
    filled.ok(*command)
    found = specs(filled)
    assert all(spec == found[0] for spec in found)


def test_missing_rows_are_made_by_what_the_message_says(filled, images):
    (images / "p1" / "dark" / "more.png").write_bytes((images / "p1" / "dark" / "0.png").read_bytes() + b"\0")
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    filled.ok("ingest", "folder", images, "--name", "cells", *options)
    command = ["train", "cells", "--features", f"{NET}/last", *FAST]
    filled.ok(*typed(filled.fails(*command, code=ExitCode.STORE)))
    filled.ok(*command)
    assert len(specs(filled)) == 1


def test_precision_is_said_and_what_the_first_version_did_not_keep():
    spec = {"backbone": "net", "layer": "last", "weights": "random:3", "precision": "bfloat16"}
    spec["preprocess"] = {"size": 64, "std": [0.5, 0.5, 0.5]}
    said = shlex.split(make_again(FeatureTable("t", "d", spec, 4, {"weights_request": "random:3"})))
    assert said[:9] == ["histokit", "extract", "d", "--backbone", "net", "--layers", "last", "--weights", "random:3"]
    assert said[-2:] == ["--precision", "bfloat16"]
    changes = {said[i + 1] for i, word in enumerate(said) if word == "--preprocess"}
    assert changes == {
        *("size=64", "std=0.5,0.5,0.5", "mean=0.485,0.456,0.406", "resize=squash", "interpolation=bilinear")
    }
    kept = {"weights_request": "pretrained", "preprocess_request": {}}
    spec = {**spec, "precision": "float32"}
    assert make_again(FeatureTable("t", "d", spec, 4, kept)) == "histokit extract d --backbone net --layers last"


def test_prediction_says_what_to_do_where_the_weights_are_gone(filled, file, tmp_path):
    run = filled.ok("train", "cells", "--features", f"{NET}/last", *FAST).out.strip()
    copy = file.rename(tmp_path / "copy.safetensors")
    result = filled.fails("predict", run, "more", code=ExitCode.STORE)
    assert f"are gone: {file}" in result.err
    hint = typed(result)
    assert hint[hint.index("--weights") + 1] == "FILE"
    filled.ok(*[copy if word == "FILE" else word for word in hint])
    filled.ok("predict", run, "more")
