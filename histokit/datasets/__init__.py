"""The built-in dataset plugins."""

from __future__ import annotations

from functools import partial

from histokit.named_objects import named_object
from histokit.plugin.hookspecs import RegisterDataset, hookimpl

#: Name → its class.
DATASETS = {
    "folder": "histokit.datasets.folder:Folder",
    "table": "histokit.datasets.table:Table",
    "annotations": "histokit.datasets.annotations:Annotations",
    "arrays": "histokit.datasets.arrays:Arrays",
    "slides": "histokit.datasets.whole_slides.slides:Slides",
    "synthetic": "histokit.datasets.synthetic:Synthetic",
}


@hookimpl
def register_datasets(register: RegisterDataset) -> None:
    """Register the built-in datasets; none is imported before it is asked for."""
    for name, place in DATASETS.items():
        register(name, partial(named_object, place))
