"""A dataset that is opened anew in another process, as where several processes read its images."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from histokit.plugin.calls import shown_error
from histokit.plugin.dataset import Dataset, Sample
from histokit.plugin.digests import digest_bytes
from histokit.plugin.interpreter import how_ended, interpreter_of

T = TypeVar("T")

#: Processes that are asked: with this one, two classes in a set come in the same order in all of them once in four.
_PROCESSES = 2

#: Attributes by whose order scores and channels are told apart.
_ORDERED = ("classes", "positive", "channels", "group", "levels")

#: By which Python orders sets otherwise in each process.
_SEED = "PYTHONHASHSEED"


class Listed(NamedTuple):
    """What a dataset says of itself, its samples and its splits: whatever does not change between two processes."""

    #: Name of an attribute → its value as a text.
    attributes: dict[str, str]
    #: Id, label and a digest of the other fields of each sample.
    samples: list[tuple[str, str | None, bytes]]
    #: Name of a split → a digest of its rows.
    splits: dict[str, bytes]
    #: Of the samples asked for: digests of `pixel_key` and `part_digest`.
    keys: list[bytes]


def listed(dataset: Dataset, samples: Sequence[Sample]) -> Listed:
    """Return what a dataset says of itself; of some of its samples, the keys too."""
    # First, for some attributes are found out by it.
    found = [(sample.id, sample.label, _digest(sample)) for sample in dataset.samples()]
    return Listed(
        {name: repr(_plain(getattr(dataset, name))) for name in _ORDERED},
        found,
        split_digests(dataset),
        [digest_bytes(dataset.pixel_key(s), dataset.part_digest(s) or b"") for s in samples],
    )


def split_digests(dataset: Dataset) -> dict[str, bytes]:
    """Return digests of the rows of the splits that the data come with, in their order."""
    return {
        name: digest_bytes(*(repr(tuple(row)).encode("utf-8", "surrogateescape") for row in split.rows))
        for name, split in dataset.splits().items()
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else list(value)


def _digest(sample: Sample) -> bytes:
    fields = (sample.image, sample.part, sample.box, sample.mpp, sorted(sample.metadata.items()))
    return digest_bytes(repr(fields).encode("utf-8", "surrogateescape"))


def digest_of(pixels: Any) -> bytes:
    """Return a digest of an array, its shape and its type."""
    return digest_bytes(str((pixels.dtype, pixels.shape)).encode(), pixels.tobytes())


class Asked(NamedTuple):
    """A dataset that is to be opened in another process."""

    cls: type[Dataset]
    root: str | Path
    options: Mapping[str, Any]
    state: Any
    #: Of which pixels are read, or keys asked for.
    samples: Sequence[Sample]

    def open(self) -> Dataset:
        """Make the dataset."""
        dataset = self.cls(str(self.root), **self.options)
        dataset.state = self.state
        return dataset


class Seen(NamedTuple):
    """What another process lists and reads, or what it fails in: digests of the pixels of the samples asked for."""

    listed: Listed | str
    pixels: list[bytes] | str


def seen_elsewhere(asked: Asked) -> list[Seen]:
    """Return what other processes see of a dataset, each of which orders sets in its own way.

    None is returned where the class cannot be imported there, because it is defined inside a function or a script: no
    installed plugin is.
    """
    try:
        question = pickle.dumps(asked)
    except (pickle.PicklingError, AttributeError):
        return []
    here = os.environ.get(_SEED)
    seeds = [seed for seed in map(str, range(1, _PROCESSES + 2)) if seed != here][:_PROCESSES]
    with ThreadPoolExecutor(_PROCESSES) as pool:
        return [seen for seen in pool.map(partial(_answer_of, question), seeds) if seen is not None]


def _answer_of(question: bytes, seed: str) -> Seen | None:
    command, environment = interpreter_of(__name__), {**os.environ, _SEED: seed}
    done = subprocess.run(command, input=question, stdout=subprocess.PIPE, check=False, env=environment)
    if done.returncode or not done.stdout:
        # A plugin, or a library that it calls, may end the process as if all were well.
        ended = f"it ends without an answer ({how_ended(done.returncode)})"
        return Seen(ended, ended)
    answer: Seen | None = pickle.loads(done.stdout)
    return answer


def main() -> None:
    """Answer one question of `seen_elsewhere`."""
    out = os.fdopen(os.dup(1), "wb")
    if hasattr(os, "register_at_fork"):
        # What a plugin starts and leaves behind would be waited for.
        os.register_at_fork(after_in_child=out.close)
    # What a plugin prints is no answer.
    os.dup2(2, 1)
    with out:
        pickle.dump(_answer(sys.stdin.buffer.read()), out)


def _answer(question: bytes) -> Seen | None:
    try:
        asked: Asked = pickle.loads(question)
    except (ImportError, AttributeError):
        return None
    return Seen(
        _tried(lambda: listed(asked.open(), asked.samples)),
        _tried(lambda: _read(asked)),
    )


def _read(asked: Asked) -> list[bytes]:
    dataset = asked.open()
    return [digest_of(dataset.read(sample)) for sample in asked.samples]


def _tried(work: Callable[[], T]) -> T | str:
    try:
        return work()
    except BaseException as error:
        # Of Ctrl-C, the process that asks is told as well, and ends.
        return shown_error(error)
