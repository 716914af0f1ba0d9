"""The options of an extraction, each declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from histokit.networks.requests import asked_engine, check_options
from histokit.protocol.step_options import PartOf, StepOptions, option
from histokit.store.vectors import store_dtype


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(StepOptions):
    """What can be asked of `histokit.extract`, which tells what each means.

    Those of the method are in the spec of the tables; the others only alter how they are filled.

    Raises
    ------
    UsageError
    """

    layers: str | Sequence[str] = option("all", PartOf.METHOD)
    weights: str | Sequence[str] | Mapping[str, str] = option((), PartOf.METHOD)
    preprocess: Sequence[str] | Mapping[str, Any] = option((), PartOf.METHOD)
    channels: str | Sequence[str] = option((), PartOf.METHOD)
    precision: str = option("float32", PartOf.METHOD)
    store_dtype: str = option("float32", PartOf.METHOD)
    compile: bool = option(False, PartOf.METHOD)
    engine: str = option("torch", PartOf.METHOD)
    device: str = option("auto", PartOf.HANDLING)
    batch_size: int | None = option(None, PartOf.HANDLING)
    workers: int | None = option(None, PartOf.HANDLING)
    retry: bool = option(False, PartOf.HANDLING)
    force: bool = option(False, PartOf.HANDLING)
    dry_run: bool = option(False, PartOf.HANDLING)

    def __post_init__(self) -> None:
        check_options(self.precision, self.device, self.batch_size, self.workers)
        store_dtype({"store_dtype": self.store_dtype})
        _ = self._runs

    @cached_property
    def _runs(self) -> tuple[str, str]:
        return asked_engine(self.engine, self.compile, self.precision, self.device)

    @property
    def chosen_layers(self) -> list[str]:
        """The layers that are asked for, one text each."""
        return [self.layers] if isinstance(self.layers, str) else list(self.layers)

    @property
    def runs_by(self) -> str:
        """What is to run the networks: ``torch``, ``inductor`` or ``openvino``."""
        return self._runs[0]

    @property
    def runs_on(self) -> str:
        """The device that is to run them: what was asked for, or the only one that the engine knows."""
        return self._runs[1]
