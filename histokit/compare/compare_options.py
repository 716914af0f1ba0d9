"""The options of a comparison, each declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from histokit.protocol.step_options import PartOf, StepOptions, option
from histokit.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class CompareOptions(StepOptions):
    """What can be asked of `histokit.compare`, which tells what each means.

    Raises
    ------
    UsageError
    """

    dataset: str | Sequence[str] = option((), PartOf.HANDLING)
    where: str | None = option(None, PartOf.HANDLING)
    everything: bool = option(False, PartOf.HANDLING)
    metric: str | Mapping[str, str] | None = option(None, PartOf.HANDLING)
    by: str | Sequence[str] | None = option(None, PartOf.HANDLING)
    best_of: str | Sequence[str] | None = option(None, PartOf.HANDLING)
    bootstrap: int = option(1000, PartOf.HANDLING)
    seed: int = option(0, PartOf.HANDLING)
    views: str | Sequence[str] = option((), PartOf.HANDLING)

    def __post_init__(self) -> None:
        check_range("bootstrap", self.bootstrap, low=1)
        super().__post_init__()

    @property
    def datasets(self) -> list[str]:
        """The datasets that are asked for."""
        return [self.dataset] if isinstance(self.dataset, str) else list(self.dataset)
