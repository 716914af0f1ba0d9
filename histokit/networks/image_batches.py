"""Images on their way into a network: brought to its size, and run in batches of always the same number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from histokit.errors import UsageError
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import device_memory
from histokit.networks.failures import BatchTooLargeError, free_memory, inputs_of, memory_told
from histokit.networks.image_queue import ImageQueue
from histokit.networks.memory import check_batch
from histokit.networks.transform import TooLargeError, Transform
from histokit.plugin.images import Pixels

Key = TypeVar("Key")
Result = TypeVar("Result")

#: Bytes of inputs that are brought to a size at once.
_PIECE = 256 << 20

#: Bytes of inputs of any sizes that wait for others of their size, or so many batches where these are larger: where all
#: images differ in size, none would run before the last was read, and all would be in memory.
_WAITING, _BATCHES = 256 << 20, 4


def vectors_of(network: CutNetwork, transform: Transform, pixels: Tensor) -> dict[str, Tensor]:
    """Push resized pixels through a network, all channels at once or, where its adapter is so, each on its own.

    Parameters
    ----------
    network : CutNetwork
    transform : Transform
    pixels : (N, C, H, W) Tensor

    Returns
    -------
    dict
        Name of layer → (N, d) float32 Tensor, which is the network's own until it runs again; the vectors of channels
        that go in on their own lie one behind the other.
    """
    if transform.preprocess.adapter != "each":
        return network.forward(transform.normalise(pixels))
    passes = [
        {name: vectors.clone() for name, vectors in network.forward(transform.normalise(one)).items()}
        for one in pixels.split(1, dim=1)
    ]
    return {name: torch.cat([vectors[name] for vectors in passes], dim=1) for name in passes[0]}


@dataclass(frozen=True)
class InputImage(Generic[Key]):
    """Pixels, what they are known by, and the micrometres per pixel that they have."""

    key: Key
    pixels: Pixels
    mpp: float | None = None


class ImageBatches(Generic[Key, Result]):
    """Runs a network on images that come a few at a time; where memory is short, on half of a batch at once.

    Parameters
    ----------
    transform : Transform
    title : str
        What messages call the network.
    asked : int, optional
        Rows of each batch, of which the last is filled up.
    usual : callable
        Returns the rows for images of some height and width where none are asked for.
    run : callable
        Runs the network on resized images, an (n, C, H, W) Tensor. Its result is let go of where memory is short.
    take : callable
        Given the keys of a batch and the result; the result has a row more for each that fills up the batch.
    failed : callable
        Called with the key of an image that the network cannot take, and the reason.
    """

    def __init__(
        self,
        transform: Transform,
        title: str,
        asked: int | None,
        usual: Callable[[int, int], int],
        run: Callable[[Tensor], Result],
        take: Callable[[Sequence[Key], Result], None],
        failed: Callable[[Key, str], None],
    ):
        self._transform, self._title, self._asked, self._usual = transform, title, asked, usual
        self._run_network, self._take, self._failed = run, take, failed
        self._memory = device_memory(transform.device)
        self._queues: dict[torch.Size, ImageQueue[Key]] = {}
        #: Rows of batches where the device had too little memory for those that were chosen.
        self._fitting: dict[torch.Size, int] = {}

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the network was run."""
        if not self._fitting:
            return self._transform.notes
        shape, rows = min(self._fitting.items(), key=lambda item: item[1])
        inputs = inputs_of((self._asked or self._usual(*shape[1:]), *shape))
        short = f"the device {self._transform.device} has too little memory for {inputs}: it went on with {rows}"
        return [*self._transform.notes, f"{short}; --batch-size {rows} fits"]

    def add(self, images: Iterable[InputImage[Key]]) -> None:
        """Take images; run the network whenever a batch is full."""
        groups: dict[object, list[InputImage[Key]]] = {}
        scaled = self._transform.preprocess.target_mpp is not None
        for image in images:
            kind = image.pixels.shape, image.pixels.dtype, image.mpp if scaled else None
            groups.setdefault(kind, []).append(image)
        preprocess = self._transform.preprocess
        side = 1 if preprocess.resize == "none" else preprocess.resize_size or preprocess.size
        at_once = max(1, _PIECE // (self._transform.depth * side**2))
        for members in groups.values():
            for start in range(0, len(members), at_once):
                self._enqueue(members[start : start + at_once])
        self._run_waiting()

    def finish(self) -> None:
        """Run the network on what is left."""
        for shape, queue in list(self._queues.items()):
            while queue.keys:
                self._run(queue, shape)

    def rows(self, shape: torch.Size) -> int:
        """Return how many inputs of a shape a batch has.

        Raises
        ------
        UsageError
            If those that are asked for cannot be held.
        """
        check_batch(self._asked, shape, self._memory, f"the device {self._transform.device}")
        return self._fitting.get(shape) or self._asked or self._usual(*shape[1:])

    def halve(self, shape: torch.Size) -> bool:
        """Go on with half of the rows; return whether there are fewer. Never one row, whose bits are others."""
        rows = self.rows(shape)
        self._fitting[shape] = max(2, rows // 2)
        return rows > 2

    def _enqueue(self, members: Sequence[InputImage[Key]]) -> None:
        try:
            resized = self._transform.resize([image.pixels for image in members], members[0].mpp)
        except TooLargeError as error:
            for image in members:
                self._failed(image.key, error.message)
            return
        shape = resized.shape[1:]
        queue = self._queues.setdefault(shape, ImageQueue())
        queue.put([image.key for image in members], resized)
        while len(queue.keys) >= self.rows(shape):
            self._run(queue, shape)
        queue.settled()

    def _run_waiting(self) -> None:
        """Run what takes most of the memory, although its batch is not full, where too much waits."""
        waiting = sum(queue.nbytes for queue in self._queues.values())
        while waiting > _WAITING:
            shape, largest = max(self._queues.items(), key=lambda item: item[1].nbytes)
            before = largest.nbytes
            if waiting <= _BATCHES * (before // len(largest.keys)) * self.rows(shape):
                return
            self._run(largest, shape)
            largest.settled()
            waiting += largest.nbytes - before

    def _run(self, queue: ImageQueue[Key], shape: torch.Size) -> None:
        rows = self.rows(shape)
        keys = queue.keys[:rows]
        try:
            with memory_told(self._transform.device, self._title, (rows, *shape)):
                result = self._run_network(queue.first(rows))
        except UsageError as error:
            short = isinstance(error, BatchTooLargeError) and rows > 2
            if not short and self._transform.preprocess.resize != "none":
                raise
            reason = error.message
        else:
            self._drop(queue, shape, rows)
            self._take(keys, result)
            return
        free_memory(self._transform.device)
        if short:
            self.halve(shape)
            return
        # Too small for the network, maybe; images of other sizes go on.
        self._drop(queue, shape, rows)
        for key in keys:
            self._failed(key, reason)

    def _drop(self, queue: ImageQueue[Key], shape: torch.Size, rows: int) -> None:
        queue.drop(rows)
        if not queue.keys:
            del self._queues[shape]
