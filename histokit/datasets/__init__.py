"""The built-in dataset plugins."""

from __future__ import annotations

from histokit.plugin.dataset import Dataset
from histokit.plugin.hookspecs import RegisterDataset, hookimpl


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register `folder`, `table` and `synthetic`."""
    register("folder", _folder)
    register("table", _table)
    register("synthetic", _synthetic)


def _folder() -> type[Dataset]:
    from histokit.datasets.folder import Folder

    return Folder


def _table() -> type[Dataset]:
    from histokit.datasets.table import Table

    return Table


def _synthetic() -> type[Dataset]:
    from histokit.datasets.synthetic import Synthetic

    return Synthetic
