"""What the training of a network on images will take, in passes of an image through it, seconds and bytes."""

from __future__ import annotations

from pathlib import Path

from histokit.extract.rates import Estimate, estimate
from histokit.finetune.finetune_options import AUTO
from histokit.finetune.recipe import NetworkRecipe
from histokit.store import RunRecord, Store
from histokit.store.networks import FINAL
from histokit.study.problem_size import ProblemSize
from histokit.study.study_file import StudyTraining
from histokit.study.train_networks import TrainNetwork

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


def foreseen_training(store: Store, piece: TrainNetwork, size: ProblemSize) -> Estimate | None:
    """Return what a piece will take: as its network took before, else by the pace of extraction, else none.

    Parameters
    ----------
    store : Store
    piece : TrainNetwork
    size : ProblemSize
        Of the dataset.
    """
    training, final = piece.training, size.folds > 1
    passes = size.folds * foreseen_passes(training.recipe, size.rows, size.samples - size.rows)
    passes += final * foreseen_passes(training.recipe, size.samples, 0)
    before = _pace(store, training)
    if before is not None:
        return Estimate(before * passes, "measured")
    precision = training.options.get("precision", AUTO)
    pace = estimate(store, training.start, piece.study.device, "float32" if precision == AUTO else precision)
    return None if pace is None else Estimate(pace.seconds * passes, pace.source)


def _pace(store: Store, training: StudyTraining) -> float | None:
    """Return the seconds of a pass in the last runs of a network by the same recipe at the same size, if any."""
    taken = [run.seconds / passes for run in store.runs() if (passes := _passes_of(run, training))]
    return sum(taken[-_LAST:]) / len(taken[-_LAST:]) if taken else None


def _passes_of(run: RunRecord, training: StudyTraining) -> float:
    """Return the passes of a run, 0 where it is of another kind."""
    size = training.start.preprocess.size
    if not _is_of(run, training) or run.parameters["network"]["preprocess"]["size"] != size:
        return 0.0
    if run.parameters["recipe"]["stages"] != training.recipe.to_json()["stages"]:
        return 0.0
    sets = [*run.folds, *([run.found["final"]] if run.found["final"]["part"] == FINAL else [])]
    return sum(foreseen_passes(training.recipe, each["train"], each.get("test", 0)) for each in sets)


def foreseen_bytes(store: Store, piece: TrainNetwork, size: ProblemSize) -> int | None:
    """Return the disk that the networks of a piece will take; none where the size of one is not known.

    Parameters
    ----------
    store : Store
    piece : TrainNetwork
    size : ProblemSize
        Of the dataset.
    """
    training = piece.training
    count = 1 if training.options.get("keep") == "final" else size.folds + (size.folds > 1)
    for run in reversed([run for run in store.runs() if _is_of(run, training)]):
        if kept := run.found["networks"]:
            return count * int(kept[-1]["bytes"])
    resolved = piece.study.network(training.network).resolved
    weights = Path(resolved.source) if resolved and resolved.source else None
    return count * weights.stat().st_size if weights and weights.is_file() else None


def _is_of(run: RunRecord, training: StudyTraining) -> bool:
    return run.kind == "finetune" and run.parameters["network"]["backbone"] == training.start.name
