"""What a network raises is told as what it is: inputs of a wrong size, too little memory, the plugin's fault, a bug."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographs import photographs
from tiny_plugin import TinyPlugin
from torch import Tensor, nn

import histokit
from histokit.errors import PluginError, UsageError
from histokit.features import FeatureStore
from histokit.networks.cut_network import CutNetwork
from histokit.networks.failures import is_out_of_memory
from histokit.networks.trainable import cut_for_training
from histokit.networks.transform import Transform
from histokit.plugin import Backbone, Layer, Preprocess
from histokit.plugin.testing import added_plugin

CPU = torch.device("cpu")

Check = Callable[[Tensor], None]


class Checking(nn.Module):
    """Gives its input as it is, once that was looked at."""

    def __init__(self, check: Check):
        super().__init__()
        self.check = check

    def forward(self, batch: Tensor) -> Tensor:
        """Look at the input."""
        self.check(batch)
        return batch


class Plugin(TinyPlugin):
    """Registers ``tiny`` with a look at each batch."""

    def __init__(self, check: Check):
        self.check = check

    def load(self, request: Any) -> Backbone:
        """Return it with a look before its first layer."""
        whole, check = super().load(request), self.check

        class Looked(Backbone):
            def build(self) -> Any:
                return nn.Sequential(Checking(check), *whole.build())

        return Looked("tiny", [Layer("1", "1"), Layer("4", "4")], whole.preprocess, whole.weights)


def fails(wrong: Callable[[Tensor], Any], error: Exception) -> Check:
    def check(batch: Tensor) -> None:
        if wrong(batch):
            raise error

    return check


LAYER = Layer("1", "1")


def own_backbone(check: Check, size: int = 16, name: str = "own") -> Backbone:
    """One that no plugin registered."""

    class Own(Backbone):
        def build(self) -> Any:
            return nn.Sequential(Checking(check), nn.Conv2d(3, 4, 3))

    return Own(name, [LAYER], Preprocess(size=size))


def own_network(check: Check, size: int = 16) -> CutNetwork:
    return CutNetwork(own_backbone(check, size), [LAYER], CPU, "float32")


SHAPES = RuntimeError("The size of tensor a (50) must match the size of tensor b (197)")
SHORT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_inputs_of_another_size_than_a_network_takes_are_the_users() -> None:
    network = own_network(fails(lambda batch: batch.shape[-1] != 16, SHAPES))
    assert network.forward(torch.ones(4, 3, 16, 16))["1"].shape == (4, 4)
    with pytest.raises(UsageError, match="own cannot run on 4 inputs of 3 × 20 × 20: The size of tensor") as caught:
        network.forward(torch.ones(4, 3, 20, 20))
    assert "size=N" in caught.value.next


@pytest.mark.parametrize("error", [SHAPES, AssertionError("Input height (20) doesn't match model (16)")])
def test_a_size_that_a_network_cannot_be_trained_at_is_the_users(error: Exception) -> None:
    backbone = own_backbone(fails(lambda batch: batch.shape[-1] != 16, error), name="own,depth=2")
    assert cut_for_training(backbone, LAYER, False, 3, 16)[1] == 4
    with pytest.raises(UsageError, match=r"own,depth=2 cannot run on 2 inputs of 3 × 20 × 20: (The|Input)") as caught:
        cut_for_training(backbone, LAYER, False, 3, 20)
    other = "size=N: it is made for 16. Or, if it can be built for others: --backbone own,depth=2,img_size=20"
    assert other in caught.value.next
    for fails_at in (lambda _: True, lambda batch: batch.shape[-1] == 16):
        with pytest.raises(type(error)) as raised:
            cut_for_training(own_backbone(fails(fails_at, error)), LAYER, False, 3, 16)
        assert raised.value is error


def test_more_rows_than_a_network_takes_are_the_users() -> None:
    network = own_network(fails(lambda batch: len(batch) > 8, RuntimeError("canUse32BitIndexMath")))
    with pytest.raises(UsageError, match="cannot run on 9 inputs") as caught:
        network.forward(torch.ones(9, 3, 16, 16))
    assert "--batch-size" in caught.value.next


@pytest.mark.parametrize("error", [RuntimeError("a device-side assert"), AssertionError("no"), ValueError("odd")])
@pytest.mark.parametrize(
    "wrong",
    [lambda _: True, lambda batch: batch.shape[-1] == 16, lambda batch: batch.max() > 0],
    ids=["always", "at-its-own-size", "by-the-numbers"],
)
def test_what_is_not_about_sizes_is_a_bug_of_ours(error: Exception, wrong: Callable[[Tensor], Any]) -> None:
    with pytest.raises(type(error)) as caught:
        own_network(fails(wrong, error)).forward(torch.ones(4, 3, 16, 16))
    assert caught.value is error
    # With the place where it was raised.
    assert caught.traceback[-1].name == "check"


def test_what_is_not_about_sizes_is_a_fault_of_a_plugin(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    check = fails(lambda batch: batch.std() > 0, RuntimeError("a device-side assert"))
    with (
        added_plugin(Plugin(check), "tinyplugin"),
        pytest.raises(PluginError, match=r"failed in forward\(\): .*device-side"),
    ):
        histokit.extract(store, "d", "tiny")


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_short_memory_has_many_names(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    network = own_network(fails(lambda batch: len(batch) > 1, RuntimeError(text)))
    with pytest.raises(UsageError, match="too little memory to run own on 4 inputs of 3 × 16 × 16") as caught:
        network.forward(torch.ones(4, 3, 16, 16))
    assert "--batch-size below 4" in caught.value.next
    assert not is_out_of_memory(SHAPES)
    assert not is_out_of_memory(ValueError(text))


def ingest(store: FeatureStore, images: Path) -> None:
    histokit.ingest(
        store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png", "group": "patient"}
    )


def vectors(store: FeatureStore) -> Any:
    return store.features("d", "tiny/all").X


@pytest.mark.parametrize("short", [SHORT, MemoryError("Unable to allocate 3 GiB")], ids=["torch", "numpy"])
def test_an_extraction_goes_on_with_batches_that_fit(
    store: FeatureStore, images: Path, tmp_path: Path, short: Exception
) -> None:
    other = FeatureStore(tmp_path / "other")
    for each in (store, other):
        ingest(each, images)
    with added_plugin(Plugin(fails(lambda batch: len(batch) > 5, short)), "tinyplugin"):
        extraction = histokit.extract(store, "d", "tiny", batch_size=20)
    with added_plugin(Plugin(lambda _: None), "tinyplugin"):
        histokit.extract(other, "d", "tiny", batch_size=5)
        assert histokit.extract(store, "d", "tiny").tables[0]["cached"] == 24
    assert np.array_equal(vectors(store), vectors(other))
    (note,) = extraction.notes
    told = "tiny: the device cpu has too little memory for 20 inputs of 3 × 16 × 16"
    assert note == f"{told}: it went on with 5; --batch-size 5 fits"
    assert [(t["computed"], t["missing"]) for t in extraction.tables] == [(24, 0)] * 2


def test_memory_that_gets_short_later_loses_and_doubles_nothing(
    store: FeatureStore, images: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def check(batch: Tensor) -> None:
        seen.append(len(batch))
        if seen.count(8) > 1 and len(batch) == 8:
            raise SHORT

    other = FeatureStore(tmp_path / "other")
    for each in (store, other):
        ingest(each, images)
    with added_plugin(Plugin(check), "tinyplugin"):
        extraction = histokit.extract(store, "d", "tiny", batch_size=8)
    assert seen == [8, 8, 4, 4, 4, 4]
    assert [(t["computed"], t["missing"]) for t in extraction.tables] == [(24, 0)] * 2
    with added_plugin(Plugin(lambda _: None), "tinyplugin"):
        histokit.extract(other, "d", "tiny", batch_size=8)
    assert list(store.features("d", "tiny/1").sample_ids) == list(other.features("d", "tiny/1").sample_ids)
    np.testing.assert_allclose(vectors(store), vectors(other), rtol=1e-5, atol=1e-6)


def test_two_rows_that_do_not_fit_are_the_end(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    rows: list[int] = []

    def check(batch: Tensor) -> None:
        rows.append(len(batch))
        raise SHORT

    with (
        added_plugin(Plugin(check), "tinyplugin"),
        pytest.raises(UsageError, match=r"too little memory to run tiny.* on 2 inputs"),
    ):
        histokit.extract(store, "d", "tiny", batch_size=12)
    assert rows == [12, 6, 3, 2]


class Failing(TinyPlugin):
    """Registers ``tiny``, which cannot be built."""

    def load(self, request: Any) -> Backbone:
        """Return it with a `build` that raises."""

        class Unbuilt(Backbone):
            def build(self) -> Any:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        whole = super().load(request)
        return Unbuilt("tiny", whole.layers, whole.preprocess, whole.weights)


def test_a_network_that_does_not_fit_is_no_fault_of_its_plugin(store: FeatureStore, images: Path) -> None:
    ingest(store, images)
    told = pytest.raises(UsageError, match=r"tiny.* itself does not fit into the memory of the device cpu: DefaultCPU")
    with added_plugin(Failing(), "tinyplugin"), told as caught:
        histokit.extract(store, "d", "tiny")
    assert "a machine with more memory" in caught.value.next


def test_gradients_that_a_network_turns_on_are_left_behind(store: FeatureStore, images: Path) -> None:
    ingest(store, images)

    class WithGradients(nn.Sequential):
        def forward(self, batch: Tensor) -> Any:
            with torch.inference_mode(False), torch.enable_grad():
                return super().forward(batch.clone().requires_grad_(True))

    class Own(Plugin):
        def load(self, request: Any) -> Backbone:
            whole = super().load(request)
            whole.build = lambda: WithGradients(nn.Conv2d(3, 4, 3))  # type: ignore[method-assign]
            whole.layers = [Layer("0", "0")]
            return whole

    with added_plugin(Own(lambda _: None), "tinyplugin"):
        assert histokit.extract(store, "d", "tiny").tables[0]["computed"] == 24


def test_images_are_resized_in_pieces_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs(40, 30, count=7)
    known = Transform(Preprocess(size=16), ("R", "G", "B"), CPU)
    expected, interpolate, seen = known.resize(images, None), nn.functional.interpolate, []

    def short(batch: Tensor, *arguments: Any, **options: Any) -> Tensor:
        seen.append(len(batch))
        if len(batch) > 2:
            raise SHORT
        return interpolate(batch, *arguments, **options)

    monkeypatch.setattr(nn.functional, "interpolate", short)
    assert torch.equal(known.resize(images, None), expected)
    assert seen == [7, 3, 1, 2, 4, 2, 2]


def test_a_fault_in_resizing_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.functional, "interpolate", lambda *_, **__: fails(lambda _: True, SHAPES)(torch.ones(1)))
    with pytest.raises(RuntimeError, match="must match"):
        Transform(Preprocess(size=16), ("R", "G", "B"), CPU).resize(photographs(40, 30), None)
