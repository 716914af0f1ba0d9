"""Images that wait for a batch to be full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")


class ImageQueue(Generic[Key]):
    """Resized images of one size that wait until a batch is full, each with what it is known by.

    Attributes
    ----------
    keys : list
    nbytes : int
        The memory that they take.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.nbytes = 0
        self._blocks: list[Tensor] = []

    def put(self, keys: Sequence[Key], block: Tensor) -> None:
        """Add n images, an (n, C, H, W) Tensor."""
        self.keys.extend(keys)
        self._blocks.append(block)
        self.nbytes += block.nbytes

    def first(self, size: int) -> Tensor:
        """Return the first `size` images, or what there is: the last image is repeated until the batch is full."""
        self._blocks = [torch.cat(self._blocks)] if len(self._blocks) > 1 else self._blocks
        batch = self._blocks[0][:size]
        # A batch of another number of rows would give other bits.
        missing = size - len(batch)
        return torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)]) if missing else batch

    def drop(self, size: int) -> None:
        """Let go of what `first` returned."""
        self.keys, rest = self.keys[size:], self._blocks[0][size:]
        if rest.untyped_storage().nbytes() > 2 * rest.nbytes:
            # Else a few would keep all that they were joined with in memory.
            rest = rest.clone()
        self._blocks = [rest] if len(rest) else []
        self.nbytes = rest.nbytes
