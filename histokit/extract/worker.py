"""Pushes batches of images through one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from histokit.errors import UsageError
from histokit.extract.network import CutNetwork
from histokit.extract.plan import BackbonePlan
from histokit.extract.reader import ReadResult
from histokit.extract.transform import Transform
from histokit.extract.writer import Writer
from histokit.plugin.manager import registry

#: Small on processors, whose caches large batches overflow; never found by timing, so that it is reproducible.
BATCH_SIZES = {"cpu": 16, "cuda": 256}


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is CUDA where there is one.

    Raises
    ------
    UsageError
        If the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in BATCH_SIZES:
        raise UsageError(f"There is no device {name!r} for networks.", next="Use auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"This machine has no CUDA device {name!r} that torch can use.", next="Use --device cpu.")
    return device


class NetworkWorker:
    """Feeds one network with batches that always have the same number of rows.

    Parameters
    ----------
    plan : BackbonePlan
    channels : sequence of str
        Of the dataset.
    device : torch.device
    precision : str
    batch_size : int
    writer : Writer
    """

    def __init__(
        self,
        plan: BackbonePlan,
        channels: Sequence[str],
        device: torch.device,
        precision: str,
        batch_size: int,
        writer: Writer,
    ):
        self.plan = plan
        self.batch_size = batch_size
        self.writer = writer
        self.transform = Transform(plan.backbone.preprocess, channels, device)
        backbone = registry().backbone(plan.backbone.name, plan.backbone.request)
        self.network = CutNetwork(backbone, [t.layer for t in plan.open_tables], device, precision)
        self.notes = list(getattr(backbone, "notes", ()))
        for table in plan.open_tables:
            names = self.network.column_names(table.layer)
            if names:
                table.info["columns"] = names
        self._pending: dict[torch.Size, list[tuple[bytes, Tensor]]] = {}

    def add(self, results: Sequence[tuple[bytes, ReadResult]]) -> None:
        """Take images that were read; run the network whenever a batch is full."""
        by_size: dict[tuple[tuple[int, ...], float | None], list[tuple[bytes, ReadResult]]] = {}
        for content, result in results:
            if self.plan.needs(content) and result.pixels is not None:
                mpp = result.mpp if self.transform.preprocess.target_mpp is not None else None
                by_size.setdefault((result.pixels.shape, mpp), []).append((content, result))
        for (_, mpp), members in by_size.items():
            pixels = [result.pixels for _, result in members if result.pixels is not None]
            resized = self.transform.resize(pixels, mpp)
            queue = self._pending.setdefault(resized.shape[1:], [])
            queue.extend(zip((content for content, _ in members), resized, strict=True))
            while len(queue) >= self.batch_size:
                self._run(queue[: self.batch_size])
                del queue[: self.batch_size]

    def finish(self) -> None:
        """Run the network on what is left."""
        for queue in self._pending.values():
            if queue:
                self._run(queue)
                queue.clear()

    def _run(self, batch: Sequence[tuple[bytes, Tensor]]) -> None:
        # A batch of another number of rows gives other bits, so the last one is padded.
        rows = [tensor for _, tensor in batch]
        padded = torch.stack([*rows, *[rows[-1]] * (self.batch_size - len(rows))])
        vectors = self.network(self.transform.normalise(padded))
        self.writer.add(self.plan, [c for c, _ in batch], {name: v[: len(batch)] for name, v in vectors.items()})
