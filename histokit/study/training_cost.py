"""What the training of a network on images will take, in passes of an image through it, seconds and bytes."""

from __future__ import annotations

from pathlib import Path

from histokit.extract.rates import Estimate, estimate
from histokit.finetune.finetune_options import AUTO
from histokit.finetune.training_pace import foreseen_passes, is_of, pace_before
from histokit.store import Store
from histokit.study.problem_size import ProblemSize
from histokit.study.train_networks import TrainNetwork


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
    passes = size.folds * foreseen_passes(training.recipe, size.rows, size.used - size.rows)
    passes += final * foreseen_passes(training.recipe, size.used, 0)
    before = pace_before(store, training.start, training.recipe)
    if before is not None:
        return Estimate(before * passes, "measured")
    precision = training.options.get("precision", AUTO)
    pace = estimate(store, training.start, piece.study.device, "float32" if precision == AUTO else precision)
    return None if pace is None else Estimate(pace.seconds * passes, pace.source)


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
    for run in reversed([run for run in store.runs() if is_of(run, training.start)]):
        if kept := run.found["networks"]:
            return count * int(kept[-1]["bytes"])
    resolved = piece.study.network(training.network).resolved
    weights = Path(resolved.source) if resolved and resolved.source else None
    return count * weights.stat().st_size if weights and weights.is_file() else None
