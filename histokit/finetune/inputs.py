"""What goes into the part of a network that is trained: augmented images, or the vectors of what is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histokit.finetune.augment import Augmenter
from histokit.finetune.drawing import generator_at
from histokit.finetune.pixels import TrainingImages
from histokit.networks.trainable import TrainableNetwork
from histokit.networks.transform import Transform

Rows = NDArray[np.intp]


class Inputs(Protocol):
    """Gives batches of what a module takes."""

    #: The part of the network that is run on them.
    module: nn.Module

    def training(self, groups: Sequence[Rows], first: int, *place: int | str) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the inputs of batches for training; the first one is the step `first` of a place."""
        ...

    def prediction(self, groups: Sequence[Rows]) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the inputs of batches as they are predicted."""
        ...


class ImageInputs:
    """Images, augmented and normalised.

    Parameters
    ----------
    network : TrainableNetwork
    images : TrainingImages
    transform : Transform
    augmenter : Augmenter, optional
        None for training on images as they are predicted.
    """

    def __init__(
        self, network: TrainableNetwork, images: TrainingImages, transform: Transform, augmenter: Augmenter | None
    ):
        self.module: nn.Module = network
        self._images, self._transform, self._augmenter = images, transform, augmenter

    def training(self, groups: Sequence[Rows], first: int, *place: int | str) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the inputs of batches for training, (n, C, size, size) each."""
        for step, (rows, images) in enumerate(self._images.batches(groups), first):
            if not len(rows):
                continue
            if self._augmenter is None:
                yield rows, self._normalised(images)
                continue
            batch = self._augmenter(images, generator_at("augment", *place, step))
            yield rows, self._transform.normalise(batch)

    def prediction(self, groups: Sequence[Rows]) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the inputs of batches as they are predicted."""
        for rows, images in self._images.batches(groups):
            if len(rows):
                yield rows, self._normalised(images)

    def _normalised(self, images: Sequence[Tensor]) -> Tensor:
        return self._transform.normalise(torch.stack([self._transform.centre(image) for image in images]))


class VectorInputs:
    """The vectors at the cut of a network of which only the head is trained.

    Parameters
    ----------
    network : TrainableNetwork
    vectors : mapping
        Row → (d,) vector on the device of the network.
    """

    def __init__(self, network: TrainableNetwork, vectors: dict[int, Tensor]):
        self.module: nn.Module = network.head
        self._vectors = vectors

    def training(self, groups: Sequence[Rows], first: int, *place: int | str) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the (n, d) vectors of batches."""
        yield from self.prediction(groups)

    def prediction(self, groups: Sequence[Rows]) -> Iterator[tuple[Rows, Tensor]]:
        """Yield the rows and the (n, d) vectors of batches."""
        for group in groups:
            rows = [row for row in group.tolist() if row in self._vectors]
            if rows:
                yield np.array(rows, np.intp), torch.stack([self._vectors[row] for row in rows])


@torch.no_grad()
def frozen_vectors(
    network: TrainableNetwork, inputs: ImageInputs, rows: Rows, size: int, dtype: torch.dtype
) -> dict[int, Tensor]:
    """Return row → vector of what is frozen of a network, in evaluation mode.

    Every pass has `size` images, the last one the first of them again: with another number some networks compute other
    bits, and an interrupted training is to go on with those that it had.
    """
    network.eval()
    device = next(network.parameters()).device
    found: dict[int, Tensor] = {}
    for known, batch in inputs.prediction([rows[start : start + size] for start in range(0, len(rows), size)]):
        full = torch.cat([batch, batch[:1].expand(size - len(batch), -1, -1, -1)])
        full = full.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            vectors = network.vectors(full)
        found |= dict(zip(known.tolist(), vectors[: len(known)].clone(), strict=True))
    return found
