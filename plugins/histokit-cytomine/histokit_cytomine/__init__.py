"""The dataset plugin ``cytomine``."""

from __future__ import annotations

from histokit.plugin import Dataset, hookimpl
from histokit.plugin.hookspecs import RegisterDataset


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register `cytomine`."""
    register("cytomine", _load)


def _load() -> type[Dataset]:
    from histokit_cytomine.dataset import Cytomine

    return Cytomine
