"""Pushes batches of images through one network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histokit.errors import UsageError
from histokit.extract.in_flight import InFlight
from histokit.extract.ledger import BackboneLedger
from histokit.extract.writer import Writer
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import device_memory
from histokit.networks.failures import BatchTooLargeError, free_memory, inputs_of, memory_told
from histokit.networks.image_queue import ImageQueue
from histokit.networks.memory import check_batch, input_shape
from histokit.networks.transform import TooLargeError, Transform
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.reading.reader import READ_BYTES, ReadResult

#: Shape, type and micrometres per pixel of images, and an image by its content.
_Size = tuple[tuple[int, ...], np.dtype[Any], float | None]
_Read = tuple[bytes, ReadResult]


class NetworkWorker:
    """Feeds one network with batches that always have the same number of rows.

    Parameters
    ----------
    ledger : BackboneLedger
    channels : sequence of str
        Of the dataset.
    device : torch.device
    precision : str
    batch_size : int, optional
        From `histokit.networks.cut_network.BATCH_SIZES` where not given.
    writer : Writer
    """

    def __init__(
        self,
        ledger: BackboneLedger,
        channels: Sequence[str],
        device: torch.device,
        precision: str,
        batch_size: int | None,
        writer: Writer,
    ):
        self._memory = device_memory(device)
        self._device = device
        plan = ledger.plan
        check_batch(batch_size, input_shape(plan.backbone.preprocess), self._memory, f"the device {device}")
        self.ledger, self.plan = ledger, plan
        self.batch_size = batch_size
        self.writer = writer
        self.transform = Transform(plan.backbone.preprocess, channels, device)
        backbone = registry().backbone(plan.backbone.name, plan.backbone.request, plan.backbone.store)
        self._adapter = plan.backbone.preprocess.adapter
        inputs = self.transform.depth if self._adapter == "inflate" else None
        layers = [table.plan.layer for table in ledger.open_tables]
        self.network = CutNetwork(backbone, layers, device, precision, inputs)
        self._notes = GuardedBackbone(backbone).notes()
        for table in ledger.open_tables:
            names = self.network.column_names(table.plan.layer)
            if names:
                table.info["columns"] = names
        #: Rows of batches where the device had too little memory for those that were chosen.
        self._fitting: dict[torch.Size, int] = {}
        self._queues: dict[torch.Size, ImageQueue[bytes]] = {}
        self._in_flight = InFlight(device, partial(writer.add, ledger))
        _, *sides = input_shape(plan.backbone.preprocess)
        while plan.engine != "torch" and not self._compiled(torch.Size((self.transform.depth, *sides))):
            free_memory(device)

    def _compiled(self, shape: torch.Size) -> bool:
        """Compile the network; return whether memory was enough for a batch, or halve it."""
        rows = self._rows(shape)
        try:
            self.network.compile((rows, *shape), self.plan.engine)
        except BatchTooLargeError:
            if rows <= 2:
                raise
            self._fitting[shape] = max(2, rows // 2)
            return False
        return True

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the network was built and run."""
        if not self._fitting:
            return self._notes
        shape, rows = min(self._fitting.items(), key=lambda item: item[1])
        inputs = inputs_of((self.batch_size or self.network.batch_size(*shape[1:]), *shape))
        short = f"the device {self._device} has too little memory for {inputs}: it went on with {rows}"
        return [*self._notes, f"{short}; --batch-size {rows} fits"]

    def add(self, results: Sequence[_Read]) -> None:
        """Take images that were read; run the network whenever a batch is full."""
        by_size: dict[_Size, list[_Read]] = {}
        for content, result in results:
            if self.ledger.needs(content) and result.pixels is not None:
                mpp = result.mpp if self.transform.preprocess.target_mpp is not None else None
                by_size.setdefault((result.pixels.shape, result.pixels.dtype, mpp), []).append((content, result))
        for (*_, mpp), members in self._pieces(by_size):
            try:
                resized = self.transform.resize([r.pixels for _, r in members if r.pixels is not None], mpp)
            except TooLargeError as error:
                for content, _ in members:
                    self.writer.fail_for(self.ledger, content, error.message)
                continue
            shape = resized.shape[1:]
            queue = self._queues.setdefault(shape, ImageQueue())
            queue.put([content for content, _ in members], resized)
            while len(queue.keys) >= self._rows(shape):
                self._run(queue, shape)

    def _pieces(self, groups: Mapping[_Size, Sequence[_Read]]) -> Iterator[tuple[_Size, Sequence[_Read]]]:
        """Yield images of one size, no more at once than take little memory as inputs."""
        preprocess = self.plan.backbone.preprocess
        channels, side, _ = input_shape(preprocess)
        count = max(1, READ_BYTES // (channels * (preprocess.resize_size or side) ** 2))
        for size, members in groups.items():
            for start in range(0, len(members), count):
                yield size, members[start : start + count]

    def _rows(self, shape: torch.Size) -> int:
        _, height, width = shape
        check_batch(self.batch_size, shape, self._memory, f"the device {self._device}")
        return self._fitting.get(shape) or self.batch_size or self.network.batch_size(height, width)

    def finish(self) -> None:
        """Run the network on what is left, and hand all vectors to the writer."""
        for shape, queue in self._queues.items():
            while queue.keys:
                self._run(queue, shape)
        self._in_flight.finish()

    def _vectors(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """Push resized pixels through the network, all channels at once or each on its own."""
        if self._adapter != "each":
            return self.network.forward(self.transform.normalise(pixels))
        passes = [
            {name: vectors.clone() for name, vectors in self.network.forward(self.transform.normalise(one)).items()}
            for one in pixels.split(1, dim=1)
        ]
        return {name: torch.cat([vectors[name] for vectors in passes], dim=1) for name in passes[0]}

    def _run(self, queue: ImageQueue[bytes], shape: torch.Size) -> None:
        rows = self._rows(shape)
        contents = queue.keys[:rows]
        try:
            with memory_told(self._device, self.plan.backbone.name, (rows, *shape)):
                vectors = self._vectors(queue.first(rows))
                staged = self._in_flight.stage(vectors)
        except UsageError as error:
            halved = isinstance(error, BatchTooLargeError) and rows > 2
            if not halved and self.transform.preprocess.resize != "none":
                raise
            reason = error.message
        else:
            queue.drop(rows)
            self._in_flight.send(contents, staged)
            return
        free_memory(self._device)
        if halved:
            # Never one row, whose bits are others.
            self._fitting[shape] = max(2, rows // 2)
            return
        # Too small for the network, maybe; images of other sizes go on.
        queue.drop(rows)
        for content in contents:
            self.writer.fail([self.ledger], content, reason)
