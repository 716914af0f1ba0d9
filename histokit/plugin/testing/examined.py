"""A plugin under examination."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from histokit.plugin.dataset import Dataset, PublishedSplit, Sample
from histokit.plugin.testing.checks import require

#: How many samples are read by the checks that look at pixels.
READS = 8


class Examined:
    """A dataset under examination: what several checks need is computed once."""

    def __init__(self, cls: type[Dataset], root: str | Path, options: Mapping[str, Any]):
        self.cls, self.root = cls, root
        self.options = dict(options)
        self._failed = False

    def make(self, **changes: Any) -> Dataset:
        """Return a new instance, with some options changed."""
        return self.cls(self.root, **{**self.options, **changes})

    @cached_property
    def dataset(self) -> Dataset:
        """An instance, fitted as `histokit ingest` fits it."""
        dataset = self.make()
        dataset.state = dataset.fit()
        return dataset

    @cached_property
    def samples(self) -> list[Sample]:
        """All samples; where they fail, the reason is given once."""
        require(not self._failed, "not checked, for samples() fails")
        self._failed = True
        found = list(self.dataset.samples())
        self._failed = False
        return found

    @cached_property
    def by_id(self) -> dict[str, Sample]:
        """Samples by id."""
        return {sample.id: sample for sample in self.samples}

    @cached_property
    def splits(self) -> Mapping[str, PublishedSplit]:
        """The splits that the data come with."""
        return self.dataset.splits()

    @cached_property
    def looked_at(self) -> list[Sample]:
        """A few samples from the whole range, whose pixels are looked at."""
        step = max(1, len(self.samples) // READS)
        return list(islice(self.samples[::step], READS))
