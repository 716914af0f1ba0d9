"""What is asked of the training of a network, and the id that answers it: known before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.finetune.presets import load_preset
from histokit.finetune.recipe import TEST, NetworkRecipe
from histokit.finetune.recipe_values import canonical
from histokit.finetune.target_recipes import recipe_for_target
from histokit.networks.requests import channel_changes
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.networks.trainable import FLATTEN
from histokit.plugin import Layer
from histokit.plugin.options import parse_pairs
from histokit.plugin.weights import PRETRAINED, RANDOM
from histokit.protocol.experiment import Experiment, prepare
from histokit.protocol.networks_seen import check_networks
from histokit.protocol.targets import with_type
from histokit.store.records import NUMBER

#: Raised when the same question would give other networks than before.
FINETUNE_VERSION = 1

#: The same where the test samples choose the epoch: once a part of the training samples was left out.
_TEST_CHOOSES_VERSION = 2

FINE_TUNING, FROM_SCRATCH = "fine-tuning", "from-scratch"


@dataclass(frozen=True)
class NetworkQuestion:
    """What is to be trained, on what.

    Parameters
    ----------
    dataset : str
    options : FinetuneOptions
    recipe : NetworkRecipe
    backbone : ResolvedBackbone
    notes : tuple of str
        What of the preset was left out.
    """

    dataset: str
    options: FinetuneOptions
    recipe: NetworkRecipe
    backbone: ResolvedBackbone
    notes: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """What a run calls the way of training."""
        return FROM_SCRATCH if self.recipe.from_scratch else FINE_TUNING

    @property
    def layer(self) -> Layer:
        """Where the network is cut."""
        return self.backbone.chosen[0]

    @property
    def address(self) -> str:
        """The backbone and its layer."""
        return f"{self.backbone.name}/{self.layer.name}"

    def prepare(self, store: FeatureStore) -> Experiment:
        """Open the images of labelled samples, and place them in folds; no image is read.

        Raises
        ------
        LeakageError
            If the network that is trained further has seen a test image.
        """
        experiment = prepare(store, self.dataset, "images", self.options, pixels=True)
        said = check_networks(store, [self.backbone.name], experiment.split, experiment.contents)
        return replace(experiment, notes=[*experiment.notes, *self.notes, *said])

    def parameters(self, experiment: Experiment) -> dict[str, Any]:
        """Return what a run's id hashes of the way of training; the split has its own digest."""
        asked = {name: value for name, value in self.options.asked().items() if name != "split"}
        return {
            **asked,
            "metric": experiment.problem.metric,
            "positive": experiment.positive,
            "recipe": self.recipe.to_json(),
            "network": {
                "backbone": self.backbone.name,
                "weights": self.backbone.weights,
                "version": self.backbone.version,
                "plugin": self.backbone.plugin,
                "layer": self.layer.name,
                "preprocess": self.backbone.preprocess.to_json(),
            },
        }

    def run_id(self, store: FeatureStore, experiment: Experiment) -> str:
        """Return the id of the run on an experiment."""
        version = _TEST_CHOOSES_VERSION if self.recipe.choose_epoch == TEST else FINETUNE_VERSION
        asked = {"parameters": self.parameters(experiment), "version": version, "kind": "finetune"}
        return experiment.id_of(asked, partial(store.dataset_of, "runs"))


def ask_for_network(store: FeatureStore, dataset: str, options: FinetuneOptions) -> NetworkQuestion:
    """Return what is asked of `histokit.finetune`, whose errors these are."""
    options = with_type(store, dataset, options)
    preset = load_preset(options.preset, from_scratch=options.from_scratch)
    settings = canonical(preset.recipe, options.settings or {})
    recipe, notes = recipe_for_target(preset.recipe, settings, options.target_type == NUMBER)
    options = replace(options, settings=settings)
    name = options.backbone or preset.backbone
    if not name:
        raise UsageError(
            f"The preset {options.preset!r} names no network.",
            next="Name one: --backbone B. See: histokit list backbones",
        )
    weights = options.weights
    if recipe.from_scratch:
        if not weights.startswith((PRETRAINED, RANDOM)):
            raise UsageError(
                f"--from-scratch starts from random weights, not from {weights}.",
                next="Leave out --from-scratch or --weights.",
            )
        weights = random_start(weights, options.seed)
    changes = _changes(store, dataset, recipe, options)
    backbone = resolve_start(store, name, weights, changes, recipe)
    return NetworkQuestion(dataset, options, replace(recipe, preprocess={}), backbone, tuple(notes))


def random_start(weights: str, seed: int) -> str:
    """Return the random weights of a training from scratch: those asked for, else those of its seed."""
    return weights if weights.startswith(RANDOM) else f"{RANDOM}:{seed}"


def identify(store: StoreLike, dataset: str, backbone: str | None = None, **options: Any) -> str:
    """Return the id of the run that `histokit.finetune` would give, whether it is stored or not.

    No image is read and nothing is trained. Parameters, but for repeats, and errors are those of `histokit.finetune`.
    """
    store = open_store(store)
    question = ask_for_network(store, dataset, FinetuneOptions(backbone=backbone, **options))
    return question.run_id(store, question.prepare(store))


def resolve_start(
    store: FeatureStore, name: str, weights: str, changes: Mapping[str, str], recipe: NetworkRecipe
) -> ResolvedBackbone:
    """Return the network that a recipe begins with, cut where its head is.

    Parameters
    ----------
    store : FeatureStore
    name, weights : str
    changes : mapping
        Of the preprocessing.
    recipe : NetworkRecipe

    Raises
    ------
    UsageError
        If it is no network with weights, or no network is trained on such images.
    """
    backbone = resolve_backbone(store, name, weights, changes, [recipe.head.layer.removesuffix(f":{FLATTEN}")])
    if backbone.weights == "none":
        raise UsageError(
            f"{name!r} has no weights that could be trained.", next="Choose a network. See: histokit list backbones"
        )
    if backbone.preprocess.resize == "none" or backbone.preprocess.adapter == "each":
        wrong = "images of any size" if backbone.preprocess.resize == "none" else "each channel on its own"
        raise UsageError(
            f"No network is trained on {wrong}.",
            next="Give --preprocess resize=squash size=N, or --channels A,B,C|inflate.",
        )
    return backbone


def _changes(store: FeatureStore, dataset: str, recipe: NetworkRecipe, options: FinetuneOptions) -> Mapping[str, str]:
    own = channel_changes(options.channels, store.dataset(dataset).channels)
    return {**recipe.preprocess, **own, **parse_pairs(list(options.preprocess), "--preprocess")}
