"""The options of an evaluation, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from histokit.protocol.scorers import check_metric
from histokit.protocol.step_options import PartOf, StepOptions, option


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(StepOptions):
    """What can be asked of `histokit.evaluate`, which tells what each means.

    Raises
    ------
    UsageError
    """

    by: str | Sequence[str] | None = option(None, PartOf.HANDLING)
    metric: str | None = option(None, PartOf.HANDLING)
    bootstrap: int = option(0, PartOf.HANDLING)
    seed: int = option(0, PartOf.HANDLING)
    views: str | Sequence[str] = option((), PartOf.HANDLING)

    def __post_init__(self) -> None:
        if self.metric is not None:
            check_metric(self.metric)
        super().__post_init__()


class Resampling(NamedTuple):
    """How intervals are found.

    Parameters
    ----------
    resamples : int
        No interval where 0.
    seed : int
    group : str, optional
        What the groups are called that are drawn.
    """

    resamples: int = 0
    seed: int = 0
    group: str | None = None
