"""The images that still have to go through the networks of an extraction, unit by unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from histokit.extract.claims import UNIT, Claim, Claims
from histokit.extract.ledger import BackboneLedger, Job
from histokit.extract.samples import Samples
from histokit.plugin import Sample


class Image(NamedTuple):
    """An image to be read, for all samples of its content."""

    position: int
    sample: Sample
    content: bytes
    #: Whether it will not come again, for networks whose part of it another process claimed.
    last: bool


class Work:
    """Hands out images of which this process claimed the samples.

    Parameters
    ----------
    samples : Samples
    networks : sequence of BackboneLedger
    claims : Claims
    """

    def __init__(self, samples: Samples, networks: Sequence[BackboneLedger], claims: Claims):
        self.samples, self.claims = samples, claims
        self._left: dict[int, list[BackboneLedger]] = {}
        images = np.zeros(samples.count, dtype=bool)
        for network in networks:
            missing = network.images(samples)
            images |= missing
            for unit in np.unique(np.flatnonzero(missing) // UNIT).tolist():
                self._left.setdefault(unit, []).append(network)
        self._expected = np.add.reduceat(images, np.arange(0, samples.count, UNIT), dtype=np.int64)
        self.total = int(self._expected.sum())
        #: Images that were not handed out yet; of those that another process claimed, as many as there were.
        self.left = self.total

    def images(self) -> Iterator[Image]:
        """Yield what is left and not claimed by another process."""
        for unit in sorted(self._left):
            networks = self._left[unit]
            claimed = [(network, claim) for network in networks if (claim := self._claim(network, unit)) is not None]
            self._left[unit] = [network for network in networks if all(network is not mine for mine, _ in claimed)]
            if not self._left[unit]:
                del self._left[unit]
                self.left -= int(self._expected[unit])
            if claimed:
                yield from self._unit(unit, claimed)

    def _claim(self, network: BackboneLedger, unit: int) -> Claim | None:
        claim = self.claims.claim([table.plan.name for table in network.open_tables], unit)
        if claim is not None:
            for table in network.open_tables:
                table.look()
        return claim

    def _unit(self, unit: int, claimed: Sequence[tuple[BackboneLedger, Claim]]) -> Iterator[Image]:
        groups = [
            self.samples.twins.groups(unit * UNIT, (unit + 1) * UNIT, [table.missing for table in network.open_tables])
            for network, _ in claimed
        ]
        first = {leader: members[0] for group in groups for leader, members in group.items()}
        read = dict(zip(first, self.samples.take(list(first.values())), strict=True))
        names = {first[leader]: sample.id for leader, (sample, _) in read.items()}
        others = sorted(
            {position for group in groups for members in group.values() for position in members} - set(names)
        )
        names |= dict(zip(others, self.samples.names(others)[0], strict=True)) if others else {}
        for (network, claim), group in zip(claimed, groups, strict=True):
            claim.left = len(group)
            for leader, members in group.items():
                network.jobs[read[leader][1]] = Job(claim, [(position, names[position]) for position in members])
            if not group:
                claim.release()
        for leader in sorted(first):
            yield Image(first[leader], *read[leader], last=unit not in self._left)
