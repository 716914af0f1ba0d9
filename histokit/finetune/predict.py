"""What a trained network says of images: probabilities of classes, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histokit.networks.devices import DTYPES, batch_rows, kind_of, laid_out, whole_float32
from histokit.networks.image_batches import ImageBatches, InputImage
from histokit.networks.trainable import NetworkDescription
from histokit.networks.trained_backbone import check_channels
from histokit.networks.transform import Transform
from histokit.plugin import Sample
from histokit.plugin.remarks import RemarkTally
from histokit.reading.chunks import ChunkReader
from histokit.reading.ingested_files import IngestedFiles
from histokit.reading.reader import ReadResult


def run_scorers(
    scorers: Sequence[NetworkScorer],
    files: IngestedFiles,
    samples: Sequence[Sample],
    *,
    workers: int | None = None,
    progress: Callable[..., None] = lambda *_: None,
    remarks: RemarkTally | None = None,
    notes: list[str] | None = None,
) -> None:
    """Read samples once, and run networks on them; what they say is in `NetworkScorer.found`.

    Parameters
    ----------
    scorers : sequence of NetworkScorer
    files : IngestedFiles
        Of the dataset of the samples.
    samples : sequence of Sample
    workers : int, optional
        Processes that read, see `ChunkReader`.
    progress : callable, optional
        Called with (done, total).
    remarks : RemarkTally, optional
        Counts what is to be known of the images.
    notes : list of str, optional
        Takes what is to be known of how they were read and run.
    """
    done = 0
    reader = ChunkReader(files, workers, scorers[0].device.type != "cpu", lambda: len(samples) - done)
    with ExitStack() as stack:
        for scorer in scorers:
            stack.enter_context(evaluating(scorer.network))
        for chunk in stack.enter_context(closing(reader.chunks(enumerate(samples)))):
            for result in chunk if remarks is not None else ():
                remarks.add(result.remarks)  # type: ignore[union-attr]
            for scorer in scorers:
                scorer.add(chunk)
            done += len(chunk)
            progress(done, len(samples))
        for scorer in scorers:
            scorer.finish()
    if notes is not None:
        notes += [*reader.notes, *(note for scorer in scorers for note in scorer.notes)]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network in evaluation mode inside; each of its modules is as it was before afterwards."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in before.items():
            module.training = training


class NetworkScorer:
    """Runs a network on n images that come one by one, in batches that always have the same number of rows.

    Parameters
    ----------
    network : Module
        Moved to the device.
    described : NetworkDescription
    channels : sequence of str
        Of the images.
    count : int
        Of images.
    device : torch.device
    batch_size : int, optional
        Rows of each forward pass, of which the last is filled up; by network and device where not given.
    precision : str
        ``float32``, ``bfloat16`` or ``float16``.
    failed : callable
        Called with the position and the reason of each image that has no scores.

    Attributes
    ----------
    found : (n, K) float64 array
        Probabilities of the classes, or (n, 1) numbers in the units of the target; NaN where there are none.

    Raises
    ------
    StoreError
        If the channels of the images are not those that the network was trained on.
    """

    def __init__(
        self,
        network: nn.Module,
        described: NetworkDescription,
        channels: Sequence[str],
        count: int,
        device: torch.device,
        batch_size: int | None,
        precision: str,
        failed: Callable[[int, str], None],
    ):
        check_channels(described, channels)
        self.network = laid_out(network.to(device))
        self.described, self.device, self.failed = described, device, failed
        self.transform = Transform(described.preprocess, channels, device)
        self.found = np.full((count, described.outputs), np.nan)
        self._dtype = DTYPES[precision]
        usual = partial(batch_rows, kind_of(network.modules()), device)
        self._batches: ImageBatches[int, NDArray[np.float64]] = ImageBatches(
            self.transform, described.backbone, batch_size, usual, self._run, self._take, failed
        )

    @property
    def notes(self) -> list[str]:
        """What is to be known of how the network was run."""
        return self._batches.notes

    def add(self, results: Sequence[ReadResult]) -> None:
        """Take images that were read; run the network whenever a batch is full."""
        images = []
        for result in results:
            if result.pixels is None:
                self.failed(result.position, str(result.reason))
            else:
                images.append(InputImage(result.position, result.pixels, result.mpp))
        self._batches.add(images)

    def finish(self) -> None:
        """Run the network on what is left."""
        self._batches.finish()

    def _take(self, positions: Sequence[int], scores: NDArray[np.float64]) -> None:
        for position, row in zip(positions, scores, strict=False):
            if np.isfinite(row).all():
                self.found[position] = row
            else:
                self.failed(position, "the network gave NaN or infinity")

    def _run(self, pixels: Tensor) -> NDArray[np.float64]:
        reduced = self._dtype != torch.float32
        kind = self._dtype if reduced else torch.bfloat16
        batch = self.transform.normalise(pixels).contiguous(memory_format=torch.channels_last)
        with whole_float32(self.device), torch.autocast(self.device.type, dtype=kind, enabled=reduced):
            outputs: Tensor = self.network(batch)
        found: NDArray[np.float64] = self.described.scores(outputs).cpu().numpy()
        return found
