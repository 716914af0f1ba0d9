from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from histokit.features import FeatureStore
from histokit.study import demo as module
from histokit.study.demo import demo
from histokit.study.doctor import examine
from tests.cli.command_line import CommandLine


class Begun(Exception):  # noqa: N818 it is no error
    """The demo began, with some store."""


def test_the_demo_ends_with_a_table_and_a_figure_in_the_store_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "OPTIONS", {"slides": "6", "per_slide": "12", "size": "32"})
    monkeypatch.setattr(module, "_FOLDS", 2)
    monkeypatch.setattr(module, "_BOOTSTRAP", 100)
    out, named = tmp_path / "new" / "out", tmp_path / "named"
    histokit = CommandLine(capsys)
    result = histokit.ok("demo", "--out", out, "--store", named, "--json")
    steps = re.findall("^(ingest|extract|train|select|evaluate): ", result.err, re.MULTILINE)
    assert steps == ["ingest", "extract", "train", "train", "select", "evaluate"]
    rows = result.document["rows"]
    assert [(row["features"], row["folds"]) for row in rows] == [
        ("texture/stain", "slide-wise"),
        ("texture/lbp", "slide-wise"),
        ("texture/glcm", "slide-wise"),
        ("texture/joined", "slide-wise"),
        ("texture/joined", "random"),
        ("texture/joined, selected", "slide-wise"),
    ]
    assert all(0.3 < row["accuracy"] <= 1 for row in rows)
    assert rows[-1]["columns"] < rows[3]["columns"] == 210
    assert result.document["store"] == str(named)
    assert result.document["figure"] == str(out / "demo.png")
    assert [path.name for path in out.iterdir()] == ["demo.png"]
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert histokit.ok("list", "datasets", "--store", named).out.count("drawn-tissue") == 1


def test_the_demo_has_its_store_beside_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ingest(store: FeatureStore, *_: Any, **__: Any) -> None:
        raise Begun(store.uri)

    monkeypatch.setattr(module, "ingest", ingest)
    with pytest.raises(Begun) as begun:
        demo(tmp_path)
    assert begun.value.args == (tmp_path / "store",)


def test_the_demo_tells_where_its_folder_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mkdir(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    result = CommandLine(capsys)("demo", "--out", tmp_path / "new")
    assert (result.code, "new cannot be written: No space left on device." in result.err) == (2, True)


def test_the_doctor_finds_the_machine_and_the_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "resnet50.safetensors")
    (tmp_path / "vgg16.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "torchvision.squeezenet1_1.mine.safetensors").write_bytes(b"")
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("the net was asked"))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    found = {(f.topic, f.name): f for f in examine()}
    assert found["device", "cpu"].ok
    assert found["device", "cpu"].value.startswith("2 cores, 1 thread, bfloat16 ")
    assert found["weights", "resnet50.safetensors"].value == str(tmp_path)
    assert found["dataset plugin", "synthetic"].value == "passes its checks"
    # Of the networks, only those with weights on this machine are in order.
    networks = {name: f for (topic, name), f in found.items() if topic == "backbone"}
    assert {name for name, f in networks.items() if f.ok} == {"resnet50", "texture"}
    assert networks["resnet50"].value.endswith(f"weights {tmp_path / 'resnet50.safetensors'}")
    assert networks["uni"].value.endswith("its weights are not on this machine")
    assert "a pointer of Git LFS" in networks["vgg16"].value
    assert "torchvision.squeezenet1_1.mine.safetensors (tag 'mine'), not" in networks["squeezenet1_1"].value
    wrong = {f.name for f in found.values() if not f.ok and f.topic != "backbone"}
    assert wrong == {"vgg16.safetensors", "torchvision.squeezenet1_1.mine.safetensors"}
    monkeypatch.setenv("HISTOKIT_WEIGHTS", str(tmp_path / "absent"))
    assert not {(f.topic, f.name): f for f in examine()}["weights", "HISTOKIT_WEIGHTS"].ok
