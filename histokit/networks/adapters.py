"""How images of any channels meet networks of three colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from torch import Tensor, nn

from histokit.errors import UsageError


def over_channels(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return statistics of the colours of a network for as many channels, over and over in their order."""
    return tuple(islice(cycle(values), count))


def inflate(network: nn.Module, colours: int, count: int, title: str) -> None:
    """Let a network take more channels, or fewer, than the colours that it was trained on.

    The weights of its first convolution are repeated over the channels and multiplied by colours / count, so that
    grey gives what it gave; of one channel, they are summed (as timm does it for ``in_chans``).

    Raises
    ------
    UsageError
        If its first convolution is none of these colours.
    """
    from timm.models import adapt_input_conv

    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != colours or first.groups != 1:
        raise UsageError(
            f"{title} has no first convolution of {colours} channels that could be inflated.",
            next="Choose channels with --channels A,B,C, or let each go in on its own: --channels each",
        )
    weights: Tensor = adapt_input_conv(count, first.weight.detach(), colours)
    first.weight = nn.Parameter(weights.contiguous(), requires_grad=False)
    first.in_channels = count
