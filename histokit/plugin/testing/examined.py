"""A plugin under examination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from histokit.plugin.dataset import Dataset, PublishedSplit, Sample, SplitRow
from histokit.plugin.digests import as_json
from histokit.plugin.testing.another_process import Asked, Seen, seen_elsewhere
from histokit.plugin.testing.checks import require

T = TypeVar("T")

#: How many samples are read by the checks that look at pixels.
READS = 8


class Examined:
    """A dataset under examination: what several checks need is computed once."""

    def __init__(self, cls: type[Dataset], root: str | Path, options: Mapping[str, Any]):
        self.cls, self.root = cls, root
        self.options = dict(options)
        self._failed: list[str] = []

    def make(self, **changes: Any) -> Dataset:
        """Return a new instance, with some options changed."""
        return self.cls(self.root, **{**self.options, **changes})

    @cached_property
    def dataset(self) -> Dataset:
        """An instance, fitted as `histokit ingest` fits it; where that fails, the reason is given once."""
        return self._once("making or fitting the dataset", self.fitted)

    def fitted(self, **changes: Any) -> Dataset:
        """Return a new instance, with some options changed, and the state that the store would give it back."""
        dataset = self.make(**changes)
        state = dataset.fit()
        try:
            dataset.state = as_json(state)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"fit() returns what JSON cannot hold: {error}") from error
        return dataset

    def another(self) -> Dataset:
        """Return a new instance with the state of the first one, as it is opened to be read."""
        other = self.make()
        other.state = self.dataset.state
        return other

    @cached_property
    def elsewhere(self) -> list[Seen]:
        """What other processes see of it."""
        return seen_elsewhere(Asked(self.cls, self.root, self.options, self.dataset.state, self.looked_at))

    @cached_property
    def samples(self) -> list[Sample]:
        """All samples; where they fail, the reason is given once."""
        return self._once("samples()", lambda: list(self.dataset.samples()))

    def _once(self, what: str, work: Callable[[], T]) -> T:
        require(not self._failed, f"not checked, for {next(iter(self._failed), '')} fails")
        try:
            return work()
        except BaseException:
            self._failed.append(what)
            raise

    @cached_property
    def by_id(self) -> dict[str, Sample]:
        """Samples by id."""
        return {sample.id: sample for sample in self.samples}

    @cached_property
    def splits(self) -> Mapping[str, PublishedSplit]:
        """The splits that the data come with, whose rows may be gone through more than once."""
        return {name: _listed(split) for name, split in self.dataset.splits().items()}

    @cached_property
    def looked_at(self) -> list[Sample]:
        """A few samples from the whole range, whose pixels are looked at."""
        step = max(1, len(self.samples) // READS)
        return list(islice(self.samples[::step], READS))


def _listed(split: PublishedSplit) -> PublishedSplit:
    if not isinstance(split, PublishedSplit):
        return split
    return replace(split, rows=[SplitRow(*row) for row in split.rows])
