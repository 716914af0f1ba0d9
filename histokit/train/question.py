"""What is asked of a training, and the ids that answer it: known before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import check_class_weight, check_solver
from histokit.classifiers.table import classifier as classifier_named
from histokit.errors import DataError, UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.protocol.experiment import Experiment, prepare
from histokit.protocol.networks_seen import addresses_of_folds
from histokit.protocol.targets import with_type
from histokit.store.records import NUMBER
from histokit.train import choices
from histokit.train.outer import Recipe
from histokit.train.train_options import TrainOptions

_OF_FOLDS = (
    "each fold has features of its own networks, which have not seen what it tests, but what it trains on: scores of "
    "inner folds are better than they should be, those of test samples are not"
)

#: Raised when the same question would give other predictions than before.
TRAINING_VERSION = 2


@dataclass(frozen=True)
class Question:
    """What is to be trained, on what.

    Parameters
    ----------
    dataset : str
    addresses : list of str
        Each gives a run.
    recipe : Recipe
    options : TrainOptions
    """

    dataset: str
    addresses: list[str]
    recipe: Recipe
    options: TrainOptions

    def prepare(self, store: FeatureStore, address: str, outline: bool = False) -> Experiment:
        """Open the features of an address; in outline, nothing else is read and nothing stored."""
        pixels = self.recipe.fitting(0).row.pixels
        how: dict[str, Any] = {"aggregate": self.options.aggregate, "pixels": pixels, "outline": outline}
        how |= {"normalisation": self.options.normalisation, "keep": not outline}
        if not self.options.fold_networks:
            return prepare(store, self.dataset, address, self.options, **how)
        whole = prepare(store, self.dataset, address, self.options, **how, tested=False)
        places = [(outer.fold.repeat, outer.fold.fold) for outer in whole.folds]
        tables = {table.name: table for table in store.feature_tables(self.dataset)}
        opened = [tables[part["table"]] for part in whole.feature_list]
        addresses = addresses_of_folds(store, opened, whole.split, places)
        of_folds = [
            prepare(store, self.dataset, each, self.options, **how, place=place)
            for each, place in zip(addresses, places, strict=True)
        ]
        if any(each.features.sample_ids != whole.features.sample_ids for each in of_folds):
            raise DataError(
                f"The features of {address} and of the networks of its folds are not there for the same samples.",
                next="Extract what is missing, or leave out --allow-missing.",
            )
        return replace(whole, of_folds=of_folds, notes=[*whole.notes, _OF_FOLDS])

    def parameters(self, experiment: Experiment) -> dict[str, Any]:
        """Return what a run's id hashes of the way of training; the split has its own digest."""
        recipe = self.recipe
        asked = {name: value for name, value in self.options.asked().items() if name not in ("split", "choose")}
        return {
            **asked,
            "metric": experiment.problem.metric,
            "grid": list(recipe.grid),
            "class_weight": recipe.class_weight,
            "selection": None if recipe.selection is None else recipe.selection.id,
            "positive": experiment.positive,
            "scored": recipe.scored and len(recipe.grid) == 1,
        }

    def run_id(self, store: FeatureStore, experiment: Experiment) -> str:
        """Return the id of the run on an experiment."""
        asked = {"parameters": self.parameters(experiment), "version": TRAINING_VERSION}
        return experiment.id_of(asked, partial(store.dataset_of, "runs"))


def ask(store: FeatureStore, dataset: str, features: str | Sequence[str], options: TrainOptions) -> Question:
    """Return what is asked of `histokit.train`, whose errors these are."""
    classifier, options = options.classifier, with_type(store, dataset, options)
    numbers = options.target_type == NUMBER
    kept = store.selection(options.selection) if options.selection else None
    pixels = classifier_named(classifier, numbers).pixels
    of_vectors = ("selection", "rfe", "aggregate", "scale", "normalise", "fold_networks")
    if pixels and any(getattr(options, name) for name in of_vectors):
        raise _not_for_images(classifier)
    weight = check_class_weight(classifier, options.class_weight, numbers)
    choices.check(options.choose)
    how = (kept, options.rfe, check_solver(options.solver), options.scale, options.choose is not None, numbers)
    recipe = Recipe(classifier, make_grid(classifier, options.grid, numbers), weight, options.inner_folds, *how)
    asked = [features] if isinstance(features, str) else list(features)
    named = asked if pixels else (address for text in asked for address in store.addresses(dataset, text))
    return Question(dataset, list(dict.fromkeys(named)), recipe, options)


def _not_for_images(classifier: str) -> UsageError:
    return UsageError(
        f"The classifier {classifier} is trained on images, which have neither columns nor vectors.",
        next="Leave out --selection, --rfe, --aggregate, --scale, --normalise and --fold-networks; histokit evaluate "
        "--by COLUMN aggregates scores.",
    )


def identify(
    store: StoreLike, dataset: str, features: str | Sequence[str], classifier: str = "svm", **options: Any
) -> list[str]:
    """Return the ids of the runs that `histokit.train` would give, whether they are stored or not.

    No vector and no image is read. Parameters and errors are those of `histokit.train`.

    Returns
    -------
    list of str
        One for each address; last that of the chosen run, where one is to be chosen.
    """
    store = open_store(store)
    question = ask(store, dataset, features, TrainOptions(classifier=classifier, **options))
    ids = [question.run_id(store, question.prepare(store, address, outline=True)) for address in question.addresses]
    choose = question.options.choose
    return [*ids, choices.chosen_id(choose, ids)] if choose else ids
