"""What is asked of the training of a network, and the id that answers it: known before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.finetune.finetune_options import ALL, FinetuneOptions
from histokit.finetune.presets import common_name, load_preset
from histokit.finetune.recipe import TEST, NetworkRecipe
from histokit.finetune.recipe_values import canonical, with_values
from histokit.finetune.target_recipes import recipe_for_target
from histokit.networks.requests import FLATTEN, channel_changes
from histokit.networks.resolve import resolve_backbone
from histokit.networks.resolved import ResolvedBackbone
from histokit.networks.trained_runs import unkept_notes
from histokit.plugin import Layer
from histokit.plugin.options import parse_pairs
from histokit.plugin.weights import PRETRAINED, RANDOM, normalise_weights
from histokit.protocol.experiment import Experiment, prepare
from histokit.protocol.networks_seen import check_networks
from histokit.protocol.targets import with_type
from histokit.store.records import NUMBER, RunRecord

#: Raised when the same question would give other networks than before.
FINETUNE_VERSION = 1

#: The same where the test samples choose the epoch: once a part of the training samples was left out.
_TEST_CHOOSES_VERSION = 2

#: Of images that were lost while networks were trained.
NO_IMAGE = "images that were there before cannot be read"

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
    preset : str
        The preset's name, whatever its file is called.
    changes : mapping
        Key → text of the settings that make another recipe of it.
    """

    dataset: str
    options: FinetuneOptions
    recipe: NetworkRecipe
    backbone: ResolvedBackbone
    notes: tuple[str, ...] = ()
    preset: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)

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

    def prepare(self, store: FeatureStore, keep: bool = True) -> Experiment:
        """Open the images of labelled samples, and place them in folds; no image is read.

        Parameters
        ----------
        store : FeatureStore
        keep : bool
            Write a split that is made on the spot into the store.

        Raises
        ------
        LeakageError
            If the network that is trained further has seen a test image.
        """
        experiment = prepare(
            store, self.dataset, "images", self.options, pixels=True, keep=keep, workers=self.options.workers
        )
        said = check_networks(store, [self.backbone.name], experiment.split, experiment.contents)
        return replace(experiment, notes=[*experiment.notes, *self.notes, *said])

    def parameters(self, experiment: Experiment) -> dict[str, Any]:
        """Return what a run's record keeps of the way of training; the split has its own digest."""
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
        """Return the id of the run on an experiment: the same however the question is written.

        What an earlier version stored under an id that did hang on that keeps it.
        """
        version = _TEST_CHOOSES_VERSION if self.recipe.choose_epoch == TEST else FINETUNE_VERSION
        asked, stored = self.parameters(experiment), partial(store.dataset_of, "runs")
        before, found = (
            experiment.id_of({"parameters": parameters, "version": version, "kind": "finetune"}, stored)
            for parameters in (asked, self._identity(asked))
        )
        return before if stored(before) == experiment.split.dataset else found

    def unkept(self, run: RunRecord) -> list[str]:
        """Say of networks of folds that are asked for, and that a stored run did not keep."""
        return unkept_notes(run) if self.options.keep == ALL else []

    def _identity(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters without names of files and settings of no effect: the recipe and the weights tell all."""
        weights = self.options.weights
        plain: dict[str, Any] = {"preset": self.preset, "settings": dict(self.changes)}
        plain["recipe"] = {**parameters["recipe"], "name": self.preset}
        if not weights.startswith((PRETRAINED, RANDOM)):
            # Beside their bytes, which the network has, a file may say how it is built.
            plain["weights"] = ["file", dict(self.backbone.arguments)]
        elif weights == RANDOM:
            plain["weights"] = normalise_weights(weights)
        return {**parameters, **plain}


def ask_for_network(store: FeatureStore, dataset: str, options: FinetuneOptions, keep: bool = True) -> NetworkQuestion:
    """Return what is asked of `histokit.finetune`, whose errors these are.

    Parameters
    ----------
    store : FeatureStore
    dataset : str
    options : FinetuneOptions
    keep : bool
        Write what was found out of the network into the store.
    """
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
    backbone = resolve_start(store, name, weights, changes, recipe, keep)
    changed = _of_effect(preset.recipe, settings)
    recipe = replace(recipe, preprocess={})
    return NetworkQuestion(dataset, options, recipe, backbone, tuple(notes), common_name(preset), changed)


def _of_effect(recipe: NetworkRecipe, changes: Mapping[str, str]) -> dict[str, str]:
    """Return what of some changes makes another recipe, each by its shortest key."""
    # As they are set: a stage of its own number behind all stages.
    ordered = sorted(changes, key=lambda key: key.startswith("stages.") and key[len("stages.")].isdigit())
    found = {_short(key, len(recipe.stages)): changes[key] for key in ordered}
    whole = with_values(recipe, found)
    for key in sorted(found):
        rest = {other: text for other, text in found.items() if other != key}
        found = rest if with_values(recipe, rest) == whole else found
    return found


def _short(key: str, stages: int) -> str:
    first, _, rest = key.partition(".")
    number, _, name = rest.partition(".")
    return key if first != "stages" or (number.isdigit() and stages > 1) else name or number


def random_start(weights: str, seed: int) -> str:
    """Return the random weights of a training from scratch: those asked for, else those of its seed."""
    return weights if weights.startswith(RANDOM) else f"{RANDOM}:{seed}"


def is_answered(store: FeatureStore, run_id: str) -> bool:
    """Return whether a run is stored, and lost no image while it was trained: its id is that of all of them."""
    return store.has_run(run_id) and not any(NO_IMAGE in note for note in store.run(run_id).notes)


def identify(store: StoreLike, dataset: str, backbone: str | None = None, **options: Any) -> str:
    """Return the id of the run that `histokit.finetune` would give, whether it is stored or not.

    No image is read and nothing is trained. Parameters, but for repeats, and errors are those of `histokit.finetune`.
    """
    store = open_store(store)
    question = ask_for_network(store, dataset, FinetuneOptions(backbone=backbone, **options))
    return question.run_id(store, question.prepare(store, keep=False))


def resolve_start(
    store: FeatureStore, name: str, weights: str, changes: Mapping[str, str], recipe: NetworkRecipe, keep: bool = True
) -> ResolvedBackbone:
    """Return the network that a recipe begins with, cut where its head is.

    Parameters
    ----------
    store : FeatureStore
    name, weights : str
    changes : mapping
        Of the preprocessing.
    recipe : NetworkRecipe
    keep : bool
        Write what was found out of it into the store.

    Raises
    ------
    UsageError
        If it is no network with weights, or no network is trained on such images.
    """
    layer = recipe.head.layer.removesuffix(f":{FLATTEN}")
    backbone = resolve_backbone(store, name, weights, changes, [layer], keep=keep)
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
