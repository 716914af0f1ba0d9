"""The dataset plugin ``crchistophenotypes``."""

from __future__ import annotations

from histokit.plugin import Dataset, hookimpl
from histokit.plugin.hookspecs import RegisterDataset


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register `crchistophenotypes`."""
    register("crchistophenotypes", _load)


def _load() -> type[Dataset]:
    from histokit_crchistophenotypes.dataset import CRCHistoPhenotypes

    return CRCHistoPhenotypes
