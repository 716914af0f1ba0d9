"""The images that a network is trained on: read by the reading room, once where they fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from histokit.features.images import Images
from histokit.networks.devices import free_device_memory
from histokit.networks.failures import free_memory
from histokit.networks.transform import TooLargeError, Transform
from histokit.plugin.remarks import RemarkTally
from histokit.reading.chunks import ChunkReader
from histokit.reading.reader import ReadResult

#: The part of the memory that images may take: of a GPU, of what others have left.
_SHARE = 4

Rows = NDArray[np.intp]


class TrainingImages:
    """Images of samples, brought to the size at which a crop is cut from them.

    Parameters
    ----------
    images : Images
        Of all samples of an experiment.
    transform : Transform
    workers : int, optional
        Processes that read; see `ChunkReader`.
    limit : int, optional
        Bytes that images may take in memory; those beyond it are read again in each epoch.
    """

    def __init__(self, images: Images, transform: Transform, workers: int | None = None, limit: int | None = None):
        self._images, self._transform, self._workers = images, transform, workers
        if limit is None:
            # What the training before this one held, torch keeps for later, and others is what it would seem to be.
            free_memory(transform.device)
            limit = free_device_memory(transform.device) // _SHARE
        self._limit = limit
        self._held: dict[int, Tensor] = {}
        self._bytes = 0
        #: Row → why its image cannot be read.
        self.unreadable: dict[int, str] = {}
        #: Called with these when one is met that was not known before; none where such images are left out.
        self.refuse: Callable[[Mapping[int, str]], None] | None = None
        self.tally = RemarkTally()
        self.notes: list[str] = []

    def hold(self, rows: Sequence[int] | Rows, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Read images ahead, as long as they fit into memory."""
        for done, (row, loaded) in enumerate(self._read(rows, lambda: len(rows)), 1):
            progress(done, len(rows))
            if loaded is not None and row not in self._held:
                return

    @property
    def whole(self) -> bool:
        """Whether all that was read is in memory."""
        return self._bytes < self._limit

    def stream(self, rows: Sequence[int] | Rows) -> Iterator[tuple[int, Tensor]]:
        """Yield row and (C, H, W) image of rows in order, on the device; those that cannot be read are left out."""
        wanted = [int(row) for row in rows if int(row) not in self.unreadable]
        absent = [row for row in wanted if row not in self._held]
        if not absent:
            yield from ((row, self._held[row]) for row in wanted)
            return
        left = iter(range(len(absent), -1, -1))
        with closing(self._read(absent, lambda: next(left, 0))) as fresh:
            for row in wanted:
                if row in self._held:
                    yield row, self._held[row]
                    continue
                found, loaded = next(fresh)
                assert found == row
                if loaded is not None:
                    yield row, loaded

    def batches(self, groups: Iterable[Rows]) -> Iterator[tuple[Rows, list[Tensor]]]:
        """Yield the rows and the images of groups of rows, fewer where some cannot be read; a group may be empty."""
        groups = list(groups)
        source = self.stream(np.concatenate(groups) if groups else [])
        waiting: tuple[int, Tensor] | None = None
        for group in groups:
            rows, images = [], []
            for row in group.tolist():
                waiting = waiting or next(source, None)
                if waiting is not None and waiting[0] == row:
                    rows.append(row)
                    images.append(waiting[1])
                    waiting = None
            yield np.array(rows, np.intp), images

    def _read(
        self, rows: Sequence[int] | Rows, left: Callable[[], int]
    ) -> Generator[tuple[int, Tensor | None], None, None]:
        """Yield each row and its image, or none where it cannot be read; keep it where there is room."""
        reader = ChunkReader(self._images.files, self._workers, self._transform.device.type != "cpu", left)
        samples = ((int(row), self._images.sample(int(row))) for row in rows)
        try:
            with closing(reader.chunks(samples)) as chunks:
                for results in chunks:
                    yield from self._taken(results)
        finally:
            # Also where nobody takes what comes after the memory is full, or after the last row.
            self.notes += [note for note in reader.notes if note not in self.notes]

    def _taken(self, results: Sequence[ReadResult]) -> Iterator[tuple[int, Tensor | None]]:
        loaded = self._load(results)
        for result in results:
            row, image = result.position, loaded.get(result.position)
            self.tally.add(result.remarks)
            if image is None:
                self.unreadable.setdefault(row, result.reason or "")
                if self.refuse is not None:
                    self.refuse(self.unreadable)
            elif self._bytes + image.nbytes <= self._limit:
                # A copy, because the memory of processes that read is used again.
                self._held[row] = image.clone()
                self._bytes += image.nbytes
            yield row, self._held.get(row, image)

    def _load(self, results: Sequence[ReadResult]) -> dict[int, Tensor]:
        groups: dict[object, list[ReadResult]] = {}
        found: dict[int, Tensor] = {}
        for result in results:
            if result.pixels is not None:
                groups.setdefault((result.pixels.shape, result.pixels.dtype, result.mpp), []).append(result)
        for members in groups.values():
            pixels = [result.pixels for result in members if result.pixels is not None]
            mpp = members[0].mpp if self._transform.preprocess.target_mpp is not None else None
            try:
                loaded = self._transform.load(pixels, mpp)
            except TooLargeError as error:
                self.unreadable |= {result.position: error.line for result in members}
                continue
            found |= {result.position: image for result, image in zip(members, loaded, strict=True)}
        return found
