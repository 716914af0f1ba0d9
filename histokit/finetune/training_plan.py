"""What the training of a network would do: training sets, stages and images, without a step of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.finetune.folds import TrainingPart, counted_notes, training_parts
from histokit.finetune.kept_state import TrainingPlace
from histokit.finetune.network_question import NetworkQuestion, ask_for_network, is_answered
from histokit.finetune.network_trainer import NetworkTrainer
from histokit.finetune.optimisers import parameter_groups
from histokit.finetune.recipe import TEST, NetworkRecipe
from histokit.finetune.training_pace import foreseen_passes, pace_before
from histokit.networks.trainable import TrainableNetwork
from histokit.protocol.experiment import Experiment
from histokit.protocol.finished_parts import FinishedParts
from histokit.protocol.progress import duration
from histokit.ranges import check_range

DONE, BEGUN, MISSING = "done", "begun", "missing"


@dataclass(frozen=True)
class TrainingPlan:
    """What the training of a network would do.

    Parameters
    ----------
    run : str
        The id that the run will have, or has.
    dataset, address, method, preset, split, metric : str
    seed : int
    weights : str
        What it begins with, and how images are prepared, in words.
    stored : bool
        Whether the run is there already: the same command answers from the store.
    parameters : int, optional
        Of the whole network; none where the run is stored, for which no network is built.
    stages : tuple of dict
        For each one ``train``, ``epochs``, ``optimiser``, ``lr``, and of ``parameters`` how many it trains.
    sets : tuple of dict
        For each training set its ``part``, ``state`` (``done``, ``begun`` or ``missing``) and the ``epochs`` that an
        interrupted one has behind it; the numbers of samples that ``train``, choose the epoch (``validation``) and
        ``test``, and those of each class; the ``images`` that still go through the network, at most.
    notes : tuple of str
    seconds : float, optional
        That the rest will take, where such networks were trained before.
    """

    run: str
    dataset: str
    address: str
    method: str
    preset: str
    split: str
    metric: str
    seed: int
    weights: str
    stored: bool
    parameters: int | None
    stages: tuple[dict[str, Any], ...]
    sets: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    seconds: float | None

    @property
    def images(self) -> int:
        """How often an image goes through the network at most, forward."""
        return sum(each["images"] for each in self.sets)

    @property
    def described(self) -> str:
        """What is trained how, in a line."""
        size = "" if self.parameters is None else f", {self.parameters:,} parameters"
        return (
            f"{self.method} by {self.preset!r}: {self.address}{size}; "
            f"split {self.split}, epochs judged by {self.metric}"
        )

    @property
    def expectation(self) -> str:
        """What is missing, and how long it will take, in words."""
        if self.stored:
            return f"The run {self.run} is stored: nothing is to be done. To do it again, add --force."
        left = sum(each["state"] != DONE for each in self.sets)
        took = (
            "how long they take is known once such a network was trained here"
            if self.seconds is None
            else f"they will take about {duration(self.seconds)} (as fast as before on this machine)"
        )
        work = f"at most {self.images:,} images go through the network"
        return f"{left} of {len(self.sets)} training sets are not done: {work}; {took}."

    def tables(self) -> list[tuple[list[str], list[list[Any]]]]:
        """Return columns and rows for people: the stages, the training sets, and the samples of each class."""
        stages = [
            [number, each["train"], each["epochs"], each["optimiser"], each["lr"], each["parameters"]]
            for number, each in enumerate(self.stages, 1)
        ]
        roles = ["train", "validation", "test"]
        begun = ["epochs done"] if any(each["epochs"] is not None for each in self.sets) else []
        names = [*(["epochs"] if begun else []), *roles, "images"]
        sets = [[each["part"], each["state"], *(each[name] for name in names)] for each in self.sets]
        classes = [
            [name, *(_range(each["classes"][name][role] for each in self._with(role)) for role in roles)]
            for name in self.sets[0].get("classes", ())
        ]
        return [
            (["stage", "trains", "epochs", "optimiser", "lr", "parameters trained"], stages),
            (["set", "state", *begun, *roles, "images"], sets),
            *([(["samples by class", *roles], classes)] if classes else []),
        ]

    def _with(self, role: str) -> list[dict[str, Any]]:
        """Return the training sets that have a role: the last one tests nothing."""
        return [each for each in self.sets if each[role]] or list(self.sets)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-serialisable data."""
        found = {**asdict(self), "images": self.images, "estimated_seconds": self.seconds}
        del found["seconds"]
        return found


def plan_training(
    store: StoreLike,
    dataset: str,
    backbone: str | None = None,
    *,
    repeats: int = 1,
    force: bool = False,
    **options: Any,
) -> list[TrainingPlan]:
    """Return what `histokit.finetune` would do: nothing is trained or written, and no image is read.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    backbone : str, optional
    repeats : int
    force : bool
    options : keyword arguments
        All others of `histokit.finetune`.

    Returns
    -------
    list of TrainingPlan
        One for each seed.

    Raises
    ------
    UsageError, PluginError, StoreError, DataError, LeakageError
        As of `histokit.finetune`, as far as they are known before images are read.
    """
    store = open_store(store)
    asked = FinetuneOptions(backbone=backbone, **options)
    seeds = range(asked.seed, asked.seed + check_range("repeats", repeats))
    return [_plan(store, ask_for_network(store, dataset, replace(asked, seed=s), keep=False), force) for s in seeds]


def _plan(store: FeatureStore, question: NetworkQuestion, force: bool) -> TrainingPlan:
    experiment = question.prepare(store, keep=False)
    run_id, recipe = question.run_id(store, experiment), question.recipe
    stored = not force and is_answered(store, run_id)
    parts = training_parts(experiment, recipe.validates, question.options.seed)
    # What is stored is answered without network, weights and device.
    trainer = None if stored else NetworkTrainer(store, question, experiment, parts, run_id)
    network = None if trainer is None else trainer.untrained()
    sets = [{"part": part.name, **_done(experiment, part)} for part in parts]
    if trainer is not None:
        finished = FinishedParts(store, run_id, experiment.features.sample_ids, look=True)
        counter = _ImageCounter(recipe, question.options.test_curve, trainer.known_rows())
        for number, part in enumerate(parts):
            if trainer.known_outcome(part, finished.of(number)) is None:
                place = trainer.begun(part)
                state = {"state": BEGUN, "epochs": place.epochs} if place else {"state": MISSING}
                sets[number] |= {**state, "images": counter.of(part, place or TrainingPlace())}
    return TrainingPlan(
        run=run_id,
        dataset=experiment.split.dataset,
        address=question.address,
        method=question.method,
        preset=question.preset,
        split=experiment.split.name,
        metric=experiment.problem.metric,
        seed=question.options.seed,
        weights=question.backbone.describe(),
        stored=stored,
        parameters=None if network is None else sum(each.numel() for each in network.parameters()),
        stages=_stages(network, recipe),
        sets=tuple(sets),
        notes=(*_notes(experiment, parts), *(question.unkept(store.run(run_id)) if stored else ())),
        seconds=_seconds(store, question, sets),
    )


class _ImageCounter:
    """Counts the images that go through the network forward: those of frozen ones once, of a stage in every epoch."""

    def __init__(self, recipe: NetworkRecipe, test_curve: bool, known: set[int]):
        self.recipe = recipe
        self._curve_of_test = test_curve or recipe.choose_epoch == TEST
        #: Rows of which the vectors are there for all training sets.
        self._known = known

    def of(self, part: TrainingPart, place: TrainingPlace) -> int:
        """Return those of a training set whose training stopped at a place."""
        recipe, test = self.recipe, part.test if self._curve_of_test else part.test[:0]
        found, alike = 0, not recipe.from_scratch
        rows = np.concatenate([part.fit, part.val, test])
        for number, stage in enumerate(recipe.stages):
            if number >= place.stage:
                epochs = stage.epochs - (place.epoch if number == place.stage else 0)
                by_vectors = recipe.by_vectors(stage)
                found += self._once(rows, alike) if by_vectors else epochs * len(rows)
            alike = alike and stage.leaves_base
        return found + (self._once(part.test, True) if recipe.frozen and not recipe.from_scratch else len(part.test))

    def _once(self, rows: NDArray[np.intp], alike: bool) -> int:
        """Return how many rows have no vector yet, where the network is alike in all training sets, else all."""
        new = set(rows.tolist()) - (self._known if alike else set())
        if alike:
            self._known |= new
        return len(new)


def _range(counts: Iterable[int]) -> str:
    """Return the smallest and the largest of some counts."""
    found = sorted(counts)
    low, high = found[0], found[-1]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _done(experiment: Experiment, part: TrainingPart) -> dict[str, Any]:
    """Return what is known of a training set that is done: above all its samples."""
    return {"state": DONE, "epochs": None, **_samples(experiment, part), "images": 0}


def _samples(experiment: Experiment, part: TrainingPart) -> dict[str, Any]:
    """Return how many samples a training set has of each role, and by classes."""
    roles = {"train": part.fit, "validation": part.val, "test": part.test}
    counts = {role: len(rows) for role, rows in roles.items()}
    if not experiment.classes:
        return counts
    of_roles = {
        role: np.bincount(experiment.problem.y[rows], minlength=len(experiment.classes)) for role, rows in roles.items()
    }
    classes = {
        name: {role: int(numbers[code]) for role, numbers in of_roles.items()}
        for code, name in enumerate(experiment.classes)
    }
    return {**counts, "classes": classes}


def _stages(network: TrainableNetwork | None, recipe: NetworkRecipe) -> tuple[dict[str, Any], ...]:
    found = []
    for stage in recipe.stages:
        groups = [] if network is None else parameter_groups(network, stage)
        trained = sum(parameter.numel() for group in groups for parameter in group["params"]) or None
        facts = {name: getattr(stage, name) for name in ("train", "epochs", "optimiser", "lr")}
        found.append({**facts, "parameters": trained})
    return tuple(found)


def _notes(experiment: Experiment, parts: Sequence[TrainingPart]) -> tuple[str, ...]:
    lacking = (name for part in parts for name in experiment.lacking(part.fit))
    said = counted_notes((note for part in parts for note in part.notes), lacking, len(parts))
    return tuple(dict.fromkeys([*experiment.notes, *said]))


def _seconds(store: FeatureStore, question: NetworkQuestion, sets: Sequence[dict[str, Any]]) -> float | None:
    """Return what the rest will take; of an interrupted set the share of the epochs that are left."""
    pace, recipe = pace_before(store, question.backbone, question.recipe), question.recipe
    if pace is None:
        return None
    total = 0.0
    for each in sets:
        share = 0.0 if each["state"] == DONE else 1 - (each["epochs"] or 0) / recipe.epochs
        total += share * foreseen_passes(recipe, each["train"] + each["validation"], each["test"])
    return round(pace * total, 1)
