"""A network cut at several layers: values, depth, batch sizes, reduced precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histokit.errors import UsageError
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import choose_device, laid_out, training_layout, whole_float32
from histokit.plugin import Backbone, Layer, Preprocess

CPU = torch.device("cpu")


class Block(nn.Module):
    """Convolution, normalisation with statistics of its own, ReLU."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.act = nn.ReLU(inplace=True)
        self.norm.running_mean.normal_(0, 0.3)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, batch: Any) -> Any:
        """Apply them."""
        return self.act(self.norm(self.conv(batch)))


def _convolutional() -> nn.Module:
    return nn.Sequential(Block(3, 16), Block(16, 16), Block(16, 8))


def _transformer() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 8))


def _backbone(make: Callable[[], nn.Module] = _convolutional) -> Backbone:
    class Made(Backbone):
        def build(self) -> nn.Module:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return make().eval()

    return Made("made", [Layer("0", "0"), Layer("1", "1"), Layer("2", "2")], Preprocess(size=16))


def _layers(*modules: str) -> list[Layer]:
    return [Layer(module, module) for module in modules]


@pytest.fixture
def batch() -> torch.Tensor:
    """Four inputs."""
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_look_at_a_network_takes_one_thread(batch: torch.Tensor) -> None:
    threads, before = [], torch.get_num_threads()

    class Counting(Block):
        def forward(self, batch: Any) -> Any:
            threads.append(torch.get_num_threads())
            return super().forward(batch)

    torch.set_num_threads(2)
    try:
        cut = CutNetwork(_backbone(lambda: nn.Sequential(Counting(3, 4))), _layers("0"), CPU, "float32")
        assert threads == [1]
        cut(batch)
        assert threads == [1, 2]
    finally:
        torch.set_num_threads(before)


def test_vectors_equal_the_means_of_an_untouched_network(batch: torch.Tensor) -> None:
    plain = _backbone().build()
    with torch.inference_mode():
        first = plain[0](batch.clone())
        second = plain[1].conv(first)
        expected = {"0": first, "1.conv": second, "1.norm": plain[1].norm(second)}
    cut = CutNetwork(_backbone(), _layers("0", "1.conv", "1.norm"), CPU, "float32")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in cut.network.modules())
    for name, vectors in cut(batch).items():
        np.testing.assert_allclose(vectors, expected[name].mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_layers_have_the_same_bits_whatever_is_asked_for_beside_them(batch: torch.Tensor) -> None:
    alone = CutNetwork(_backbone(), _layers("2"), CPU, "float32")(batch)["2"]
    beside = CutNetwork(_backbone(), _layers("0.conv", "1.norm", "2"), CPU, "float32")(batch)["2"]
    assert np.array_equal(alone, beside)


def test_a_layer_that_one_batch_does_not_reach_has_not_the_vectors_of_another(batch: torch.Tensor) -> None:
    class Sometimes(nn.Sequential):
        def forward(self, batch: Any) -> Any:
            first = self[0](batch)
            return self[1](first) if batch.any() else first

    cut = CutNetwork(_backbone(lambda: Sometimes(Block(3, 4), Block(4, 5))), _layers("0", "1"), CPU, "float32")
    assert cut(batch)["1"].shape == (4, 5)
    with pytest.raises(UsageError, match="The layer '1' is not reached when the network runs"):
        cut(torch.zeros_like(batch))
    assert cut(batch)["1"].shape == (4, 5)


def test_the_device_behind_the_last_one_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="has no CUDA device 'cuda:1' that torch can use"):
        choose_device("cuda:1")


def test_nothing_runs_behind_the_deepest_layer(batch: torch.Tensor) -> None:
    cut = CutNetwork(_backbone(), _layers("0", "1.act"), CPU, "float32")
    runs: list[str] = []
    for name, module in cut.network.named_modules():
        module.register_forward_pre_hook(lambda _, __, name=name: runs.append(name))
    cut(batch)
    runs.clear()
    cut(batch)
    assert "1.act" in runs
    assert "2" not in runs


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_is_close_and_converts_weights_once(batch: torch.Tensor, precision: str) -> None:
    exact = CutNetwork(_backbone(), _layers("0", "2"), CPU, "float32")(batch)
    cut = CutNetwork(_backbone(), _layers("0", "2"), CPU, precision)
    weights = [module.weight for module in cut.network.modules() if isinstance(module, nn.Conv2d)]
    assert {weight.dtype for weight in weights} == {getattr(torch, precision)}
    for name, vectors in cut(batch).items():
        assert vectors.dtype == np.float32
        cosine = (vectors * exact[name]).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(exact[name], axis=1)
        assert cosine.min() > 0.999
        assert not np.array_equal(vectors, exact[name])


def test_what_follows_in_place_overwrites_no_vector() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))

    batch = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    expected = _backbone(make).build()[1](batch.flatten(1)).detach().numpy()
    assert expected.min() < 0
    for names in (["1"], ["1", "3"]):
        cut = CutNetwork(_backbone(make), [Layer(name, name, "none") for name in names], CPU, "float32")
        for _ in range(2):
            np.testing.assert_allclose(cut(batch)["1"], expected, rtol=1e-5)


CONVOLUTIONS, PRODUCTS = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.mark.usefixtures("rounding")
def test_gpus_do_not_round_float32() -> None:
    for device, allowed in ((torch.device("cuda"), False), (CPU, True)):
        with whole_float32(device):
            assert [CONVOLUTIONS.allow_tf32, PRODUCTS.allow_tf32] == [allowed] * 2
        assert [CONVOLUTIONS.allow_tf32, PRODUCTS.allow_tf32] == [True] * 2


@pytest.mark.usefixtures("rounding")
def test_gpus_do_not_round_float32_where_that_was_switched_in_the_newer_way() -> None:
    both: Any = (CONVOLUTIONS.conv, PRODUCTS)  # type: ignore[attr-defined]
    CONVOLUTIONS.conv.fp32_precision, PRODUCTS.fp32_precision = "ieee", "tf32"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="mix of the legacy and new"):
        _ = CONVOLUTIONS.allow_tf32
    with whole_float32(torch.device("cuda")):
        assert [each.fp32_precision for each in both] == ["ieee"] * 2
    assert [each.fp32_precision for each in both] == ["ieee", "tf32"]


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize("above", [torch.backends, CONVOLUTIONS])
def test_gpus_do_not_round_float32_where_a_switch_for_all_operations_lets_them(above: Any) -> None:
    before = PRODUCTS.allow_tf32
    above.fp32_precision, PRODUCTS.fp32_precision = "tf32", "ieee"
    try:
        with whole_float32(torch.device("cuda")):
            assert [CONVOLUTIONS.conv.fp32_precision, PRODUCTS.fp32_precision] == ["ieee"] * 2  # type: ignore[attr-defined]
        assert CONVOLUTIONS.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]
    finally:
        above.fp32_precision = "none"
        PRODUCTS.allow_tf32 = before


@pytest.mark.parametrize(
    ("convolution", "device", "layout"),
    [
        (nn.Conv2d(3, 8, 1, stride=2), "cpu", torch.contiguous_format),
        (nn.Conv2d(3, 8, 1, stride=(1, 2)), "cpu", torch.contiguous_format),
        (nn.Conv2d(3, 8, 1, stride=2), "cuda", torch.channels_last),
        (nn.Conv2d(3, 8, 1), "cpu", torch.channels_last),
        (nn.Conv2d(3, 8, 3, stride=2), "cpu", torch.channels_last),
        (nn.Conv2d(16, 8, 1, stride=2), "cpu", torch.channels_last),
    ],
)
def test_what_would_write_beyond_memory_is_not_trained_with_channels_last(
    convolution: nn.Module, device: str, layout: torch.memory_format
) -> None:
    assert training_layout(nn.Sequential(nn.Identity(), convolution), torch.device(device)) == layout


def test_networks_may_have_weights_of_five_dimensions() -> None:
    flat, deep = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3)
    laid_out(nn.Sequential(flat, deep))
    assert flat.weight.is_contiguous(memory_format=torch.channels_last)
    assert deep.weight.is_contiguous()


def test_weights_of_convolutions_are_laid_out_channels_last() -> None:
    weight = CutNetwork(_backbone(), _layers("2"), CPU, "float32").network.get_submodule("1.conv").weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("make", "size", "rows"),
    [
        (_convolutional, 224, 16),
        (_convolutional, 50, 16),
        (_convolutional, 299, 8),
        (_convolutional, 448, 4),
        (_convolutional, 2240, 1),
        (_transformer, 224, 8),
    ],
)
def test_batches_are_small_on_processors(make: Callable[[], nn.Module], size: int, rows: int) -> None:
    cut = CutNetwork(_backbone(make), _layers("0"), CPU, "float32")
    assert cut.batch_size(size, size) == rows
