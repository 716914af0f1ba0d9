"""How fast networks were trained before, by which trainings like them are foreseen."""

from __future__ import annotations

from histokit.finetune.recipe import NetworkRecipe
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin.digests import canonical_json
from histokit.store import RunRecord, Store
from histokit.store.networks import FINAL

#: A step of training is a pass forward and one backward, which is twice the work.
_EACH_STEP = 3

#: The share of a training set that chooses the epoch.
_VALIDATION = 0.2

#: How many of the last runs of a network tell its pace.
_LAST = 30


def foreseen_passes(recipe: NetworkRecipe, rows: float, tested: float) -> float:
    """Return how often an image goes through a network forward, or the like, in one training set.

    Parameters
    ----------
    recipe : NetworkRecipe
    rows, tested : float
        Samples of the training set, and of the test set.
    """
    val = rows * _VALIDATION * (recipe.validates)
    passes = 0.0
    for stage in recipe.stages:
        step = 1 if stage.leaves_base else _EACH_STEP
        epochs = min(1, stage.epochs) if recipe.by_vectors(stage) else stage.epochs
        passes += epochs * (step * (rows - val) + val)
    return passes + tested


def pace_before(store: Store, start: ResolvedBackbone, recipe: NetworkRecipe) -> float | None:
    """Return the seconds of a pass in the last runs of a network by the same recipe at the same size, if any.

    Parameters
    ----------
    store : Store
    start : ResolvedBackbone
        The network that training begins with.
    recipe : NetworkRecipe
    """
    taken = [run.seconds / passes for run in store.runs() if (passes := _passes_of(run, start, recipe))]
    return sum(taken[-_LAST:]) / len(taken[-_LAST:]) if taken else None


def _passes_of(run: RunRecord, start: ResolvedBackbone, recipe: NetworkRecipe) -> float:
    """Return the passes of a run, 0 where it is of another kind."""
    if not is_of(run, start) or run.parameters["network"]["preprocess"]["size"] != start.preprocess.size:
        return 0.0
    # A stored one has lists where the other has tuples.
    if canonical_json(run.parameters["recipe"]["stages"]) != canonical_json(recipe.to_json()["stages"]):
        return 0.0
    sets = [*run.folds, *([run.found["final"]] if run.found["final"]["part"] == FINAL else [])]
    return sum(foreseen_passes(recipe, each["train"], each.get("test", 0)) for each in sets)


def is_of(run: RunRecord, start: ResolvedBackbone) -> bool:
    """Return whether a run trained a network that begins with the same one."""
    return run.kind == "finetune" and run.parameters["network"]["backbone"] == start.name
