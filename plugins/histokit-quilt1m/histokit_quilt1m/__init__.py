"""The dataset plugin ``quilt1m``."""

from __future__ import annotations

from histokit.plugin import Dataset, hookimpl
from histokit.plugin.hookspecs import RegisterDataset


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register `quilt1m`."""
    register("quilt1m", _load)


def _load() -> type[Dataset]:
    from histokit_quilt1m.dataset import Quilt1M

    return Quilt1M
