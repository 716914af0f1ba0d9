"""Similar problems one after the other, different ones in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.common import blas_threads
from histokit.cores import cores

Found = TypeVar("Found")
#: What a problem leaves for the next one of its chain.
Memory = dict[int, Any]

#: So many similar problems are solved one after the other, each from what the one before found.
_CHAIN = 5


def chains_of(kind: NDArray[np.intp], columns: NDArray[np.intp]) -> list[list[int]]:
    """Return columns in lists of similar problems, each of which starts from what its forerunner found."""
    chains = []
    for value in np.unique(kind[columns]):
        similar = columns[kind[columns] == value].tolist()
        count = max(2, -(-len(similar) // _CHAIN))
        chains += [part for part in (similar[start::count] for start in range(count)) if part]
    return chains


def in_turn(chains: list[list[int]], task: Callable[[int, Memory], list[Found]]) -> Iterator[Found]:
    """Work on all chains at once, and yield what they find in a fixed order."""
    if not chains:
        return
    insides = [dict[int, Any]() for _ in chains]
    with ThreadPoolExecutor(cores()) as pool:
        for position in range(max(map(len, chains))):
            running = [number for number, chain in enumerate(chains) if position < len(chain)]
            # Threads of our own use the cores better than those of many small factorisations.
            with blas_threads(1):
                found = list(pool.map(lambda n: task(chains[n][position], insides[n]), running))  # noqa: B023
            for solved in found:
                yield from solved
