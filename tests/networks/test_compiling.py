"""A compiled network gives the vectors of the network itself, into tables of its own, or is told of and not used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import histokit
from histokit.extract.extraction import Extraction
from histokit.features import FeatureStore
from histokit.networks.compiling import CutVectors, NotCompiledError, check_alike, compiled
from histokit.networks.cut_network import CutNetwork
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.manager import registry

COMPILER = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler")


def ingest(store: FeatureStore, images: Path) -> None:
    histokit.ingest(store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png"})


def specs(store: FeatureStore) -> list[str]:
    return [table.spec.get("engine", "torch") for table in store.feature_tables("d")]


def counts(extraction: Extraction) -> list[tuple[int, int]]:
    return [(table["cached"], table["computed"]) for table in extraction.tables]


@pytest.fixture
def untouched() -> Iterator[None]:
    """Forget what was compiled."""
    yield
    torch.compiler.reset()


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes its time elsewhere."""
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)


def alike(found: Any, expected: Any) -> None:
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.9999


class Three(Backbone):
    """A convolution whose normalisation is folded into it, and what may not run behind the deepest layer."""

    def build(self) -> Any:
        class Behind(nn.Module):
            def forward(self, batch: torch.Tensor) -> torch.Tensor:
                return batch.flatten(1) @ batch.new_ones(batch[0].numel(), 3)

        with torch.random.fork_rng():
            torch.manual_seed(0)
            first, norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
            norm.running_mean.normal_(0, 0.3)
            return nn.Sequential(first, norm, nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), Behind()).eval()


CPU = torch.device("cpu")


def assert_alike_compiled(backbone: Backbone, layers: list[Layer], side: int) -> None:
    batch = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = CutNetwork(backbone, layers, CPU, "float32")(batch)
    network = CutNetwork(backbone, layers, CPU, "float32")
    network.compile(batch.shape)
    found = network(batch)
    assert found.keys() == expected.keys()
    for name, vectors in found.items():
        alike(vectors, expected[name])


def three() -> tuple[Backbone, list[Layer]]:
    layers = [Layer("0", "0"), Layer("2", "2"), Layer("2:max", "2", "max"), Layer("3", "3")]
    return Three("three", layers, Preprocess(size=12)), layers


@pytest.mark.usefixtures("untouched")
def test_one_graph_holds_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[str] = []

    def written(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph.code)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, options, **rest: real(module, backend=written, **rest))
    assert_alike_compiled(*three(), side=12)
    assert len(graphs) == 1


@pytest.mark.usefixtures("untouched")
def test_networks_are_compiled_however_many_were_before(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, options, **rest: real(module, backend="eager", **rest))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    for width in range(1, 5):
        run = compiled(CutVectors(nn.Linear(2, width), {"all": ("", lambda _, output: output)}), CPU)
        assert run(torch.zeros(3, 2))["all"].shape == (3, width)


@COMPILER
@pytest.mark.slow
@pytest.mark.usefixtures("untouched")
def test_every_layer_has_the_vectors_of_the_network_itself() -> None:
    assert_alike_compiled(*three(), side=12)
    for name in ("timm:mobilenetv2_100", "torchvision:squeezenet1_1", "timm:vit_tiny_patch16_224"):
        backbone = registry().backbone(name, "random")
        assert_alike_compiled(backbone, list(backbone.layers), side=224)


@pytest.mark.usefixtures("tiny", "as_it_is")
def test_what_is_compiled_goes_to_tables_of_its_own(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    plain = histokit.extract(store, "d", "tiny")
    dry = histokit.extract(store, "d", "tiny", compile=True, dry_run=True)
    assert [table["missing"] for table in dry.tables] == [24] * 3
    assert dry.notes == ("Whether tiny can be compiled here is seen when it runs.",)
    found = histokit.extract(store, "d", "tiny", compile=True)
    assert (counts(found), found.notes) == ([(0, 24)] * 3, ())
    assert sorted(specs(store)) == ["inductor"] * 3 + ["torch"] * 3
    for one, other in zip(plain.tables, found.tables, strict=True):
        layer = one["address"].partition("@")[0]
        assert one["fingerprint"] == dry.tables[0]["differences"][0][1:13] or layer != "tiny/0"
        pair = [store.features("d", f"{layer}@{table['fingerprint']}").X for table in (one, other)]
        alike(*pair)
    assert "engine: default → inductor" in found.tables[0]["differences"][0]
    assert counts(histokit.extract(store, "d", "tiny", compile=True)) == [(24, 0)] * 3


@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_compiled_is_told_and_goes_to_the_tables_of_the_network_itself(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nin torch")

    monkeypatch.setattr(torch, "compile", broken)
    ingest(store, images)
    found = histokit.extract(store, "d", "tiny", layers="last", compile=True)
    (note,) = found.notes
    assert note.startswith("tiny cannot be compiled here: No working C++ compiler found.")
    assert (counts(found), specs(store)) == ([(0, 24)], ["torch"])
    again = histokit.extract(store, "d", "tiny", layers="last", compile=True)
    assert (counts(again), again.notes, specs(store)) == ([(24, 0)], found.notes, ["torch"])
    assert found.addresses == again.addresses == ("tiny/3",)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("enough", "engine"), [(5, "inductor"), (1, "torch")])
def test_memory_that_the_compiler_lacks_is_enough_for_smaller_batches(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, enough: int, engine: str
) -> None:
    asked: list[int] = []

    def greedy(module: nn.Module, **_: Any) -> Any:
        def run(batch: torch.Tensor) -> Any:
            asked.append(len(batch))
            if len(batch) > enough:
                raise RuntimeError(
                    "backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate"
                )
            return module(batch)

        return run

    ingest(store, images)
    plain = histokit.extract(store, "d", "tiny", batch_size=16)
    expected = {each["address"]: store.features("d", each["address"]).X for each in plain.tables}
    monkeypatch.setattr(torch, "compile", greedy)
    found = histokit.extract(store, "d", "tiny", batch_size=16, compile=True)
    assert asked[:4] == ([16, 8, 4, 4] if enough > 1 else [16, 8, 4, 2])
    assert set(specs(store)) == {"torch", engine}
    if engine == "torch":
        (note,) = found.notes
        assert note.startswith("tiny cannot be compiled here: backend='inductor' raised")
        return
    assert counts(found) == [(0, 24)] * 3
    for table in found.tables:
        vectors = store.features("d", f"{table['address'].partition('@')[0]}@{table['fingerprint']}").X
        np.testing.assert_allclose(vectors, expected[table["address"].partition("@")[0]], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("tiny", "as_it_is")
def test_images_of_any_size_are_not_compiled(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    found = histokit.extract(store, "d", "tiny", preprocess=["resize=none"], compile=True)
    assert found.notes == ("tiny takes images of any size, so that it is not compiled.",)
    assert specs(store) == ["torch"] * 3


def test_a_compiler_that_changes_vectors_is_not_used() -> None:
    one = {"a": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "b": torch.tensor([[1.0, 1.0]])}
    check_alike("net", {**one, "b": torch.tensor([[1.0, 1.001]])}, one, reduced=False)
    with pytest.raises(NotCompiledError, match=r"net cannot be compiled here: the vectors of b would be others"):
        check_alike("net", {**one, "b": torch.tensor([[1.0, 1.1]])}, one, reduced=False)
    check_alike("net", {**one, "b": torch.tensor([[1.0, 1.1]])}, one, reduced=True)
    with pytest.raises(NotCompiledError):
        check_alike("net", {**one, "a": torch.full((2, 2), torch.nan)}, one, reduced=True)
