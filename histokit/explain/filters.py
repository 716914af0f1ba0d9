"""What excites the filters of a network, before it was trained on images and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histokit.errors import StoreError, counted, some
from histokit.explain.activation_maximisation import WHITE, FilterRecipe, contrasted, maximise
from histokit.explain.explained_network import ExplainedNetwork
from histokit.explain.layer_maps import MapLayer, maps_of
from histokit.explain.maps_folder import write_filters
from histokit.explain.pictures import as_picture, pictures_note
from histokit.features.feature_store import StoreLike, open_store
from histokit.files import check_folder
from histokit.networks.adapters import inflate, over_channels
from histokit.networks.devices import whole_float32
from histokit.networks.resolve import resolve_backbone
from histokit.networks.trainable import NetworkDescription, TrainableNetwork
from histokit.networks.trained_runs import TrainedNetwork, network_of
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.manager import registry
from histokit.plugin.weights import RANDOM
from histokit.ranges import check_ranges
from histokit.store import RunRecord, Store
from histokit.store.networks import final_part

#: Filters that go through a network together.
_TOGETHER = 16
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, eq=False)
class FilterImage:
    """What excites one filter.

    Parameters
    ----------
    layer : str
    filter : int
        Its number, from 0 on.
    when : str
        ``before`` or ``after`` the training.
    activation, objective : float
        The mean of its map for the image, and what was made small.
    image : (H, W, 3) uint8 array
        With its contrast stretched.
    """

    layer: str
    filter: int
    when: str
    activation: float
    objective: float
    image: NDArray[np.uint8]

    def to_json(self) -> dict[str, Any]:
        """Return all but the image as JSON-serialisable data."""
        return {name: getattr(self, name) for name in ("layer", "filter", "when", "activation", "objective")}


@dataclass(frozen=True, eq=False)
class FilterImages:
    """What excites some filters of a network.

    Parameters
    ----------
    run, dataset, backbone : str
    recipe : FilterRecipe
    images : tuple of FilterImage
        Layer by layer and filter by filter, before and after.
    notes : list of str
    split : str
    count, groups : int
        Of the images that the network of after was trained on, and their groups; 0 where there are none.
    """

    run: str
    dataset: str
    backbone: str
    recipe: FilterRecipe
    images: tuple[FilterImage, ...]
    notes: list[str] = field(default_factory=list)
    split: str = ""
    count: int = 0
    groups: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return all but the images as JSON-serialisable data."""
        facts = {
            name: getattr(self, name) for name in ("run", "dataset", "split", "backbone", "count", "groups", "notes")
        }
        return {**facts, "recipe": self.recipe.to_json(), "filters": [image.to_json() for image in self.images]}


def filter_images(
    store: StoreLike,
    run_id: str,
    *,
    layers: Sequence[str] = (),
    filters: int = 8,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Callable[..., None] = lambda *_: None,
) -> FilterImages:
    """Find what excites filters of a network most, before it was trained on a dataset and after.

    By activation maximisation as in Kensert et al. 2018: from noise, 200 steps that raise the mean of a filter's map
    and keep the image small and smooth. A filter begins with the same noise before and after.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
        Of `histokit.finetune`; its network of all training samples is taken.
    layers : sequence of str
        Names or dotted paths in the network; the map that it pools where none is given.
    filters : int
        How many are drawn of each layer.
    settings : mapping, optional
        Values of `histokit.explain.activation_maximisation.FilterRecipe` in place of the published ones.
    seed : int
        Of which filters are drawn, and of the noise.
    device : str
        ``auto``, ``cpu`` or ``cuda``. On a processor, the same command gives the same images.
    out : path, optional
        A folder for the images as ``.png``, and a table.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    FilterImages

    Raises
    ------
    UsageError
        If there is no such layer, or a setting cannot be.
    StoreError
        If the run has no network, it is damaged, or the weights that it was trained from are gone.
    """
    check_ranges(filters=filters, seed=seed)
    recipe = FilterRecipe.of(settings or {})
    if out is not None:
        check_folder(out)
    opened = open_store(store)
    run = opened.run(run_id)
    trained = TrainedNetwork(opened, run, network_of(run, final_part(run)))
    after = ExplainedNetwork(trained, None, opened.dataset(run.dataset).channels, device)
    chosen = list(dict.fromkeys(after.map_layer(text) for text in layers)) or [after.layer]
    before, notes = network_before(opened, run, after.described)
    networks = {BEFORE: _cut(before.to(after.device), after), AFTER: after.network}
    found: list[FilterImage] = []
    done, total = 0, 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    drawn = {layer: _drawn(networks[AFTER], layer, after, filters, seed) for layer in chosen}
    total = sum(map(len, drawn.values())) * len(networks) * recipe.iterations
    for layer, numbers in drawn.items():
        for start in range(0, len(numbers), _TOGETHER):
            found += _excited(networks, layer, after, numbers[start : start + _TOGETHER], recipe, seed, step)
    notes += [*_silent(found), *pictures_note(after.described.inputs)]
    images = FilterImages(
        run.id, run.dataset, after.backbone, recipe, tuple(found), notes, run.split, *_trained_on(trained)
    )
    if out is not None:
        write_filters(images, out)
    return images


def network_before(store: Store, run: RunRecord, described: NetworkDescription) -> tuple[nn.Module, list[str]]:
    """Return the network that a run began with, and what is to be known of it.

    Raises
    ------
    StoreError
        If its weights are gone, or are others now.
    """
    facts = run.parameters["network"]
    used = str(facts["weights"])
    request = used if used.startswith(RANDOM) else str(run.parameters["weights"])
    name = described.backbone
    resolved = resolve_backbone(store, name, request, described.preprocess, [described.layer.name])
    if resolved.weights != used:
        raise StoreError(
            f"The weights of {name} are not those that the run {run.id} began with.",
            next=f"Bring back the same file of weights: {request}",
        )
    guarded = GuardedBackbone(registry().backbone(name, request, str(store.uri)))
    network, colours = guarded.build(), len(guarded.preprocess().mean)
    if described.inputs != colours:
        inflate(network, colours, described.inputs, guarded.title)
    drawn = run.parameters.get("recipe", {}).get("initialisation", "library")
    if not used.startswith(RANDOM) or drawn == "library":
        return network, []
    return network, [
        f"before: the training began with weights drawn by {drawn}; shown are those that the library draws"
    ]


def _trained_on(trained: TrainedNetwork) -> tuple[int, int]:
    """Return on how many images of the dataset, of how many groups, a network was trained."""
    seen = trained.networks.contents(trained.run, trained.entry)
    column = trained.store.dataset(trained.run.dataset).group
    rows = trained.store.samples(trained.run.dataset, ["content", *([column] if column else [])]).to_pylist()
    chosen = [row for row in rows if row["content"] in seen]
    return len(chosen), len({row[column] for row in chosen} - {None}) if column else 0


def _cut(network: nn.Module, after: ExplainedNetwork) -> TrainableNetwork:
    """Return a network that ends where the trained one does."""
    own, trained = after.described, after.network
    return TrainableNetwork(network, own.layer, nn.Identity(), flatten=own.flatten, prefix_tokens=trained.prefix_tokens)


def _drawn(network: TrainableNetwork, layer: MapLayer, after: ExplainedNetwork, filters: int, seed: int) -> list[int]:
    """Return the numbers of some filters of a layer."""
    described = after.described
    side = described.preprocess.size
    with torch.no_grad():
        maps = _maps(network, layer, described, torch.zeros(1, described.inputs, side, side, device=after.device))
    return sorted(np.random.default_rng(seed).permutation(maps.shape[1])[:filters].tolist())


def _maps(network: TrainableNetwork, layer: MapLayer, described: NetworkDescription, images: Tensor) -> Tensor:
    """Return the (n, C, h, w) maps of images of 0 to 255."""
    values = (
        over_channels(values, described.inputs) for values in (described.preprocess.mean, described.preprocess.std)
    )
    mean, std = (torch.tensor(each, device=images.device).view(1, -1, 1, 1) for each in values)
    module = network.base.get_submodule(layer.layer.module)
    return maps_of(network, module, layer, (images / WHITE - mean) / std)


def _excited(
    networks: Mapping[str, TrainableNetwork],
    layer: MapLayer,
    after: ExplainedNetwork,
    numbers: Sequence[int],
    recipe: FilterRecipe,
    seed: int,
    step: Callable[[int], None],
) -> list[FilterImage]:
    side = after.described.preprocess.size
    found: dict[tuple[int, str], FilterImage] = {}
    for when, network in networks.items():

        def activations(images: Tensor, network: TrainableNetwork = network) -> Tensor:
            maps = _maps(network, layer, after.described, images)
            return maps[torch.arange(len(numbers)), list(numbers)].mean(dim=(1, 2))

        with whole_float32(after.device):
            shape = after.described.inputs, side, side
            excited = maximise(
                activations, numbers, shape, recipe, seed=seed, device=after.device, step=lambda: step(len(numbers))
            )
        pictures = map(as_picture, contrasted(excited.images))
        for number, picture, objective, activation in zip(
            numbers, pictures, excited.objectives.tolist(), excited.activations.tolist(), strict=True
        ):
            found[number, when] = FilterImage(layer.layer.name, number, when, activation, objective, picture)
    return [found[number, when] for number in numbers for when in networks]


def _silent(images: Sequence[FilterImage]) -> list[str]:
    """Name filters that nothing excites, whose images are noise."""
    silent = [f"{image.layer}[{image.filter}] {image.when}" for image in images if image.activation <= 0]
    many = counted(len(silent), "filter is", "filters are")
    return [f"{many} not excited by the picture that was found: {some(silent)}"] if silent else []
