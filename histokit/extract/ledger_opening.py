"""Ledgers of the networks that were asked for, as they are when an extraction begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histokit.extract.extract_options import ExtractOptions
from histokit.extract.ledger import BackboneLedger
from histokit.extract.plan import plan_backbone
from histokit.extract.samples import Samples
from histokit.networks.resolved import ResolvedBackbone
from histokit.store import DatasetRecord, Store


@dataclass(frozen=True)
class ExtractionContext:
    """What the networks of an extraction share.

    Parameters
    ----------
    store : Store
    record : DatasetRecord
    samples : Samples
    problems : sequence of mapping
        Samples that are known to be bad.
    options : ExtractOptions
    """

    store: Store
    record: DatasetRecord
    samples: Samples
    problems: Sequence[Mapping[str, Any]]
    options: ExtractOptions

    def ledger(self, backbone: ResolvedBackbone, engine: str) -> BackboneLedger:
        """Plan the tables of a network, and look what is missing in them."""
        kinds = {"precision": self.options.precision, "store_dtype": self.options.store_dtype, "engine": engine}
        anew = self.options.force
        plan = plan_backbone(self.store.feature_tables(), self.record, backbone, anew=anew, **kinds)
        return BackboneLedger(self.store, self.samples, plan, self.problems)


@dataclass(frozen=True)
class LedgerOpener:
    """Opens the ledger of one network, again where it turns out to run otherwise.

    Parameters
    ----------
    context : ExtractionContext
    backbone : ResolvedBackbone
    resolve : callable
        Gives it anew, after a look at the bytes of its weights where ``confirm`` is true.
    """

    context: ExtractionContext
    backbone: ResolvedBackbone
    resolve: Callable[..., ResolvedBackbone]

    def __call__(self, engine: str) -> BackboneLedger:
        """Return what is still to do once all that is known was copied, or what there is to do in a dry run.

        Parameters
        ----------
        engine : str
            That runs the network.
        """
        ledger = self.context.ledger(self.backbone, engine)
        if self.context.options.dry_run:
            ledger.count_known()
            return ledger
        ledger.copy_known()
        if ledger.open_tables and (confirmed := self.resolve(confirm=True)) != self.backbone:
            ledger = self.context.ledger(confirmed, engine)
            ledger.copy_known()
        return ledger
