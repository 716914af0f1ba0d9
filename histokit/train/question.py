"""What is asked of a training, and the ids that answer it: known before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from histokit.classifiers.grids import make_grid
from histokit.classifiers.table import check_class_weight, check_solver
from histokit.classifiers.table import classifier as classifier_named
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.protocol.experiment import Experiment, prepare
from histokit.ranges import check_range
from histokit.train import choices
from histokit.train.outer import Recipe

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
    options : dict
        How the experiment is prepared: split, metric, target, where, aggregate, seed.
    pixels, allow_missing : bool
    choose : str, optional
        How one of the runs is chosen.
    """

    dataset: str
    addresses: list[str]
    recipe: Recipe
    options: dict[str, Any]
    pixels: bool
    allow_missing: bool
    choose: str | None

    def prepare(self, store: FeatureStore, address: str, outline: bool = False) -> Experiment:
        """Open the features of an address; in outline, no vector and no image is read."""
        how: dict[str, Any] = {"allow_missing": self.allow_missing, "pixels": self.pixels, "outline": outline}
        return prepare(store, self.dataset, address, **how, **self.options)

    def parameters(self, experiment: Experiment) -> dict[str, Any]:
        """Return what a run's id hashes of the way of training; the split has its own digest."""
        recipe = self.recipe
        asked = {key: value for key, value in self.options.items() if key != "split"}
        return {
            **asked,
            "classifier": recipe.classifier,
            "metric": experiment.problem.metric,
            "positive": experiment.positive,
            "grid": list(recipe.grid),
            "class_weight": recipe.class_weight,
            "inner_folds": recipe.inner_folds,
            "selection": None if recipe.selection is None else recipe.selection.id,
            "rfe": recipe.rfe,
            "solver": recipe.solver,
            "scale": recipe.scale,
            "scored": recipe.scored and len(recipe.grid) == 1,
        }

    def run_id(self, store: FeatureStore, experiment: Experiment) -> str:
        """Return the id of the run on an experiment."""
        asked = {"parameters": self.parameters(experiment), "version": TRAINING_VERSION}
        return experiment.id_of(asked, partial(store.dataset_of, "runs"))


def ask(
    store: FeatureStore,
    dataset: str,
    features: str | Sequence[str],
    classifier: str = "svm",
    *,
    selection: str | None = None,
    rfe: bool = False,
    aggregate: str | None = None,
    class_weight: str | None = None,
    grid: Mapping[str, Any] | None = None,
    inner_folds: int = 5,
    solver: str = "auto",
    scale: bool = False,
    choose: str | None = None,
    allow_missing: bool = False,
    split: str | None = None,
    metric: str | None = None,
    target: str | None = None,
    where: str | None = None,
    seed: int = 0,
) -> Question:
    """Return what is asked of `histokit.train`, whose parameters and errors these are."""
    if selection and rfe:
        raise UsageError("Both a stored selection and --rfe are given.", next="Give one of --selection and --rfe.")
    inner_folds, seed = check_range("inner_folds", inner_folds), check_range("seed", seed)
    kept = store.selection(selection) if selection else None
    pixels = classifier_named(classifier).pixels
    if pixels and (selection or rfe or aggregate or scale):
        raise _not_for_images(classifier)
    weight = check_class_weight(classifier, class_weight)
    choices.check(choose)
    how = (kept, rfe, check_solver(solver), scale, choose is not None)
    recipe = Recipe(classifier, make_grid(classifier, grid), weight, inner_folds, *how)
    asked = [features] if isinstance(features, str) else list(features)
    named = asked if pixels else (address for text in asked for address in store.addresses(dataset, text))
    addresses = list(dict.fromkeys(named))
    options = {"split": split, "metric": metric, "target": target, "where": where, "aggregate": aggregate, "seed": seed}
    return Question(dataset, addresses, recipe, options, pixels, allow_missing, choose)


def _not_for_images(classifier: str) -> UsageError:
    return UsageError(
        f"The classifier {classifier} is trained on images, which have neither columns nor vectors.",
        next="Leave out --selection, --rfe, --aggregate and --scale; histokit evaluate --by COLUMN aggregates scores.",
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
    question = ask(store, dataset, features, classifier, **options)
    ids = [question.run_id(store, question.prepare(store, address, outline=True)) for address in question.addresses]
    return [*ids, choices.chosen_id(question.choose, ids)] if question.choose else ids
