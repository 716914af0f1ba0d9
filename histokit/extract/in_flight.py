"""Vectors on their way from a device: copied in one piece a batch, while the device goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Take = Callable[[Sequence[bytes], Mapping[str, npt.NDArray[np.float32]]], None]

#: Batches that are on their way at once: the device never waits for what takes them, nor the other way round.
IN_FLIGHT = 4


class Staged(NamedTuple):
    """The vectors of a batch in this machine's memory, or on their way into the columns of a matrix there."""

    vectors: Mapping[str, Tensor]
    matrix: Tensor | None = None
    arrived: Any = None


class InFlight:
    """Hands the vectors of batches on, in order, once they have arrived in this machine's memory.

    Parameters
    ----------
    device : torch.device
        Of the vectors.
    take : callable
        Given the contents of a batch and the vectors of each layer, (n, d) float32 arrays which it has to copy:
        their memory is used again. Rows that only fill up the batch are not among them.
    """

    def __init__(self, device: torch.device, take: Take):
        self._device = device
        self._take = take
        self._under_way: deque[tuple[Sequence[bytes], Staged]] = deque()
        self._free: list[Tensor] = []

    def stage(self, vectors: Mapping[str, Tensor]) -> Staged:
        """Begin to copy the vectors of a batch; where memory is short for that, nothing was handed on."""
        if self._device.type == "cpu":
            return Staged(vectors)
        joined = torch.cat(list(vectors.values()), dim=1)
        matrix = self._buffer(joined.shape).copy_(joined, non_blocking=True)
        columns = matrix.split([tensor.shape[1] for tensor in vectors.values()], dim=1)
        return Staged(dict(zip(vectors, columns, strict=True)), matrix, self._event())

    def send(self, contents: Sequence[bytes], staged: Staged) -> None:
        """Hand on the vectors of a batch once those of so many others are under way behind it."""
        self._under_way.append((contents, staged))
        while self._under_way and (staged.matrix is None or len(self._under_way) > IN_FLIGHT):
            self._hand_on()

    def finish(self) -> None:
        """Hand on all that is under way."""
        while self._under_way:
            self._hand_on()

    def _hand_on(self) -> None:
        contents, staged = self._under_way.popleft()
        if staged.matrix is not None:
            staged.arrived.synchronize()
        self._take(contents, {name: tensor[: len(contents)].numpy() for name, tensor in staged.vectors.items()})
        if staged.matrix is not None:
            self._free.append(staged.matrix)

    def _buffer(self, shape: torch.Size) -> Tensor:
        """Return memory of this machine that the device can write to by itself; what is there is used again."""
        for place, tensor in enumerate(self._free):
            if tensor.shape == shape:
                return self._free.pop(place)
        # Batches of another size will not come again soon.
        self._free.clear()
        return torch.empty(shape, dtype=torch.float32, pin_memory=True)

    def _event(self) -> Any:
        event = torch.cuda.Event()
        # Of this device, which need not be torch's current one.
        event.record(torch.cuda.current_stream(self._device))
        return event
