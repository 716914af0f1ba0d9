"""All that a plugin author imports."""

from typing import TYPE_CHECKING

from histokit.errors import DataError, HistokitError, PluginError, StoreError, UsageError, counted

if TYPE_CHECKING:
    from histokit.plugin.backbone import Backbone, BackboneRequest, Layer
    from histokit.plugin.dataset import Dataset, PublishedSplit, Sample, SplitRow
    from histokit.plugin.finished_runs import FinishedRun
    from histokit.plugin.hookspecs import hookimpl
    from histokit.plugin.images import crop, decode_image, read_image
    from histokit.plugin.preprocess import Preprocess
    from histokit.plugin.raw_images import ImageReader, RawImage
    from histokit.plugin.recent import Recent
else:
    import lazy_loader

    _NAMES = {
        "backbone": ["Backbone", "BackboneRequest", "Layer"],
        "dataset": ["Dataset", "PublishedSplit", "Sample", "SplitRow"],
        "finished_runs": ["FinishedRun"],
        "hookspecs": ["hookimpl"],
        "images": ["crop", "decode_image", "read_image"],
        "preprocess": ["Preprocess"],
        "raw_images": ["ImageReader", "RawImage"],
        "recent": ["Recent"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

__all__ = [
    "Backbone",
    "BackboneRequest",
    "DataError",
    "Dataset",
    "FinishedRun",
    "HistokitError",
    "ImageReader",
    "Layer",
    "PluginError",
    "Preprocess",
    "PublishedSplit",
    "RawImage",
    "Recent",
    "Sample",
    "SplitRow",
    "StoreError",
    "UsageError",
    "counted",
    "crop",
    "decode_image",
    "hookimpl",
    "read_image",
]
