"""Reads each image once and feeds it to every network that needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from histokit.extract.claimed_work import Work
from histokit.extract.worker import NetworkWorker
from histokit.extract.writer import Writer
from histokit.plugin import Sample
from histokit.reading.chunks import ChunkReader
from histokit.reading.ingested_files import IngestedFiles
from histokit.reading.reader import ReadResult, read_sample

#: Seconds between two looks for what other processes gave back.
_LOOK_EVERY = 0.25

#: The content of an image, and what was read of it.
_Read = tuple[bytes, ReadResult]


def run_workers(
    reader: ChunkReader,
    work: Work,
    networks: Sequence[NetworkWorker],
    writer: Writer,
    progress: Callable[..., None],
) -> list[str]:
    """Read every image that a network needs once, and push it through; return what is to be known of the reading."""
    seconds = 0.0
    while work.left:
        before, started = work.left, time.monotonic()
        try:
            _run(reader, work, networks, writer, progress)
        except BaseException:
            for network in networks:
                network.rescue()
            raise
        # Nobody waits for another while holding a claim.
        for network in networks:
            network.finish()
        writer.flush()
        writer.settle()
        seconds += time.monotonic() - started
        if work.left:
            progress(work.total - work.left, work.total, "waiting for another process")
            if work.left == before:
                time.sleep(_LOOK_EVERY)
    _share(seconds, networks)
    return reader.notes


def _run(
    reader: ChunkReader,
    work: Work,
    networks: Sequence[NetworkWorker],
    writer: Writer,
    progress: Callable[..., None],
) -> None:
    contents: dict[int, bytes] = {}
    # Of those that are being read, the ones that are among what is left still.
    again: set[int] = set()

    def images() -> Iterator[tuple[int, Sample]]:
        for image in work.images():
            contents[image.position] = image.content
            if not image.last:
                again.add(image.position)
            yield image.position, image.sample

    # Closed at once, whatever happens, so that no process that reads is left.
    with closing(reader.chunks(images())) as chunks:
        for results in chunks:
            read = [(contents.pop(result.position), result) for result in results]
            _push(networks, _usable(reader.files, work, networks, writer, read))
            again &= contents.keys()
            progress(work.total - work.left - len(contents) + len(again), work.total)


def _usable(
    files: IngestedFiles, work: Work, networks: Sequence[NetworkWorker], writer: Writer, read: Sequence[_Read]
) -> list[_Read]:
    """Return the images that have pixels, with their contents; the samples of the others go to quarantine."""
    usable: list[_Read] = []
    for content, result in read:
        reasons: dict[int, str] = {}
        found = result if result.reason is None else _read_a_twin(files, work, networks, content, result, reasons)
        if found.reason is None:
            writer.remark(found.remarks, content)
            usable.append((content, found))
        else:
            writer.fail([network.ledger for network in networks], content, found.reason, reasons)
    return usable


def _read_a_twin(
    files: IngestedFiles,
    work: Work,
    networks: Sequence[NetworkWorker],
    content: bytes,
    failed: ReadResult,
    reasons: dict[int, str],
) -> ReadResult:
    """Read another sample of the same content, in the place of one that cannot be read or is not what it was.

    Why each of them cannot be read is noted under its position: the reason names its own file.
    """
    reasons[failed.position] = failed.reason or ""
    if failed.deadly:
        # Those of the same content would end this process.
        return failed
    jobs = [network.ledger.jobs[content] for network in networks if network.ledger.needs(content)]
    others = {position for job in jobs for position, _ in job.members} - {failed.position}
    for position in sorted(others):
        ((sample, _),) = work.samples.take([position])
        found = read_sample(files, position, sample)
        if found.reason is None:
            return found
        reasons[position] = found.reason
    return failed


def _push(networks: Sequence[NetworkWorker], images: Sequence[_Read]) -> None:
    for network in networks:
        started = time.monotonic()
        network.add(images)
        network.ledger.seconds += time.monotonic() - started


def _share(seconds: float, networks: Sequence[NetworkWorker]) -> None:
    """Divide the time of reading, writing and waiting among networks as that of their passes."""
    passes = sum(network.ledger.seconds for network in networks)
    for network in networks:
        network.ledger.seconds *= seconds / passes if passes else 0.0
