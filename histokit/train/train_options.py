"""The options of a training, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from histokit.errors import UsageError
from histokit.features.normalisation import Normalisation, parse_normalisation
from histokit.protocol.step_options import ExperimentOptions, PartOf, option


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ExperimentOptions):
    """What can be asked of `histokit.train`, which tells what each means.

    Raises
    ------
    UsageError
    """

    aggregate: str | None = option(None, PartOf.METHOD)
    classifier: str = option("svm", PartOf.METHOD)
    grid: Mapping[str, Any] | None = option(None, PartOf.METHOD)
    class_weight: str | None = option(None, PartOf.METHOD)
    inner_folds: int = option(5, PartOf.METHOD)
    selection: str | None = option(None, PartOf.METHOD)
    rfe: bool = option(False, PartOf.METHOD)
    solver: str = option("auto", PartOf.METHOD)
    scale: bool = option(False, PartOf.METHOD)
    choose: str | None = option(None, PartOf.METHOD)
    normalise: str | None = option(None, PartOf.METHOD, later=True)
    controls: str | None = option(None, PartOf.METHOD, later=True)
    per: str | None = option(None, PartOf.METHOD, later=True)
    fold_networks: bool = option(False, PartOf.METHOD, later=True)

    def __post_init__(self) -> None:
        if self.selection and self.rfe:
            raise UsageError("Both a stored selection and --rfe are given.", next="Give one of --selection and --rfe.")
        if self.selection and self.fold_networks:
            raise UsageError(
                "A stored selection is of the columns of one network, and each fold has its own.",
                next="Select anew in each fold with --rfe, or leave out --fold-networks.",
            )
        parse_normalisation(self.normalise, self.controls, self.per)
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation | None:
        """How features are normalised by controls."""
        return parse_normalisation(self.normalise, self.controls, self.per)
