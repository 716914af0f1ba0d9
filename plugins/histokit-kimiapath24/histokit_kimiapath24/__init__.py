"""The dataset plugin ``kimiapath24``."""

from __future__ import annotations

from histokit.plugin import Dataset, hookimpl
from histokit.plugin.hookspecs import RegisterDataset


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register `kimiapath24`."""
    register("kimiapath24", _load)


def _load() -> type[Dataset]:
    from histokit_kimiapath24.dataset import KimiaPath24

    return KimiaPath24
