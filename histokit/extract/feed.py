"""Reads each image once and feeds it to every network that needs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from histokit.extract.ingested import IngestedFiles
from histokit.extract.plan import Samples
from histokit.extract.reader import READ_BYTES, ReadResult, read_samples
from histokit.extract.worker import NetworkWorker
from histokit.extract.writer import Writer

_CHUNK = 64


def run_workers(
    files: IngestedFiles,
    samples: Samples,
    networks: Sequence[NetworkWorker],
    writer: Writer,
    workers: int | None,
    progress: Callable[..., None],
) -> None:
    """Read every image that a network needs once, and push it through."""
    wanted = set().union(*(network.plan.contents for network in networks))
    first: dict[bytes, list[int]] = {}
    for position, content in enumerate(samples.contents):
        if content in wanted:
            first.setdefault(content or b"", []).append(position)
    positions = [members[0] for members in first.values()]
    threads = min(8, os.cpu_count() or 1) if workers is None else workers
    chunk: list[tuple[bytes, ReadResult]] = []
    done = held = 0
    for result in read_samples(files, positions, samples.sample, threads, 2 * _CHUNK):
        content = samples.contents[result.position] or b""
        if result.reason is not None:
            for position in first[content]:
                writer.fail(position, result.reason)
        else:
            chunk.append((content, result))
            held += result.nbytes
        if len(chunk) == _CHUNK or held >= READ_BYTES:
            _push(networks, chunk)
            done += len(chunk)
            progress(done, len(positions))
            chunk, held = [], 0
    _push(networks, chunk)
    for network in networks:
        network.finish()


def _push(networks: Sequence[NetworkWorker], chunk: Sequence[tuple[bytes, ReadResult]]) -> None:
    for network in networks:
        network.add(chunk)
