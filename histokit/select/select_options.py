"""The options of a selection, each declared once."""

from __future__ import annotations

from dataclasses import dataclass

from histokit.errors import UsageError, did_you_mean
from histokit.features.normalisation import Normalisation, parse_normalisation
from histokit.protocol.step_options import ExperimentOptions, PartOf, option
from histokit.protocol.subset_sizes import AUTO

METHODS = ("rfe",)


@dataclass(frozen=True, kw_only=True)
class SelectOptions(ExperimentOptions):
    """What can be asked of `histokit.select`, which tells what each means.

    Raises
    ------
    UsageError
    """

    method: str = option("rfe", PartOf.METHOD)
    tolerance: float = option(0.005, PartOf.METHOD)
    step: float | str = option(AUTO, PartOf.METHOD)
    inner_folds: int = option(5, PartOf.METHOD)
    normalise: str | None = option(None, PartOf.METHOD, later=True)
    controls: str | None = option(None, PartOf.METHOD, later=True)
    per: str | None = option(None, PartOf.METHOD, later=True)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(
                f"There is no selection method {self.method!r}.",
                next=f"{did_you_mean(self.method, METHODS)}Use one of {', '.join(METHODS)}.",
            )
        parse_normalisation(self.normalise, self.controls, self.per)
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation | None:
        """How features are normalised by controls."""
        return parse_normalisation(self.normalise, self.controls, self.per)
