"""What is drawn at random while a network is trained: each step's numbers depend on where it is, and on nothing else.

So nothing of a random generator has to be kept to go on with a training as if it had never been interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

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
    seed, generators = seed_of(*place), _global_generators()
    before = np.random.get_state()
    states = [generator.get_state() for generator in generators]
    try:
        # What `torch.manual_seed` and `fork_rng` do, without asking each time which devices there are: of a step on
        # vectors that would take longer than the step.
        for generator in generators:
            generator.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        np.random.set_state(before)


@cache
def _global_generators() -> tuple[torch.Generator, ...]:
    """Return those that torch draws from where none is given: of the processor and of each GPU."""
    if not torch.cuda.is_available():
        return (torch.default_generator,)
    torch.cuda.init()
    return (torch.default_generator, *torch.cuda.default_generators)


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
