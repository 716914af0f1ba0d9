"""The images that still have to go through the networks of an extraction, unit by unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from histokit.extract.claims import UNIT, Claim, Claims
from histokit.extract.plan import BackbonePlan, Job
from histokit.extract.samples import Samples
from histokit.plugin import Sample
from histokit.store import Store


class Image(NamedTuple):
    """An image to be read, for all samples of its content."""

    position: int
    sample: Sample
    content: bytes


class Work:
    """Hands out images of which this process claimed the samples.

    Parameters
    ----------
    store : Store
    dataset : str
    samples : Samples
    plans : sequence of BackbonePlan
    claims : Claims
    """

    def __init__(self, store: Store, dataset: str, samples: Samples, plans: Sequence[BackbonePlan], claims: Claims):
        self.store, self.dataset, self.samples, self.claims = store, dataset, samples, claims
        self._left: dict[int, list[BackbonePlan]] = {}
        images = np.zeros(samples.count, dtype=bool)
        for plan in plans:
            missing = plan.images(samples)
            images |= missing
            for unit in np.unique(np.flatnonzero(missing) // UNIT).tolist():
                self._left.setdefault(unit, []).append(plan)
        self._expected = np.add.reduceat(images, np.arange(0, samples.count, UNIT), dtype=np.int64)
        self.total = int(self._expected.sum())
        #: Images that were not handed out yet; of those that another process claimed, as many as there were.
        self.left = self.total

    def images(self) -> Iterator[Image]:
        """Yield what is left and not claimed by another process."""
        for unit in sorted(self._left):
            claimed = [(plan, claim) for plan in self._left[unit] if (claim := self._claim(plan, unit)) is not None]
            self._left[unit] = [plan for plan in self._left[unit] if all(plan is not mine for mine, _ in claimed)]
            if not self._left[unit]:
                del self._left[unit]
                self.left -= int(self._expected[unit])
            if claimed:
                yield from self._unit(unit, claimed)

    def _claim(self, plan: BackbonePlan, unit: int) -> Claim | None:
        claim = self.claims.claim([table.name(self.dataset) for table in plan.open_tables], unit)
        if claim is not None:
            for table in plan.open_tables:
                table.refresh(self.store, self.dataset, self.samples)
        return claim

    def _unit(self, unit: int, claimed: Sequence[tuple[BackbonePlan, Claim]]) -> Iterator[Image]:
        groups = [
            self.samples.twins.groups(unit * UNIT, (unit + 1) * UNIT, [table.missing for table in plan.open_tables])
            for plan, _ in claimed
        ]
        first = {leader: members[0] for group in groups for leader, members in group.items()}
        read = dict(zip(first, self.samples.take(list(first.values())), strict=True))
        others = sorted({position for group in groups for members in group.values() for position in members})
        names = dict(zip(others, self.samples.names(others)[0], strict=True)) if others else {}
        for (plan, claim), group in zip(claimed, groups, strict=True):
            claim.left = len(group)
            for leader, members in group.items():
                plan.jobs[read[leader][1]] = Job(claim, [(position, names[position]) for position in members])
            if not group:
                claim.release()
        for leader in sorted(first):
            yield Image(first[leader], *read[leader])
