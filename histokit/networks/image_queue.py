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
        The memory that they take, once they are `settled`.
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
        parts: list[Tensor] = []
        missing = size
        for block in self._blocks:
            if not missing:
                break
            parts.append(block[:missing])
            missing -= len(parts[-1])
        if missing:
            # A batch of another number of rows would give other bits.
            parts.append(parts[-1][-1:].expand(missing, -1, -1, -1))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def drop(self, size: int) -> None:
        """Let go of what `first` returned."""
        self.keys = self.keys[size:]
        while size and self._blocks:
            block = self._blocks.pop(0)
            rest = block[size:]
            size -= min(size, len(block))
            self.nbytes -= block.nbytes - rest.nbytes
            if len(rest):
                self._blocks.insert(0, rest)

    def settled(self) -> None:
        """Let go of what came with images that wait, and was taken: less than a batch is copied.

        Not whenever some are taken: of a large block they are taken many times.
        """
        if self._blocks and self._blocks[0].untyped_storage().nbytes() > self._blocks[0].nbytes:
            self._blocks[0] = self._blocks[0].clone()
