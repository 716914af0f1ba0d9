"""The outer folds of a run, one after the other; those that an interrupted run has done are not done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.table import classifier
from histokit.protocol.experiment import Experiment
from histokit.protocol.finished_parts import FinishedParts, packed, unpacked
from histokit.protocol.progress import Progress
from histokit.train.outer import Fitted, Recipe, fit_rows, fold_document
from histokit.train.together import can_be_solved_together, solve_together

#: A fold that took fewer seconds is done again after an interruption: writing it would take as long.
_WORTH_KEEPING = 2.0
_OUTCOME = "outcome"

#: Trees that can only have fewer leaves tell images apart by little.
_FEW_LEAVES = 10


@dataclass(frozen=True, eq=False)
class Outcome:
    """What training in an outer fold gave.

    Parameters
    ----------
    document : dict
        What the run's record keeps of it.
    scores : (test rows, classes) float64 array
    said : list of str
        What tuning and elimination noted.
    stopped, fits : int
        Fits that stopped before they converged, and all.
    fitted : Fitted, optional
        Where it trained on all training samples, so that its classifier is the run's.
    """

    document: dict[str, Any]
    scores: NDArray[np.float64]
    said: list[str]
    stopped: int
    fits: int
    fitted: Fitted | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data, without the classifier."""
        names = ("document", "said", "stopped", "fits")
        return {**{name: getattr(self, name) for name in names}, "scores": packed(self.scores)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Outcome:
        """Return what `to_json` gave."""
        return cls(**{**document, "scores": unpacked(document["scores"])})


def train_folds(
    recipe: Recipe,
    experiment: Experiment,
    parts: Sequence[dict[str, Any] | None],
    finished: FinishedParts,
    progress: Progress,
) -> list[Outcome]:
    """Train in every outer fold, and score its test samples.

    Parameters
    ----------
    recipe : Recipe
    experiment : Experiment
    parts : sequence of dict
        The part of a stored selection that each fold may use, or none.
    finished : FinishedParts
        Takes the folds that are done.
    progress : Progress
    """
    outcomes = []
    memories = [finished.of(number) for number in range(len(experiment.folds))]
    together = _together(recipe, experiment, parts, memories, finished, progress)
    for number, part in enumerate(parts):
        memory, (own, outer) = memories[number], experiment.of_fold(number)
        if number in together:
            outcomes.append(together[number])
            continue
        if _OUTCOME in memory:
            outcomes.append(Outcome.from_json(memory[_OUTCOME]))
        else:
            entry = fit_rows(recipe, own, outer.train, part, progress.step, memory)
            found = entry.scores(recipe, own, outer.test)
            document = fold_document(own, outer, entry, found)
            final = own is experiment and len(outer.train) == len(experiment.training)
            outcome = Outcome(document, found, entry.said, entry.stopped, entry.fits, entry if final else None)
            if entry.seconds > _WORTH_KEEPING and not final:
                finished.keep(number, _OUTCOME, outcome.to_json())
            outcomes.append(outcome)
        progress.finish_piece()
    return outcomes


def _together(
    recipe: Recipe,
    experiment: Experiment,
    parts: Sequence[dict[str, Any] | None],
    memories: Sequence[MutableMapping[str, dict[str, Any]]],
    finished: FinishedParts,
    progress: Progress,
) -> dict[int, Outcome]:
    """Train in the folds that can be solved together and are not done; the run's own classifier is none of theirs."""
    if experiment.of_folds:
        return {}
    missing = [
        number
        for number, (outer, memory) in enumerate(zip(experiment.folds, memories, strict=True))
        if _OUTCOME not in memory and len(outer.train) < len(experiment.training)
    ]
    if len(missing) < 2 or not can_be_solved_together(recipe, parts):
        return {}
    done = {}
    for number, entry, found in solve_together(recipe, experiment, missing):
        document = fold_document(experiment, experiment.folds[number], entry, found)
        done[number] = Outcome(document, found, [], entry.stopped, entry.fits)
        if entry.seconds > _WORTH_KEEPING:
            finished.keep(number, _OUTCOME, done[number].to_json())
        progress.finish_piece()
    return done


def fold_notes(recipe: Recipe, outcomes: Sequence[Outcome], final: Fitted, columns: int) -> list[str]:
    """Return what a reader should know of the training sets, each note once with the number of those it is about.

    Parameters
    ----------
    recipe : Recipe
    outcomes : sequence of Outcome
        Of the outer folds.
    final : Fitted
        On all training samples.
    columns : int
        Of the features, where none are selected.
    """
    counted: Counter[str] = Counter()
    fitted: list[Fitted | Outcome] = [*outcomes]
    documents = [outcome.document for outcome in outcomes]
    if not any(final is outcome.fitted for outcome in outcomes):
        fitted.append(final)
        documents.append(final.document())
    for entry in fitted:
        counted.update(entry.said)
    for document in documents:
        counted.update(
            f"class {name!r} has no training sample: it gets the lowest score"
            for name in document.get("classes_without_training", [])
        )
        counted.update(_above_limits(recipe, document, columns))
        chosen = document["parameters"]
        leaves = chosen["windows"] // chosen["min_leaf"] if "min_leaf" in chosen else _FEW_LEAVES
        if leaves < _FEW_LEAVES:
            counted[f"trees have {leaves} leaves at most: a lower min_leaf, or more windows, tells more"] += 1
    notes = [f"{text} ({times} of {len(fitted)} training sets)" for text, times in counted.items()]
    stopped, fits = sum(e.stopped for e in fitted), sum(e.fits for e in fitted)
    if stopped:
        other = "" if recipe.scale else "--scale helps, and "
        notes.append(
            f"{stopped} of {fits} fits of {recipe.classifier} have not converged to the optimum: usual for weak "
            f"regularisation on unscaled features; {other}--grid leaves such values out"
        )
    return notes


def _above_limits(recipe: Recipe, document: dict[str, Any], columns: int) -> Iterator[str]:
    """Say which values are larger than the data let them be; `histokit.classifiers.estimators` lowers them."""
    entry = classifier(recipe.classifier, recipe.numbers)
    sizes = {"rows": document["train"], "columns": len(document["columns"]) if "columns" in document else columns}
    for key, value in document["parameters"].items():
        limit = entry.limits.get(entry.parameters[key].name) if key in entry.parameters else None
        if limit and isinstance(value, int) and value > sizes[limit]:
            what = {"rows": "training samples", "columns": "columns"}[limit]
            yield f"{key}={value} is more than there are {what}: all of them are used"
