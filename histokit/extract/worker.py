"""Pushes batches of images through one network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import torch

from histokit.extract.in_flight import InFlight, Staged
from histokit.extract.ledger import BackboneLedger
from histokit.extract.writer import Writer
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import device_memory
from histokit.networks.failures import BatchTooLargeError, free_memory
from histokit.networks.image_batches import ImageBatches, InputImage, vectors_of
from histokit.networks.memory import check_batch, input_shape
from histokit.networks.transform import Transform
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.reading.reader import ReadResult

#: An image by its content.
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
        From `histokit.networks.devices.BATCH_SIZES` where not given.
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
        self._device = device
        plan = ledger.plan
        shape = input_shape(plan.backbone.preprocess)
        check_batch(batch_size, shape, device_memory(device), f"the device {device}")
        self.ledger, self.plan = ledger, plan
        self.writer = writer
        self.transform = Transform(plan.backbone.preprocess, channels, device)
        backbone = registry().backbone(plan.backbone.name, plan.backbone.request, plan.backbone.store)
        inputs = self.transform.depth if plan.backbone.preprocess.adapter == "inflate" else None
        layers = [table.plan.layer for table in ledger.open_tables]
        self.network = CutNetwork(backbone, layers, device, precision, inputs)
        self._notes = GuardedBackbone(backbone).notes()
        for table in ledger.open_tables:
            names = self.network.column_names(table.plan.layer)
            if names:
                table.info["columns"] = names
        self._in_flight = InFlight(device, partial(writer.add, ledger))
        self._batches: ImageBatches[bytes, Staged] = ImageBatches(
            self.transform,
            plan.backbone.name,
            batch_size,
            self.network.batch_size,
            lambda pixels: self._in_flight.stage(vectors_of(self.network, self.transform, pixels)),
            self._in_flight.send,
            partial(writer.fail_for, ledger),
        )
        while plan.engine != "torch" and not self._compiled(torch.Size((self.transform.depth, *shape[1:]))):
            free_memory(device)

    def _compiled(self, shape: torch.Size) -> bool:
        """Compile the network; return whether memory was enough for a batch, or halve it."""
        try:
            self.network.compile((self._batches.rows(shape), *shape), self.plan.engine)
        except BatchTooLargeError:
            if not self._batches.halve(shape):
                raise
            return False
        return True

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the network was built and run."""
        return [*self._notes, *self._batches.notes]

    def add(self, results: Sequence[_Read]) -> None:
        """Take images that were read; run the network whenever a batch is full."""
        self._batches.add(
            InputImage(content, result.pixels, result.mpp)
            for content, result in results
            if result.pixels is not None and self.ledger.needs(content)
        )

    def rescue(self) -> None:
        """Hand the vectors that are on their way to the writer, where something else ends the run."""
        # What the device says of itself by now is not what is to be told.
        with suppress(Exception):
            self._in_flight.finish()

    def finish(self) -> None:
        """Run the network on what is left, and hand all vectors to the writer."""
        self._batches.finish()
        self._in_flight.finish()
