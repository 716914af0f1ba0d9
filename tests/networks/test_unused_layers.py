"""What is taken out of a network that is cut: layers that have no part in its vectors, however the others are used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histokit.networks.unused_layers import called, take_out_unused


class _Bias(nn.Module):
    """As timm's relative positions in MaxViT and CoAtNet: asked for its weights, never called."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(3))

    def get_bias(self) -> Tensor:
        return self.table


class _Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.bias, self.head = nn.Linear(3, 3), _Bias(), nn.Linear(3, 2)
        # It calls no forward() of its out_proj.
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, batch: Tensor) -> Tensor:
        tokens = self.embed(batch) + self.bias.get_bias()
        return self.attention(tokens, tokens, tokens)[0].mean(1)


def test_layers_whose_weights_are_asked_for_without_a_call_stay() -> None:
    network = _Attentive().eval()
    batch = torch.ones(2, 4, 3)
    with torch.no_grad(), called(network) as reached:
        before = network(batch)
    assert reached == {network.embed}
    take_out_unused(network, reached, lambda: network(batch))
    assert isinstance(network.head, nn.Identity)
    torch.testing.assert_close(network(batch), before)
    assert not any(weight.grad is not None for weight in network.parameters())
