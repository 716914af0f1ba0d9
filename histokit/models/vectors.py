"""Vectors of images by the networks of a folder, as extraction makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.finetune.predict import NetworkScorer
from histokit.models.networks import ExportedBackbone
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import emulation
from histokit.networks.image_batches import vectors_of
from histokit.networks.trainable import NetworkDescription
from histokit.plugin.preprocess import Preprocess


class ExportedNetwork:
    """A network of a folder on a device, cut at its layers.

    Parameters
    ----------
    folder : Path
    document : mapping
        Of `histokit.models.networks.save_backbones`.
    channels : sequence of str
        Of the images.
    device : torch.device
    """

    def __init__(self, folder: Path, document: Mapping[str, Any], channels: Sequence[str], device: torch.device):
        preprocess = Preprocess.from_json(document["preprocess"])
        inputs = len(preprocess.channels or channels) if preprocess.adapter == "inflate" else None
        backbone = ExportedBackbone(folder, document)
        self.cut = CutNetwork(backbone, backbone.layers, device, document["precision"], inputs)
        self.widths = {str(entry["fingerprint"]): int(entry["width"]) for entry in document["layers"]}
        self.dtype = np.dtype(document["store_dtype"])
        width = sum(self.widths.values())
        self.described = NetworkDescription(
            backbone=backbone.name,
            layer=backbone.layers[-1],
            flatten=False,
            width=width,
            hidden=(),
            dropout=0.0,
            outputs=width,
            inputs=inputs or len(backbone.preprocess.mean),
            preprocess=preprocess,
            classes=(),
            channels=tuple(channels),
        )


class VectorScorer(NetworkScorer):
    """Gives the vectors of n images, those of one layer behind those of another.

    Parameters
    ----------
    exported : ExportedNetwork
    channels : sequence of str
        Of the images.
    count : int
    device : torch.device
    batch_size : int, optional
    failed : callable
        Called with the position and the reason of each image that has no vector.
    """

    def __init__(
        self,
        exported: ExportedNetwork,
        channels: Sequence[str],
        count: int,
        device: torch.device,
        batch_size: int | None,
        failed: Callable[[int, str], None],
    ):
        self._cut = exported.cut
        super().__init__(
            exported.cut.network, exported.described, channels, count, device, batch_size, "float32", failed
        )

    @property
    def notes(self) -> list[str]:
        """What is to be known of how the network was run."""
        return [*emulation(self.device, self._cut.dtype), *super().notes]

    def _run(self, pixels: Tensor) -> NDArray[np.float64]:
        found = vectors_of(self._cut, self.transform, pixels)
        joined = torch.cat([found[layer.name] for layer in self._cut.layers], dim=1)
        vectors: NDArray[np.float64] = joined.double().cpu().numpy()
        return vectors


def columns_of(
    exported: Sequence[ExportedNetwork], found: Sequence[NDArray[np.float64]], tables: Sequence[str]
) -> NDArray[np.float32]:
    """Return vectors in the order in which a classifier takes them.

    Parameters
    ----------
    exported : sequence of ExportedNetwork
    found : sequence of (n, d) arrays
        Of each network.
    tables : sequence of str
        Fingerprints, in that order.
    """
    by_table: dict[str, NDArray[np.float32]] = {}
    for network, vectors in zip(exported, found, strict=True):
        start = 0
        for table, width in network.widths.items():
            by_table[table] = vectors[:, start : start + width].astype(network.dtype).astype(np.float32)
            start += width
    return np.concatenate([by_table[table] for table in tables], axis=1)
