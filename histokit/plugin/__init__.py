"""All that a plugin author imports."""

from histokit.errors import DataError, HistokitError, PluginError, StoreError, UsageError
from histokit.plugin.backbone import Backbone, BackboneRequest, Layer, Preprocess
from histokit.plugin.dataset import Dataset, PublishedSplit, Sample, SplitRow
from histokit.plugin.hookspecs import hookimpl
from histokit.plugin.images import crop, read_image

__all__ = [
    "Backbone",
    "BackboneRequest",
    "DataError",
    "Dataset",
    "HistokitError",
    "Layer",
    "PluginError",
    "Preprocess",
    "PublishedSplit",
    "Sample",
    "SplitRow",
    "StoreError",
    "UsageError",
    "crop",
    "hookimpl",
    "read_image",
]
