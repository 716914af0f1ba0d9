"""An exported model, ready to predict images: no store, no download."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.estimators import load
from histokit.classifiers.table import classifier
from histokit.errors import DataError, PluginError, UsageError
from histokit.models.model_folder import CLASSIFIER_FILE, NETWORK, NETWORK_FILE, read_description
from histokit.models.networks import load_file, read_seen
from histokit.networks.trained_backbone import rebuild_stored
from histokit.plugin.manager import registered_backbone
from histokit.plugin.weights import offline
from histokit.reading.images_given import GivenImage, GivenImages, PixelRows, as_list, micrometres
from histokit.reading.reader import ReadResult
from histokit.store import RunRecord
from histokit.train.predict import model_scores

if TYPE_CHECKING:
    import torch

    from histokit.finetune.predict import NetworkScorer
    from histokit.models.vectors import ExportedNetwork
    from histokit.networks.trainable import NetworkDescription, TrainableNetwork

#: Images that are in memory at once.
_AT_ONCE = 64

Images = Any


class LoadedModel:
    """A model of a folder; what it needs is built when it is first used.

    Parameters
    ----------
    folder : Path
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Attributes
    ----------
    classes : tuple of str
        In the order of the columns of scores; empty where the model predicts numbers.
    channels : tuple of str
        Of the images that it takes.
    description : dict
        All that ``histokit.json`` tells: preprocessing, layers, training, data and scores.
    run : RunRecord
        The run that it was exported from.
    """

    def __init__(self, folder: Path, device: str = "auto"):
        self.folder, self.device_name = folder, device
        self.description = read_description(folder)
        _check_plugins(self.description)
        self.run = RunRecord.from_json(self.description["run"])
        self.classes: tuple[str, ...] = tuple(self.description["classes"])
        self.channels: tuple[str, ...] = tuple(self.description["channels"])

    def __repr__(self) -> str:
        what = ", ".join(self.classes) if self.classes else "a number"
        return f"LoadedModel({self.folder}: {self.run.classifier} for {what})"

    def predict(self, images: Images, mpp: float | Sequence[float] | None = None) -> NDArray[Any]:
        """Return the class, or the number, of each image.

        Parameters
        ----------
        images : sequence of n paths, PIL images, and (H, W) or (H, W, C) arrays, a single one, or an (n, H, W, C) array
            Of the kind that the model was trained on, such as patches of the same size in tissue. Files are read as the
            dataset of the training reads its files: with its bits, scale, channels and plane; where it takes a file for
            each channel, an image is a tuple of paths. Arrays hold what such files hold, with the channels of the model
            in their order: uint8, or uint16 of which 65535 is white, unless the dataset has fewer bits or a scale, by
            which other numbers are taken, too. Grey is taken for red, green and blue.
        mpp : float or sequence of n floats, optional
            Micrometres per pixel, where images are brought to a resolution.

        Returns
        -------
        (n,) array
            Of str, or of float64.

        Raises
        ------
        DataError
            If an image cannot be read, or has other channels.
        UsageError
            If the model was trained on units of several images.
        """
        found = self.scores(images, mpp)
        if not self.classes:
            return found[:, 0]
        return np.array(self.classes, object)[found.argmax(1)]

    def predict_proba(self, images: Images, mpp: float | Sequence[float] | None = None) -> NDArray[np.float64]:
        """Return the (n, K) probabilities of the classes; see `predict`.

        Raises
        ------
        UsageError
            If the classifier gives no probabilities; its `scores` are decision values.
        """
        if self.kind_of_scores != "probability":
            raise UsageError(
                f"{self.run.classifier} gives no probabilities, but scores of the kind {self.kind_of_scores!r}.",
                next="Use model.scores(images).",
            )
        return self.scores(images, mpp)

    def scores(self, images: Images, mpp: float | Sequence[float] | None = None) -> NDArray[np.float64]:
        """Return the (n, K) probabilities or decision values of the classes, or (n, 1) numbers; see `predict`."""
        self._check_images_do()
        given = as_list(images)
        sizes = micrometres(mpp, len(given))
        found = [np.empty((0, len(self.classes) or 1))]
        for start in range(0, len(given), _AT_ONCE):
            places = range(start, min(len(given), start + _AT_ONCE))
            found.append(self._scored([self._given.read(given[place], sizes[place], place) for place in places]))
        return np.concatenate(found)

    @property
    def kind_of_scores(self) -> str:
        """``probability``, ``decision``, or ``value`` of numbers."""
        if self.description["kind"] == NETWORK:
            return "probability" if self.classes else "value"
        return classifier(self.run.classifier, self.run.numbers or None).kind

    @cached_property
    def _given(self) -> GivenImages:
        instead = f"histokit predict {quote(str(self.folder))} DATASET"
        return GivenImages(self.description["pixels"], self.channels, instead=instead)

    @cached_property
    def device(self) -> torch.device:
        """Where networks run."""
        from histokit.networks.devices import choose_device

        return choose_device(self.device_name)

    @cached_property
    def network(self) -> tuple[TrainableNetwork, NetworkDescription]:
        """The trained network and how it is built, of a model that is one."""
        from histokit.networks.trainable import NetworkDescription

        document = {k: v for k, v in self.description["network"].items() if k not in ("plugin", "file")}
        described = NetworkDescription.from_json(document)
        with offline():
            return rebuild_stored(described, load_file(self.folder / NETWORK_FILE), None), described

    @cached_property
    def networks(self) -> list[ExportedNetwork]:
        """The networks that make the features of a classifier."""
        from histokit.models.vectors import ExportedNetwork

        documents = self.description["networks"]
        return [ExportedNetwork(self.folder, each, self.channels, self.device) for each in documents]

    @property
    def classifier_bytes(self) -> bytes:
        """The stored classifier."""
        return (self.folder / CLASSIFIER_FILE).read_bytes()

    @cached_property
    def _classifier(self) -> dict[str, Any]:
        return load(self.classifier_bytes)

    @cached_property
    def seen(self) -> dict[str, set[bytes]]:
        """Network → digests of the images that it has seen, where it was trained by histokit."""
        return read_seen(self.folder)

    def prepare(self) -> None:
        """Build all that is needed to predict, which shows whether it can be.

        Raises
        ------
        DataError, PluginError, StoreError
        """
        _ = self.seen
        _ = self.network if self.description["kind"] == NETWORK else (self._classifier, self.networks)

    def scorers(
        self, count: int, channels: Sequence[str], batch_size: int | None, failed: Callable[[int, str], None]
    ) -> list[NetworkScorer]:
        """Return what runs the networks on n images: the trained one, or those that make the features."""
        from histokit.finetune.predict import NetworkScorer
        from histokit.models.vectors import VectorScorer

        how = (channels, count, self.device, batch_size)
        if self.description["kind"] == NETWORK:
            network, described = self.network
            return [NetworkScorer(network, described, *how, "float32", failed)]
        return [VectorScorer(each, *how, failed) for each in self.networks]

    def vectors(self, found: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
        """Return what `scorers` found as the columns that the classifier takes."""
        from histokit.models.vectors import columns_of

        return columns_of(self.networks, found, [part["fingerprint"] for part in self.run.features])

    def _scored(self, images: Sequence[GivenImage]) -> NDArray[np.float64]:
        if self.description["kind"] != NETWORK and not self.description["networks"]:
            return model_scores(self.run, self._classifier, PixelRows(images, self.channels))
        from histokit.finetune.predict import evaluating

        results = [ReadResult(place, image.pixels, image.mpp, None) for place, image in enumerate(images)]
        scorers = self.scorers(len(results), self.channels, None, _refuse)
        for scorer in scorers:
            with evaluating(scorer.network):
                scorer.add(results)
                scorer.finish()
        if self.description["kind"] == NETWORK:
            return scorers[0].found
        return model_scores(self.run, self._classifier, self.vectors([scorer.found for scorer in scorers]))

    def _check_images_do(self) -> None:
        given = self.run.parameters
        for name, what in (("aggregate", "units of several images"), ("normalise", "features normalised by controls")):
            if given.get(name):
                raise UsageError(
                    f"The model was trained on {what} ({given[name]}): images alone do not do.",
                    next=f"Ingest them as a dataset, then: histokit predict {quote(str(self.folder))} DATASET",
                )


def _check_plugins(document: dict[str, Any]) -> None:
    """Raise where the plugin is not installed that builds a network."""
    if document["kind"] == NETWORK:
        needed = {document["network"]["backbone"]: document["network"]["plugin"]}
    else:
        needed = {network["architecture"]: network["plugin"] for network in document["networks"]}
    for backbone, plugin in needed.items():
        try:
            registered_backbone(backbone)
        except PluginError as error:
            if not plugin:
                raise
            raise PluginError(
                f"The model needs the backbone {backbone!r} of {plugin}, which is not installed.",
                next="Install that plugin, then run the same command again.",
            ) from error


def _refuse(position: int, reason: str) -> NoReturn:
    raise DataError(f"An image cannot be predicted: {reason}.", next="Mend the image, or leave it out.")


def load_model(folder: str | os.PathLike[str], *, device: str = "auto") -> LoadedModel:
    """Open a folder of `histokit export-model`; neither a store nor a download is needed.

    Parameters
    ----------
    folder : path
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    LoadedModel
        Its `predict`, `predict_proba` and `scores` take paths, PIL images and arrays.

    Raises
    ------
    UsageError
        If there is no model in the folder.
    DataError
        If it is damaged: a file is gone, or is not what was written.
    StoreError
        If a newer version wrote it, or its network is another one here.
    PluginError
        If the plugin of its backbone is not installed; when it is first used.
    """
    # What it needs is read later, perhaps from another working folder.
    return LoadedModel(Path(folder).absolute(), device)
