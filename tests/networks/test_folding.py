"""Batch normalisation is folded exactly where nothing else sees the convolution's output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d, ScaledStdConv2d
from torch import Tensor, nn

from histokit.networks.folding import fold_batch_norm


class Net(nn.Module):
    """A convolution and a normalisation with statistics of their own, joined by a function."""

    def __init__(self, join: Callable[[Net, Tensor], Tensor], conv: nn.Module, norm: nn.Module):
        super().__init__()
        self.conv, self.norm, self.relu, self.join = conv, norm, nn.ReLU(inplace=True), join

    def forward(self, batch: Tensor) -> Tensor:
        """Apply the function."""
        return self.join(self, batch)


def _net(join: Callable[[Net, Tensor], Tensor], conv: nn.Module | None = None, norm: nn.Module | None = None) -> Net:
    torch.manual_seed(0)
    net = Net(join, conv or nn.Conv2d(3, 4, 3, padding=1), norm or nn.BatchNorm2d(4))
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    if net.norm.affine:
        nn.init.normal_(net.norm.weight)
        nn.init.normal_(net.norm.bias)
    return net.eval().requires_grad_(False)


def _twice(net: Net, batch: Tensor) -> Tensor:
    return net.norm(net.conv(batch)) + net.norm(net.conv(batch.flip(-1)))


FOLDED = {
    "plain": _net(lambda n, x: n.relu(n.norm(n.conv(x)))),
    "without bias": _net(lambda n, x: n.norm(n.conv(x)), nn.Conv2d(3, 4, 3, bias=False)),
    "without affine": _net(lambda n, x: n.norm(n.conv(x)), norm=nn.BatchNorm2d(4, affine=False)),
    "grouped": _net(lambda n, x: n.norm(n.conv(x)), nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "of a large epsilon": _net(lambda n, x: n.norm(n.conv(x)), norm=nn.BatchNorm2d(4, eps=0.5)),
    "with activation": _net(lambda n, x: n.norm(n.conv(x)), norm=BatchNormAct2d(4, act_layer=nn.SiLU)),
}

UNFOLDED = {
    "output used elsewhere": _net(lambda n, x: n.norm(y := n.conv(x)) + y),
    "used elsewhere later": _net(lambda n, x: (lambda y: n.norm(y) * y.mean())(n.conv(x))),
    "changed between": _net(lambda n, x: n.norm(n.relu(n.conv(x)))),
    "copied between": _net(lambda n, x: n.norm(torch.cat([n.conv(x)]) * 2)),
    "used twice": _net(_twice),
    "norm of the input, too": _net(lambda n, x: n.norm(n.conv(x)) + n.norm(x[:, :1].expand(-1, 4, -1, -1))),
    "norm of other input": _net(lambda n, x: n.norm(n.conv(x) * 0 + 1)),
    "weight made anew": _net(lambda n, x: n.norm(n.conv(x)), ScaledStdConv2d(3, 4, 3)),
}


def _normalised(net: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize("name", [*FOLDED, *UNFOLDED])
def test_outputs_stay_and_only_sole_users_are_folded(name: str) -> None:
    net = FOLDED.get(name) or UNFOLDED[name]
    batch = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        before = net(batch)
        assert fold_batch_norm(net, torch.zeros(1, 3, 8, 8), []) == {}
        torch.testing.assert_close(net(batch), before, rtol=1e-5, atol=1e-5)
    assert _normalised(net) == (name in UNFOLDED)


def test_a_wanted_convolution_keeps_its_own_output() -> None:
    net = _net(lambda n, x: n.norm(n.conv(x)))
    batch = torch.randn(2, 3, 8, 8)
    before = net.conv(batch)
    originals = fold_batch_norm(net, torch.zeros(1, 3, 8, 8), ["conv"])
    assert not _normalised(net)
    assert torch.equal(originals["conv"](batch), before)
    assert not torch.allclose(net.conv(batch), before)


def test_a_module_that_wraps_a_wanted_convolution_is_left_alone() -> None:
    net = _net(lambda n, x: n.norm(n.conv(x)), nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert fold_batch_norm(net, torch.zeros(1, 3, 8, 8), ["conv"]) == {}
    assert _normalised(net)
    fold_batch_norm(net, torch.zeros(1, 3, 8, 8), ["norm"])
    assert not _normalised(net)


def test_places_in_memory_that_are_used_again_are_not_mixed_up() -> None:
    torchvision = pytest.importorskip("torchvision")
    # Pre-activation: most normalisations take joined maps, in memory that later convolutions get.
    net = torchvision.models.DenseNet(8, (3, 3), 8).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    batch = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = net(batch)
        fold_batch_norm(net, torch.zeros(1, 3, 64, 64), [])
        torch.testing.assert_close(net(batch), before, rtol=1e-4, atol=1e-4)
    assert isinstance(net.features.norm0, nn.Identity)
    assert isinstance(net.features.denseblock1.denselayer2.norm1, nn.BatchNorm2d)
