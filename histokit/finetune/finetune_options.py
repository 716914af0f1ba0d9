"""The options of the training of a network, each declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from histokit.errors import UsageError, did_you_mean
from histokit.finetune.recipe_values import as_text
from histokit.networks.requests import PRECISIONS, as_texts, check_options
from histokit.protocol.step_options import ExperimentOptions, PartOf, option

AUTO = "auto"
ALL = "all"
#: Which networks of a run are kept: those of all folds, or only that of all training samples.
KEPT = (ALL, "final")


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(ExperimentOptions):
    """What can be asked of `histokit.finetune`, which tells what each means.

    What was given as data is kept as the command line gives it, so that both ask for the same run.

    Raises
    ------
    UsageError
    """

    backbone: str | None = option(None, PartOf.METHOD)
    preset: str = option("default", PartOf.METHOD)
    settings: Mapping[str, Any] | None = option(None, PartOf.METHOD)
    from_scratch: bool = option(False, PartOf.METHOD)
    weights: str = option("pretrained", PartOf.METHOD)
    preprocess: Sequence[str] | Mapping[str, Any] = option((), PartOf.METHOD)
    channels: str | Sequence[str] = option((), PartOf.METHOD)
    precision: str = option(AUTO, PartOf.METHOD)
    micro_batch: int | None = option(None, PartOf.METHOD)
    test_curve: bool = option(False, PartOf.METHOD)
    device: str = option(AUTO, PartOf.HANDLING)
    workers: int | None = option(None, PartOf.HANDLING)
    keep: str = option(ALL, PartOf.HANDLING)

    def __post_init__(self) -> None:
        if self.precision not in (AUTO, *PRECISIONS):
            known = (AUTO, *PRECISIONS)
            raise UsageError(
                f"The precision {self.precision!r} is unknown.",
                next=f"{did_you_mean(self.precision, known)}Use one of {', '.join(known)}.",
            )
        check_options(device=self.device, workers=self.workers)
        if self.keep not in KEPT:
            raise UsageError(f"There are no networks {self.keep!r} to keep.", next=f"Use one of {', '.join(KEPT)}.")
        plain: dict[str, Any] = {"settings": {key: as_text(value) for key, value in (self.settings or {}).items()}}
        if isinstance(self.preprocess, Mapping):
            plain["preprocess"] = as_texts(self.preprocess)
        # A name with a comma in it is none of the command line.
        names = self.channels.split(",") if isinstance(self.channels, str) else self.channels
        if not any("," in name for name in names):
            plain["channels"] = ",".join(filter(None, map(str.strip, names)))
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        super().__post_init__()
