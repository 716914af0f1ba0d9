"""The built-in dataset plugins."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from histokit.plugin.dataset import Dataset
from histokit.plugin.hookspecs import RegisterDataset, hookimpl

#: Name → its class.
DATASETS = {
    "folder": "histokit.datasets.folder:Folder",
    "table": "histokit.datasets.table:Table",
    "synthetic": "histokit.datasets.synthetic:Synthetic",
}


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register the built-in datasets; none is imported before it is asked for."""
    for name, place in DATASETS.items():
        register(name, partial(_load, place))


def _load(place: str) -> type[Dataset]:
    module, _, name = place.partition(":")
    found: type[Dataset] = getattr(import_module(module), name)
    return found
