"""What is drawn at random while a network is trained: each step's numbers depend on where it is, and on nothing else.

So nothing of a random generator has to be kept to go on with a training as if it had never been interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from histokit.plugin.digests import digest_json

Rows = NDArray[np.intp]


def seed_of(*place: int | str) -> int:
    """Return a number of 63 bits for a place in a training: seed, fold, stage, epoch, step."""
    return int.from_bytes(digest_json(list(place))[:8], "little") >> 1


def generator_at(*place: int | str) -> torch.Generator:
    """Return a generator on the CPU for a place in a training."""
    return torch.Generator().manual_seed(seed_of(*place))


@contextmanager
def drawing_at(*place: int | str) -> Iterator[None]:
    """Let all that is drawn in a ``with`` block, by torch and by numpy, depend on a place."""
    seed = seed_of(*place)
    before = np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        try:
            yield
        finally:
            np.random.set_state(before)


def shuffled_batches(rows: Rows, size: int, *place: int | str) -> list[Rows]:
    """Return rows in a random order, as batches; a last one of a single row goes with the one before it.

    A batch of one has no variance that batch normalisation could divide by.
    """
    order = rows[torch.randperm(len(rows), generator=generator_at("order", *place)).numpy()]
    return cut(order, size)


def cut(rows: Rows, size: int) -> list[Rows]:
    """Return rows in order, as batches; a last one of a single row goes with the one before it."""
    if not len(rows):
        return []
    starts = list(range(0, len(rows), size))
    if len(starts) > 1 and len(rows) - starts[-1] == 1 and size > 1:
        starts.pop()
    return [rows[start:stop] for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)]
